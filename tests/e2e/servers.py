"""Real Prometheus and Alertmanager, each in a folder of its own, on loopback, ended with the test."""

import contextlib
import json
import subprocess
import urllib.parse

import yaml
from real import free_port, get, need, wait_for

from mixin.rules import Places, alerts, records


def rules_of_the_mixin(places=None):
    """Return all rules that come with presaged, as one file."""
    texts = records(), alerts(places or Places())
    return yaml.safe_dump({"groups": [group for text in texts for group in yaml.safe_load(text)["groups"]]})


@contextlib.contextmanager
def _running(command, log):
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)


class Alertmanager:
    """A running Alertmanager; `routes` is YAML below the first route, whose receiver is `default`."""

    def __init__(self, url, process):
        self.url, self.process = url, process

    def amtool(self, *words):
        done = subprocess.run(
            ["amtool", f"--alertmanager.url={self.url}", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def alerts(self):
        return json.loads(self.amtool("alert", "query", "--output=json"))


@contextlib.contextmanager
def alertmanager(folder, receivers, routes="", group_by="[alertname, instance]"):
    """Run one that tells `receivers` (name to URL), "default" first."""
    need("prometheus-alertmanager", "prometheus-alertmanager")
    folder.mkdir()
    listed = "".join(
        f'- name: "{name}"\n  webhook_configs:\n  - url: "{url}"\n    send_resolved: true\n'
        if url
        else f'- name: "{name}"\n'
        for name, url in receivers.items()
    )
    config = folder / "am.yml"
    config.write_text(
        f"route:\n  receiver: default\n  group_by: {group_by}\n  group_wait: 500ms\n  group_interval: 1s\n"
        f"  repeat_interval: 4h\n{routes}receivers:\n{listed}"
    )
    checked = subprocess.run(["amtool", "check-config", str(config)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    port = free_port()
    command = [
        "prometheus-alertmanager",
        f"--config.file={config}",
        f"--storage.path={folder}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with _running(command, folder / "log") as process:
        one = Alertmanager(f"http://127.0.0.1:{port}", process)
        wait_for(lambda: get(f"{one.url}/-/ready"), 20, "Alertmanager is ready")
        yield one


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url, process):
        self.url, self.process = url, process

    def ask(self, expression):
        query = urllib.parse.urlencode({"query": expression})
        return json.loads(get(f"{self.url}/api/v1/query?{query}"))["data"]["result"]


@contextlib.contextmanager
def prometheus(folder, targets, *, rules="", alertmanager_url="", past=""):
    """Run one that scrapes `targets` (job to "address:port") each second; `past` is OpenMetrics of before."""
    need("prometheus", "prometheus")
    folder.mkdir()
    if past:
        (folder / "past").write_text(past)
        blocks = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(folder / "past"), str(folder / "data")]
        subprocess.run(blocks, check=True, capture_output=True)
    jobs = "".join(
        f'- job_name: {job}\n  static_configs:\n  - targets: ["{target}"]\n' for job, target in targets.items()
    )
    config = folder / "prometheus.yml"
    text = f"global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nscrape_configs:\n{jobs}"
    if rules:
        (folder / "rules.yml").write_text(rules)
        text += f"rule_files: [{folder / 'rules.yml'}]\n"
    if alertmanager_url:
        target = alertmanager_url.partition("://")[2]
        text += f'alerting:\n  alertmanagers:\n  - static_configs:\n    - targets: ["{target}"]\n'
    config.write_text(text)
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with _running(command, folder / "log") as process:
        one = Prometheus(f"http://127.0.0.1:{port}", process)
        wait_for(lambda: get(f"{one.url}/-/ready"), 30, "Prometheus is ready")
        yield one
