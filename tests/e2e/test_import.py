"""History of a real Prometheus, imported as it is: what was exposed is what is stored, whatever happens meanwhile."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from real import free_port, get, need, wait_for

from daemon.samples import decode

STEP_MS = 30_000
HOUR_MS = 3_600_000
BLOCK_MS = 2 * HOUR_MS
HERE = socket.gethostname()
PRESAGE = "import sys; from daemon.cli import main; sys.exit(main())"


class Exposed:
    """What a node_exporter exposed until `end_ms`: counters that grow by a known amount, gauges of known values.

    A scrape is at `time_ms` (T,); the host booted at row `booted` and its counters began anew.
    """

    def __init__(self, hours, end_ms, *, cores=2, extra=0):
        self.time_ms = np.arange(end_ms - hours * HOUR_MS, end_ms, STEP_MS)
        self.rows = np.arange(len(self.time_ms))
        self.booted = len(self.rows) // 3
        self.cores, self.extra = cores, extra
        self.gaps = np.zeros(len(self.rows), bool)

    @property
    def since_boot(self):
        return np.where(self.rows < self.booted, self.rows + 5000, self.rows - self.booted)

    def series(self):
        """Yield (name, labels, values (T,))."""
        grown = self.since_boot
        boot = np.where(self.rows < self.booted, self.time_ms[0], self.time_ms[self.booted]) // 1000
        yield "node_boot_time_seconds", "", boot
        yield "node_uname_info", f'nodename="{HERE}",release="6.1",sysname="Linux"', np.ones(len(self.rows))
        for core in range(self.cores):
            for mode, share in (("user", 0.2), ("system", 0.1), ("iowait", 0.05), ("idle", 0.65)):
                yield "node_cpu_seconds_total", f'cpu="{core}",mode="{mode}"', grown * 30 * share
            for mode in ("nice", "irq", "softirq", "steal"):
                yield "node_cpu_seconds_total", f'cpu="{core}",mode="{mode}"', grown * 0
        yield "node_memory_MemTotal_bytes", "", np.full(len(self.rows), 8e9)
        yield "node_memory_MemAvailable_bytes", "", self.available
        yield "node_load1", "", self.rows % 7
        yield "node_context_switches_total", "", grown * 30 * 700
        for name, step in (("receive", 1500), ("transmit", 300)):
            yield f"node_network_{name}_bytes_total", 'device="eth0"', grown * 30 * step
            yield f"node_network_{name}_packets_total", 'device="eth0"', grown * 30 + 1
        for number in range(self.extra):
            name = ("bytes", "packets", "errs", "drop")[number % 4]
            device = f'device="eth{1 + number // 8}"'
            way = "receive" if number % 8 < 4 else "transmit"
            yield f"node_network_{way}_{name}_total", device, grown * 30 + number + 1

    @property
    def available(self):
        return 4e9 + self.rows % 100 * 1e6

    def lines(self, target, rows):
        """Return the lines of these rows in Prometheus' text format, with timestamps."""
        out = []
        for name, labels, values in self.series():
            head = f"{name}{{{target}{',' if labels else ''}{labels}}}"
            known = zip(np.asarray(values, float)[rows].tolist(), self.time_ms[rows].tolist(), strict=True)
            out += [f"{head} {value!r} {time_ms}" for value, time_ms in known]
        return "\n".join(out)

    def write(self, folder, data, targets):
        """Make blocks of it in `data`; `targets` are (labels, rows it was scraped under these)."""
        folder.mkdir()
        series = [(name, labels, np.asarray(values, float).tolist()) for name, labels, values in self.series()]
        blocks = self.time_ms // BLOCK_MS
        for block in np.unique(blocks).tolist():
            file = folder / f"{block}.om"
            with file.open("w") as out:
                for target, scraped in targets:
                    rows = np.flatnonzero((blocks == block) & scraped & ~self.gaps).tolist()
                    seconds = {row: f"{self.time_ms[row] / 1000:.3f}" for row in rows}
                    for name, labels, values in series:
                        head = f"{name}{{{target}{',' if labels else ''}{labels}}}"
                        out.writelines(f"{head} {values[row]!r} {seconds[row]}\n" for row in rows)
                out.write("# EOF\n")
            command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", file, data]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            file.unlink()
        return len(series) * len(self.rows)


class Store:
    """A Prometheus on blocks that are there already; it can be ended and started again."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "prometheus.yml").write_text("")
        self.process = None

    def start(self, *options):
        command = [
            "prometheus",
            *options,
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--storage.tsdb.retention.time=10y",
        ]
        with (self.folder / "log").open("ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out)
        wait_for(lambda: get(f"{self.url}/-/ready"), 30, "Prometheus is ready")
        return self

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=20)
            self.process = None


class Host:
    """A state folder and its configuration."""

    def __init__(self, folder):
        self.folder = folder
        self.config = folder / "config.toml"

    @classmethod
    def new(cls, folder):
        (folder / "state").mkdir(parents=True)
        one = cls(folder)
        one.config.write_text('[storage]\ndirectory = "state"\n')
        return one

    def start(self, *arguments):
        command = [sys.executable, "-P", "-c", PRESAGE, "import", *arguments, "--config", str(self.config)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def imports(self, *arguments, seconds=50):
        process = self.start(*arguments, "--json")
        out, said = process.communicate(timeout=seconds)
        assert process.returncode == 0, said
        return json.loads(out), said

    def rows(self):
        """Return time_ms (T,) and name to values (T,)."""
        with contextlib.closing(sqlite3.connect(self.folder / "state" / "state.db")) as state:
            names = dict(state.execute("SELECT id, name FROM signals").fetchall())
        with contextlib.closing(sqlite3.connect(self.folder / "state" / "history.db")) as history:
            schemas = {
                number: np.frombuffer(ids, "<i8") for number, ids in history.execute("SELECT * FROM schemas").fetchall()
            }
            found = history.execute("SELECT time_ms, schema, data FROM samples ORDER BY seq").fetchall()
        columns = {name: np.full(len(found), np.nan) for name in names.values()}
        for row, (_, schema, data) in enumerate(found):
            ids = schemas[schema]
            for number, value in zip(ids.tolist(), decode(data, len(ids)).tolist(), strict=True):
                columns[names[number]][row] = value
        return np.array([time_ms for time_ms, _, _ in found]), columns

    def count(self):
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"file:{self.folder}/state/history.db?mode=ro", uri=True)) as history,
        ):
            return history.execute("SELECT count(*) FROM samples").fetchone()[0]
        return 0


@pytest.fixture
def store(tmp_path):
    need("prometheus", "prometheus")
    need("promtool", "prometheus")
    (tmp_path / "prometheus").mkdir()
    one = Store(tmp_path / "prometheus")
    yield one
    one.stop()


def _end_ms():
    return (time.time_ns() // 1_000_000 - 60_000) // 1000 * 1000 + 417


def _everywhere(exposed):
    return [('instance="web1:9100",job="node"', np.ones(len(exposed.rows), bool))]


def _check_values(exposed, host):
    """Compare what is stored with what was exposed, at every scrape."""
    time_ms, columns = host.rows()
    scraped = exposed.rows[~exposed.gaps]
    assert time_ms.tolist() == exposed.time_ms[scraped].tolist()
    # a rate is known where the scrape before was of the same boot, one interval ago
    known = (np.diff(scraped, prepend=-9) == 1) & (scraped != exposed.booted)
    assert np.array_equal(columns["memory.available_bytes"], exposed.available[scraped].astype(np.float32))
    for name, rate in (
        ("cpu.context_switches_per_second", 700.0),
        ("network.eth0.receive_bytes_per_second", 1500.0),
        ("network.eth0.transmit_bytes_per_second", 300.0),
        ("cpu.busy", 0.3),
        ("cpu.1.busy", 0.3),
        ("cpu.iowait", 0.05),
    ):
        assert np.array_equal(np.isfinite(columns[name]), known), name
        assert columns[name][known] == pytest.approx(rate, rel=0.001), name


def test_what_was_exposed_is_stored_once(store, tmp_path):
    """Six hours with a gap, a reboot, and a new name half way; then a second time."""
    exposed = Exposed(6, _end_ms())
    half = len(exposed.rows) // 2
    exposed.gaps[half - 60 : half - 30] = True
    old = exposed.rows < half
    exposed.write(
        tmp_path / "text",
        store.folder / "data",
        [
            ('instance="10.0.0.1:9100",job="node",env="prod"', old),
            # scraped twice for a while: the same counters under the second name
            ('instance="web1:9100",job="hosts",env="prod"', exposed.rows > half - 25),
        ],
    )
    store.start()
    host = Host.new(tmp_path / "host")
    result, said = host.imports("--prometheus", store.url, "--days", "1")
    assert said.count("\n") <= 10
    assert result["rows_new"] == int((~exposed.gaps).sum())
    assert result["unseen_hours"] == pytest.approx(24 - 6 + 31 * 30 / 3600, abs=0.1)
    _check_values(exposed, host)
    before = host.rows()
    again, _ = host.imports("--prometheus", store.url, "--days", "1")
    assert (again["rows_new"], again["signals"]) == (0, 0)
    named, _ = host.imports(
        "--prometheus", store.url, "--days", "1", "--instance", "web1:9100", "--instance", "10.0.0.1:9100"
    )
    assert named["rows_new"] == 0
    one, _ = host.imports("--prometheus", store.url, "--days", "1", "--instance", "web1:9100")
    assert (one["rows_new"], one["rows_known"] > 0) == (0, True)
    after = host.rows()
    assert before[0].tolist() == after[0].tolist()
    assert all(np.array_equal(before[1][name], after[1][name], equal_nan=True) for name in before[1])


def test_it_goes_on_after_kill_and_after_a_restart_of_the_server(store, tmp_path):
    """kill -9 of the import, SIGINT, and a server that goes away for a while: nothing is lost, nothing comes twice."""
    exposed = Exposed(47, _end_ms(), extra=16)
    exposed.write(tmp_path / "text", store.folder / "data", _everywhere(exposed))
    store.start()
    host = Host.new(tmp_path / "host")
    arguments = ("--prometheus", store.url, "--days", "2")

    killed = host.start(*arguments)
    wait_for(host.count, 20, "some rows are written")
    killed.kill()
    killed.communicate()
    reached = host.count()
    assert 0 < reached < len(exposed.rows)

    stopped = host.start(*arguments)
    wait_for(lambda: host.count() > reached, 20, "it goes on")
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=20)
    assert (stopped.returncode, said.splitlines()[-1]) == (130, "presage: stopped; the same command goes on from here")
    reached = host.count()
    assert reached < len(exposed.rows)

    waiting = host.start(*arguments, "--json")
    wait_for(lambda: host.count() > reached, 20, "it goes on")
    store.stop()
    time.sleep(1.0)
    store.start()
    out, said = waiting.communicate(timeout=40)
    assert waiting.returncode == 0, said
    print(f"{reached} rows before the last run, which said: {said}")
    assert json.loads(out)["rows_new"] == len(exposed.rows) - reached
    assert json.loads(out)["done_before_hours"] > 0
    _check_values(exposed, host)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_it_may_be_killed_at_any_moment(store, tmp_path, scale):
    """kill -9 again and again until one run ends by itself; two days, at a scale of 25 two weeks and some 50 kills."""
    days = 14 if scale >= 25 else 2
    seed = int(os.environ.get("PRESAGED_TEST_SEED") or time.time_ns() % 2**31)
    rng = np.random.default_rng(seed)
    exposed = Exposed(24 * days - 1, _end_ms(), extra=16)
    exposed.write(tmp_path / "text", store.folder / "data", _everywhere(exposed))
    store.start()
    host = Host.new(tmp_path / "host")
    kills = 0
    while True:
        process = host.start("--prometheus", store.url, "--days", str(days))
        with contextlib.suppress(subprocess.TimeoutExpired):
            _, said = process.communicate(timeout=rng.uniform(0.4, 1.4 + kills / 20))
            assert process.returncode == 0, said
            break
        process.kill()
        process.communicate()
        kills += 1
    print(f"PRESAGED_TEST_SEED={seed}: {kills} kills over {len(exposed.rows):,} rows")
    _check_values(exposed, host)
    with contextlib.closing(sqlite3.connect(host.folder / "state" / "history.db")) as history:
        assert history.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (folded,) = history.execute("SELECT sum(count) FROM rollups WHERE tier = 300").fetchone()
    assert len(exposed.rows) - 10 <= folded <= len(exposed.rows)  # the last five minutes are not over


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_month_of_a_host(store, tmp_path, scale):
    """A day; at a scale of 25 the full figure: 30 days of 104 series each 30 s, within two minutes."""
    full = scale >= 25
    exposed = Exposed(720 if full else 24, _end_ms(), extra=78)
    samples = exposed.write(tmp_path / "text", store.folder / "data", _everywhere(exposed))
    store.start()
    host = Host.new(tmp_path / "host")
    began = time.monotonic()
    process = host.start("--prometheus", store.url, "--days", "31", "--json")
    peak_kb = 0
    while process.poll() is None:
        with contextlib.suppress(OSError, TypeError):  # it may just have ended: such a process has no memory
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            peak_kb = max(peak_kb, int(re.search(r"VmHWM:\s+(\d+)", status)[1]))
        time.sleep(0.1)
    seconds = time.monotonic() - began
    out, said = process.communicate()
    assert process.returncode == 0, said
    assert json.loads(out)["rows_new"] == len(exposed.rows)
    figures = f"{samples / seconds:,.0f} samples/s; {peak_kb / 1024:.0f} MB at most"
    print(f"{samples:,} samples in {seconds:.1f} s, {figures}")
    if full:
        assert seconds < 120


def test_a_question_too_large_for_the_server_is_made_smaller(store, tmp_path):
    exposed = Exposed(7, _end_ms(), extra=16)
    exposed.write(tmp_path / "text", store.folder / "data", _everywhere(exposed))
    store.start("--query.max-samples=9000")  # a page of six hours has 30,000
    host = Host.new(tmp_path / "host")
    result, _ = host.imports("--prometheus", store.url, "--days", "1")
    assert result["rows_new"] == len(exposed.rows)
    _check_values(exposed, host)


def test_what_keeps_it_from_its_work_is_one_line(store, tmp_path):
    exposed = Exposed(2, _end_ms())
    exposed.write(tmp_path / "text", store.folder / "data", _everywhere(exposed))
    store.start()
    host = Host.new(tmp_path / "host")

    def refused(*arguments, text=""):
        host.config.write_text(f'[storage]\ndirectory = "state"\n{text}')
        process = host.start(*arguments)
        out, said = process.communicate(timeout=30)
        assert (process.returncode, out, said.count("\n")) == (1, "", 1), said
        return said

    here = ("--prometheus", store.url, "--days", "1")
    assert "no node_exporter nope; there is web1:9100 (" in refused(*here, "--instance", "nope")
    elsewhere = refused(*here, text='[host]\nname = "elsewhere"\n')
    assert f"no node_exporter whose host is elsewhere; choose by --instance: there is web1:9100 ({HERE})" in elsewhere
    fine = refused(*here, text="[sampling]\ninterval_seconds = 5\n")
    assert "set [sampling] interval_seconds = 30 first" in fine
    assert "is not a Prometheus (HTTP 404)" in refused("--prometheus", f"{store.url}/nowhere")
    assert "does not speak TLS" in refused("--prometheus", store.url.replace("http:", "https:"))
    assert not list((host.folder / "state").iterdir())  # nothing was opened for it


def test_it_runs_beside_the_daemon(store, daemon, tmp_path):
    exposed = Exposed(13, _end_ms())
    exposed.write(tmp_path / "text", store.folder / "data", _everywhere(exposed))
    store.start()
    one = daemon("[sampling]\ninterval_seconds = 30\n")
    one.wait_samples(1)
    host = Host(tmp_path)
    result, _ = host.imports("--prometheus", store.url, "--days", "1")
    assert result["rows_new"] == len(exposed.rows)
    assert one.process.poll() is None
    assert host.imports("--prometheus", store.url, "--days", "1")[0]["rows_new"] == 0


def test_victoriametrics_speaks_the_same(tmp_path):
    need("victoria-metrics", "victoria-metrics")
    exposed = Exposed(13, _end_ms())
    exposed.gaps[400:500] = True
    url = f"http://127.0.0.1:{free_port()}"
    options = [f"-storageDataPath={tmp_path / 'data'}", f"-httpListenAddr={url[7:]}", "-retentionPeriod=24"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(["victoria-metrics", *options], stdout=log, stderr=log)
    try:
        wait_for(lambda: get(f"{url}/health"), 20, "VictoriaMetrics is ready")
        body = exposed.lines('instance="web1:9100",job="node"', np.flatnonzero(~exposed.gaps)).encode()
        urllib.request.urlopen(f"{url}/api/v1/import/prometheus", data=body, timeout=20).close()
        get(f"{url}/internal/force_flush")
        host = Host.new(tmp_path / "host")
        host.imports("--prometheus", url, "--days", "1")
        _check_values(exposed, host)
    finally:
        process.terminate()
        process.wait(timeout=20)
