import json
import signal
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import typer
from rich.console import Console

from daemon.cli import failures as module
from daemon.cli import watching
from daemon.cli.client import fetch_failures, mark_failure
from daemon.cli.failures import moment
from daemon.config import load
from daemon.errors import DaemonError
from daemon.failures.answers import FailuresAnswer

NOW = datetime(2026, 3, 1, 14, 30, tzinfo=timezone(timedelta(hours=1)))
ONE = {
    "at": "2026-03-01T06:00:00.000Z", "since": "2026-03-01T06:00:00.000Z", "last_at": "2026-03-01T06:00:00.000Z",
    "times": 1, "kind": "filesystem_read_only", "resource": "/srv", "detail": "/srv became read-only",
    "source": "mounts", "seen_by": ["mounts"],
}  # fmt: skip


def answer(*failures, problem=""):
    return {"failures": list(failures), "sources": [{"name": "journal", "problem": problem}]}


def test_a_failure_is_marked_and_listed_and_a_stop_is_clean(daemon, presage, config, port):
    said = presage("mark-failure", "--at", "10m", "--what", "the raid lost a disk \u03a9", "--config", config)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.endswith(": the raid lost a disk \u03a9\n")
    listed = presage("failures", "--config", config)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert any(line.endswith("marked  operator  the raid lost a disk \u03a9") for line in listed.stdout.splitlines())
    asked = presage("failures", "--json", "--config", config)
    (marked,) = FailuresAnswer.model_validate_json(asked.stdout).failures
    assert (marked.kind, marked.source) == ("operator", "operator")
    refused = presage("mark-failure", "--at", "2099-01-01", "--what", "x", "--config", config)
    assert refused.returncode == 1
    assert "cannot be marked before it happens" in refused.stderr
    assert refused.stderr.count("\n") == 1
    with pytest.raises(urllib.error.HTTPError, match="401") as refusal:  # whoever has no token marks nothing
        urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/failures", data=b'{"what": "x"}', timeout=5)
    refusal.value.close()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert kept_mark(config) == f"running {boot}"
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(5) == 0
    assert kept_mark(config) == f"stopped {boot}"


def kept_mark(config):
    """What tells the next start whether this one was stopped."""
    with closing(sqlite3.connect(config.parent / "state" / "state.db")) as database:
        ((mark,),) = database.execute("SELECT value FROM meta WHERE key = 'failures.boot'").fetchall()
    return mark


@pytest.mark.parametrize("arguments", [("failures",), ("mark-failure", "--what", "x")])
def test_without_a_daemon_there_is_one_line(presage, config, arguments):
    said = presage(*arguments, "--config", config)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("presage: nothing runs on ")


@pytest.fixture
def shown(monkeypatch, capsys, config):
    """What `presage failures` prints into a pipe of an answer."""

    def show(answered):
        body = json.dumps(answered)
        monkeypatch.setattr(
            module, "fetch_failures", lambda *_: (FailuresAnswer.model_validate_json(body), body.encode())
        )
        module.show_failures(config)
        return capsys.readouterr().out

    return show


def test_nothing_yet_and_what_is_not_read_are_said(shown):
    said = shown(answer(problem="it takes the group systemd-journal"))
    assert said == "none seen yet\njournal is not read: it takes the group systemd-journal\n"


def test_into_a_pipe_each_is_one_line(shown):
    long = {**ONE, "resource": "sda", "detail": "I/O error " + "x" * 200 + "\x1b[31m", "kind": "io_error", "times": 7}
    lines = shown(answer(ONE, long)).splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("mounts  /srv became read-only")
    assert "sda: I/O error x" in lines[1]
    assert lines[1].endswith("(7 times)")
    assert "\x1b" not in lines[1]


def test_the_table_of_a_terminal_has_eighty_columns(shown, monkeypatch):
    long = {**ONE, "source": "kernel log", "kind": "unit_failed", "detail": "word " * 40 + "x" * 100}
    out = Console(force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(watching, "console", lambda: out)
    lines = shown(answer(ONE, long)).splitlines()
    assert lines[0].split() == ["when", "what", "source", "of", "which"]
    assert max(map(len, lines)) <= 80
    assert sum(line.count("x") for line in lines) == 100


def test_every_kind_has_a_word_that_fits():
    from detectors.findings import FailureKind  # noqa: PLC0415 - the command does without it

    assert set(module._KINDS) == {kind.value for kind in FailureKind}
    assert all(len(word) <= 11 for word in module._KINDS.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10m", NOW - timedelta(minutes=10)),
        ("2d", NOW - timedelta(days=2)),
        ("2026-03-01T12:00:00+00:00", NOW - timedelta(minutes=90)),
    ],
)
def test_times_that_are_understood(text, expected):
    assert moment(text, NOW) == expected


def test_a_time_of_day_is_the_last_one():
    now = datetime.now().astimezone()
    for ago in (timedelta(minutes=61), timedelta(hours=20)):
        then = now - ago
        assert moment(then.strftime("%H:%M"), now) == then.replace(second=0, microsecond=0)
        assert moment(then.strftime("%H:%M:%S"), now) == then.replace(microsecond=0)
    assert moment("2026-03-01 14:05", now).strftime("%Y-%m-%d %H:%M") == "2026-03-01 14:05"


@pytest.mark.parametrize("text", ["99:05", "yesterday", "-5m", "10y", "", "2026-13-01", "1" * 30 + "m", "999999w"])
def test_times_that_are_not(text):
    with pytest.raises(typer.BadParameter, match='give a time like "14:05"'):
        moment(text, NOW)


@pytest.mark.parametrize(("status", "message"), [(401, "does not let us in"), (503, "refused: no room")])
def test_what_the_daemon_refuses_is_told(config, foreign, status, message):
    foreign(status, b"no room\n")
    with pytest.raises(DaemonError, match=message):
        fetch_failures(load(config), 5)
    with pytest.raises(DaemonError):
        mark_failure(load(config), "x", None)
