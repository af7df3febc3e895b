"""A real Prometheus scrapes a real daemon, and finds what README promises."""

import json
import subprocess
import urllib.parse

from real import free_port, get, need, wait_for

CONFIG = "[sampling]\ninterval_seconds = 1\n"


def test_metrics_are_lint_clean(daemon):
    need("promtool", "prometheus")
    one = daemon(CONFIG)
    one.wait_samples(3)
    exposition = get(f"http://127.0.0.1:{one.port}/metrics")
    done = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    series = [line for line in exposition.splitlines() if not line.startswith(b"#")]
    assert len(series) <= 300


def test_prometheus_scrapes_it(daemon, tmp_path):
    need("prometheus", "prometheus")
    one = daemon(CONFIG)
    one.wait_samples(2)
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n- job_name: presaged\n  static_configs:\n"
        f'  - targets: ["127.0.0.1:{one.port}"]\n'
    )
    port = free_port()
    with (tmp_path / "prometheus.log").open("wb") as log:
        prometheus = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stderr=log,
        )
    try:

        def ask(expression):
            query = urllib.parse.urlencode({"query": expression})
            answer = json.loads(get(f"http://127.0.0.1:{port}/api/v1/query?{query}"))
            return answer["data"]["result"]

        wait_for(lambda: ask("up{job='presaged'} == 1"), 30, "Prometheus says that the target is up")
        for expression in (
            'presaged_signal_ratio{signal="cpu.busy"} <= 1',
            'presaged_signal_bytes{signal="memory.available_bytes"} > 0',
            'presaged_collector_success{collector="cpu"} == 1',
            "rate(presaged_samples_total[10s]) > 0",
            "time() - presaged_last_sample_timestamp_seconds < 10",
            "presaged_build_info",
            "process_resident_memory_bytes > 0",
        ):
            wait_for(lambda expression=expression: ask(expression), 15, expression)
    finally:
        prometheus.terminate()
        prometheus.wait(timeout=20)
