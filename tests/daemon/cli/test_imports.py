import json
import os
import pty
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from daemon.cli.imports import check_folder
from daemon.config import Config, Loaded
from daemon.errors import DaemonError

COMMAND = "import sys; from daemon.cli import main; sys.exit(main())"


@pytest.fixture
def command(config):
    (config.parent / "state").mkdir()
    config.write_text(f"{config.read_text().replace('interval_seconds = 1', 'interval_seconds = 30')}\n")
    return lambda *arguments: [
        sys.executable,
        "-P",
        "-c",
        COMMAND,
        "import",
        *map(str, arguments),
        "--config",
        config,
    ]


@pytest.fixture
def run(command, environment):
    def one(*arguments):
        return subprocess.run(
            command(*arguments), capture_output=True, text=True, timeout=30, check=False, env=environment
        )

    return one


@pytest.fixture
def server():
    """A server that has this host for the last hour, and nothing before."""
    now = int(time.time())

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            labels = {"instance": "a:9100", "job": "node"}
            if self.path.endswith("/series"):
                data = [{"__name__": "node_uname_info", "nodename": socket.gethostname(), **labels}]
            else:
                end, seconds = float(form["time"][0]), int(form["query"][0].rpartition("[")[2][:-2])
                first = max(end - seconds, now - 3600)
                values = [[at, "8e9"] for at in range(int(first) // 30 * 30 + 30, int(end), 30)]
                metric = {"__name__": "node_memory_MemTotal_bytes", **labels}
                available = {"__name__": "node_memory_MemAvailable_bytes", **labels}
                result = [{"metric": metric, "values": values}, {"metric": available, "values": values}]
                data = {"resultType": "matrix", "result": result if values else []}
            body = json.dumps({"status": "success", "data": data}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    one = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=one.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{one.server_port}"
    one.shutdown()
    thread.join()
    one.server_close()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give one of --prometheus URL, --csv FILE and --openmetrics FILE"),
        (("--prometheus", "http://a", "--csv", "/dev/null"), "give one of"),
        (("--prometheus", "localhost:9090"), "must begin with http://"),
        (("--prometheus", "http://me:s3cret@a"), "use --token-file FILE"),
        (("--prometheus", "http://a", "--days", "0"), "greater than or equal to 1"),
        (("--prometheus", "http://a", "--days", "366"), "less than or equal to 365"),
        (("--prometheus", "http://a", "--token-file", "/nowhere"), "does not exist"),
        (("--csv", "/nowhere"), "does not exist"),
        (("--csv", "/etc/hostname", "--instance", "a"), "goes with --prometheus"),
    ],
)
def test_bad_usage_is_one_line(run, arguments, says):
    said = run(*arguments)
    assert (said.returncode, said.stdout) == (2, "")
    assert says in said.stderr
    assert said.stderr.count("\n") == 1
    assert "s3cret" not in said.stderr


def test_a_token_file_holds_one_line(run, tmp_path):
    for content in (b"", b"a\nb", b"\xff"):
        (tmp_path / "token").write_bytes(content)
        said = run("--prometheus", "http://127.0.0.1:1", "--token-file", tmp_path / "token")
        assert said.returncode == 2
        assert "token" in said.stderr
        assert said.stderr.count("\n") == 1


def test_what_came_of_it_is_told(run, server, config):
    said = run("--prometheus", server, "--days", "1")
    assert said.returncode == 0, said.stderr
    rows = dict(line.split(maxsplit=1) for line in said.stdout.splitlines())
    assert list(rows) == ["span", "rows", "signals", "unseen", "next"]
    assert rows["rows"].endswith(" new, 0 known")
    assert 110 < int(rows["rows"].split()[0]) < 125
    assert rows["signals"] == "2"
    assert rows["next"].startswith("presaged takes it up within five minutes; `presage backtest` shows")
    assert said.stderr.splitlines()[-1].startswith("presage: 100 %: ")
    assert oct((config.parent / "state" / "history.db").stat().st_mode & 0o777) == "0o600"
    again = json.loads(run("--prometheus", server, "--days", "1", "--json").stdout)
    assert (again["rows_new"], again["rows_known"]) == (0, 0)
    assert 0 < again["done_before_hours"] <= 12
    assert again["unseen_hours"] > 12
    assert again["first_at"].endswith("Z")


def test_on_a_terminal_there_is_a_bar(command, server, environment):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("--prometheus", server, "--days", "1"), stdout=subprocess.PIPE, stderr=theirs, env=environment
    )
    os.close(theirs)
    drawn = b""
    try:
        while part := os.read(ours, 4096):
            drawn += part
    except OSError:  # the other end is closed
        pass
    out, _ = process.communicate(timeout=30)
    os.close(ours)
    assert process.returncode == 0
    assert b"rows/s" in drawn
    assert b"100%" in drawn
    assert out.startswith(b"span ")


def loaded(folder):
    return Loaded(Config(), (folder / "config.toml",), folder, folder / "cache")


def test_without_a_configuration_it_says_how_to_name_one(tmp_path):
    with pytest.raises(DaemonError, match=r"no configuration was found: in a checkout, give --config config\.toml$"):
        check_folder(replace(loaded(tmp_path / "none"), files=()))


def test_a_folder_that_cannot_be_used_comes_with_its_remedy(run, config, tmp_path, monkeypatch):
    state = config.parent / "state"
    state.rmdir()
    said = run("--prometheus", "http://127.0.0.1:1")
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == (f"presage: {state}: there is no such folder; start presaged once, it makes it\n")
    state.write_text("")
    with pytest.raises(DaemonError, match="is a file"):
        check_folder(loaded(state))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(
        DaemonError, match=r"may not be written by \S+: run it as its owner, `sudo -u \S+ presage import"
    ):
        check_folder(loaded(tmp_path))


def test_another_user_is_told_whom_to_be(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("being another user needs root")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        os.setresuid(65534, 65534, 0)
        try:
            with pytest.raises(
                DaemonError, match=r"may not be written by nobody: .* `sudo -u root presage import \.\.\.`"
            ):
                check_folder(loaded(folder))
            folder_of_root = tmp_path / "state"
            with pytest.raises(DaemonError, match=r"Permission denied: run `sudo presage import \.\.\.`"):
                check_folder(loaded(folder_of_root))
        finally:
            os.setresuid(0, 0, 0)


def test_what_root_creates_belongs_to_the_service(run, server, config):
    if os.geteuid() != 0:
        pytest.skip("giving a folder away needs root")
    os.chown(config.parent / "state", 65534, 65534)
    assert run("--prometheus", server, "--days", "1").returncode == 0
    files = list((config.parent / "state").iterdir())
    assert {"history.db", "state.db"} <= {path.name for path in files}
    assert {path.stat().st_uid for path in files} == {65534}


def test_a_damaged_history_is_left_to_the_daemon(run, config):
    path = config.parent / "state" / "history.db"
    path.write_bytes(b"no database, " * 1000)
    said = run("--prometheus", "http://127.0.0.1:1")
    assert (said.returncode, said.stderr.count("\n")) == (1, 1)
    assert "restart presaged, which sets it aside" in said.stderr
    assert path.read_bytes().startswith(b"no database")


def test_history_of_another_interval_is_refused_in_one_line(run, server, config):
    assert run("--prometheus", server, "--days", "1").returncode == 0
    config.write_text(config.read_text().replace("= 30", "= 15"))
    said = run("--prometheus", server, "--days", "1")
    assert (said.returncode, said.stdout) == (1, "")
    assert "cannot be compared with imported ones" in said.stderr
    assert said.stderr.splitlines()[0].endswith("what is learned from it is less exact")
    assert said.stderr.count("\n") == 2


def test_samples_of_our_own_leave_nothing_to_import(run, server, config):
    assert run("--prometheus", server, "--days", "1").returncode == 0
    with sqlite3.connect(config.parent / "state" / "history.db") as history:
        history.execute("UPDATE meta SET value = '1000' WHERE key = 'import.before_ms'")
    history.close()
    said = run("--prometheus", server, "--days", "1")
    assert said.returncode == 1
    assert "there are samples of this host since 1970-01-01 already" in said.stderr


def _day(count, step=30):
    now = int(time.time()) - 60
    return range(now - count * step, now, step)


def test_a_table_is_imported(run, tmp_path):
    file = tmp_path / "day.csv"
    times = [at for number, at in enumerate(_day(2000)) if not 500 <= number < 620]
    file.write_text("time,cpu.busy,memory.used\n" + "".join(f"{at},0.{at % 9},0.5\n" for at in times))
    said = run("--csv", file, "--json")
    assert said.returncode == 0, said.stderr
    first = json.loads(said.stdout)
    assert (first["rows_new"], first["rows_known"], first["signals"]) == (len(times), 0, 2)
    assert first["unseen_hours"] == pytest.approx(121 * 30 / 3600, abs=0.01)
    again = json.loads(run("--csv", file, "--json").stdout)
    assert (again["rows_new"], again["rows_known"]) == (0, len(times))


def test_series_in_a_file_are_imported(run, tmp_path):
    file = tmp_path / "day.om"
    file.write_text(
        "".join(
            f'node_memory_MemAvailable_bytes{{instance="{one}"}} {at % 7} {at}\n' for one in "ab" for at in _day(100)
        )
        + "# EOF\n"
    )
    assert "one must be chosen" in run("--openmetrics", file).stderr
    said = run("--openmetrics", file, "--instance", "b", "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["rows_new"] == 100


def test_a_file_that_is_of_no_use_is_told(run, tmp_path, config):
    file = tmp_path / "day.csv"
    file.write_text("time,cpu.busy\n" + "".join(f"{at},0.5\n" for at in _day(20, step=120)))
    said = run("--csv", file)
    assert (said.returncode, said.stderr.count("\n")) == (1, 1)
    assert "set [sampling] interval_seconds = 120 first" in said.stderr
    file.write_text("time,cpu.busy\nyesterday,0.5\n")
    assert run("--csv", file).returncode == 1
    assert not list((config.parent / "state").iterdir())
    file.write_text(f"time,cpu.busy\n{int(time.time()) + 3600},0.5\n")
    said = run("--csv", file)
    assert (said.returncode, said.stderr.count("\n")) == (1, 1)
    assert "no sample of it is from before presaged took its own" in said.stderr
