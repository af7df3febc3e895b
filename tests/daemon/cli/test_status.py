import contextlib
import json
import os
import pty
import re
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest
from answered import NOW, STATUS

from alerting.policy import KEPT_WORDS, Kept
from daemon.cli import wire
from daemon.cli.client import fetch_status
from daemon.cli.status import rows
from daemon.config import load
from daemon.errors import DaemonError
from daemon.web.api import RiskInBrief, StatusAnswer


def plain(status, now=NOW):
    return [(label, text.plain) for label, text in rows(status, now, plain=True)]


def test_all_that_is_known_is_shown():
    shown = plain(STATUS)
    assert ("host", "web-1: vm (kvm), 2 CPUs, 8.0 GiB") in shown
    assert ("samples", "8,640, one in 30 s, 80 signals (2 missing); last 12 s ago") in shown
    assert ("score", f"{'#' * 19}|###.. 0.91 of 0.80") in shown
    assert ("lacking", "learning: 3 of 7 days") in shown
    assert ("due to", "cpu.busy 41%") in shown
    assert ("", "web-1: /srv is mounted read-only [bold]now[/bold]") in shown
    assert ("", "01J000, sent to team") in shown
    assert ("collector", "disk: cannot read [31m /proc/diskstats") in shown
    assert ("collectors", "1 ok, 1 with a problem") in shown
    assert ("", "not on this host: temperature") in shown
    assert ("sink", "team: 2 sent, 1 failed, 0 given up, 4 waiting") in shown
    assert ("job", "train: 40%, epoch 3 of 6") in shown
    assert ("capacity", "/var is 71 % used: full in 9 days (80 %: 7 to 12)") in shown
    assert ("", "memory is 40 % used: never at this rate") in shown
    assert not any(text.startswith("/ is") for _, text in shown)
    assert ("risk", "below 1 % within 1 h, 31 % within 24 h: memory headroom 6 %, steady") in shown
    assert any(label == "presaged" and "(3.0 d), jit" in text for label, text in shown)


def test_what_there_is_no_room_for_is_said_with_why():
    short = {"disk": "database or disk is full: history has a gap", "memory": "17 MiB are left\x1b[31m: no page"}
    shown = plain(STATUS.model_copy(update={"degraded": short}))
    assert ("short of", "disk: database or disk is full: history has a gap") in shown
    assert ("", "memory: 17 MiB are left [31m: no page") in shown
    assert not any(label == "short of" for label, _ in plain(STATUS))


def test_what_is_not_there_yet_is_said():
    anomaly = STATUS.anomaly.model_copy(update={"score": None, "contributions": [], "model": ""})
    empty = {
        "anomaly": anomaly,
        "alerts": [],
        "sinks": [],
        "job": None,
        "last_sample_at": None,
        "collectors": [],
        "capacity": [],
        "risk": RiskInBrief(within_1h=None, within_24h=None, missing="not enough evidence: 3 samples", text=""),
    }
    shown = dict(plain(STATUS.model_copy(update=empty)))
    assert shown["score"] == "none yet"
    assert shown["alerts"] == "none"
    assert shown["samples"].endswith("; none yet")
    assert "not sent" in shown["sink"]
    assert "job" not in shown
    assert "capacity" not in shown
    assert shown["risk"] == "none told: not enough evidence: 3 samples"
    assert "due to" not in shown


@pytest.mark.parametrize("score", [0.0, 0.5, 0.8, 1.0, 1.7])
def test_the_bar_keeps_its_length(score):
    anomaly = STATUS.anomaly.model_copy(update={"score": score})
    bar = dict(plain(STATUS.model_copy(update={"anomaly": anomaly})))["score"].split(" ")[0]
    assert len(bar) == 25
    assert bar.index("|") == 19
    assert bar.count("#") == round(min(score, 1.0) * 24)


def test_what_holds_an_alert_and_who_has_it_is_shown():
    (alert,) = STATUS.alerts
    held = alert.model_copy(update={"held": "left to Prometheus", "acknowledged_by": "ann\x1b[31m"})
    assert ("", "01J000, sent to team; held: left to Prometheus; in the hands of ann [31m") in plain(
        STATUS.model_copy(update={"alerts": [held]})
    )
    kept = alert.model_copy(update={"held": KEPT_WORDS[Kept.LEARNING], "sent_to": []})
    shown = plain(STATUS.model_copy(update={"alerts": [kept]}))
    assert ("", "01J000, held: the host is still being learned") in shown
    lone = alert.model_copy(update={"sent_to": []})
    assert ("", "01J000, not sent") in plain(STATUS.model_copy(update={"alerts": [lone]}))


def test_a_sink_that_dropped_notifications_says_so():
    (sink,) = STATUS.sinks
    shown = plain(STATUS.model_copy(update={"sinks": [sink.model_copy(update={"dropped": 7})]}))
    assert ("sink", "team: 2 sent, 1 failed, 0 given up, 4 waiting, 7 dropped to make room") in shown


def test_an_old_sample_stands_out():
    def style(now):
        text = next(text for label, text in rows(STATUS, now, plain=True) if label == "samples")
        return [str(span.style) for span in text.spans]

    assert "bold red" not in style(NOW)
    assert "bold red" in style(datetime(2026, 3, 1, 6, 5, tzinfo=UTC))


def test_the_real_daemon_answers(daemon, presage, config):
    said = presage("status", "--config", config)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.isascii()
    assert re.search(r"^samples +\d+, one in 1 s, \d+ signals.*; last \d s ago$", said.stdout, re.MULTILINE)
    assert re.search(r"^lacking +learning: ", said.stdout, re.MULTILINE)
    answer = presage("status", "--json", "--config", config)
    status = StatusAnswer.model_validate_json(answer.stdout)
    assert status.state_directory == str(config.parent / "state")
    assert status.samples >= 1


def test_on_a_terminal_it_has_colour_and_fits(foreign, config, environment):
    foreign(200, STATUS.model_dump_json().encode())
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-c", "import sys; from daemon.cli import main; sys.exit(main())"]
    process = subprocess.Popen([*command, "status", "--config", str(config)], stdout=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # a terminal whose other side has closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(10) == 0
    text = shown.decode()
    assert "\x1b[1;31mFilesystemReadOnly" in text
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24


def test_not_running_is_one_line_that_says_what_to_do(presage, config, port):
    said = presage("status", "--config", config)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == f"presage: nothing runs on 127.0.0.1:{port}; `systemctl start presaged` or `make run`\n"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"<html>", "is not this presaged"),
        (200, b"{}", "is not this presaged"),
        (200, b'{"a": ' * 5000, "is not this presaged"),
        (200, b"\xff\xfe", "is not this presaged"),
        (404, b"", "is not presaged (HTTP status 404)"),
        (302, b"", "is not presaged (HTTP status 302)"),
        (401, b"", "does not let us in: there is no token in "),
    ],
)
def test_another_server_on_the_port_is_told(config, foreign, status, body, message):
    foreign(status, body)
    with pytest.raises(DaemonError, match=re.escape(message)) as caught:
        fetch_status(load(config))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_another_server_leaves_one_line(presage, config, foreign, option):
    foreign(200, b"<html>")
    said = presage("status", *option, "--config", config)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("presage: what answers on ")
    assert said.stderr.count("\n") == 1


def test_a_server_that_speaks_no_http_is_told(presage, config, port):
    with socket.create_server(("127.0.0.1", port)) as server:

        def answer():
            peer, _ = server.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        said = presage("status", "--config", config)
        thread.join()
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == f"presage: what answers on 127.0.0.1:{port} does not speak HTTP; see [http] listen\n"


@pytest.fixture
def token(config):
    path = config.parent / "state" / "token"
    path.parent.mkdir()
    path.write_text("secret\n")
    return path


def test_a_server_that_answers_drop_by_drop_holds_nobody(monkeypatch, config, port):
    monkeypatch.setattr(wire, "_SECONDS", 0.6)
    began = time.monotonic()

    def drip(listener):
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            for letter in b"HTTP/1.1 200 OK" + b"x" * 100:
                connection.sendall(bytes([letter]))
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", port)) as listener:
        serving = threading.Thread(target=drip, args=(listener,))
        serving.start()
        with pytest.raises(DaemonError, match="no answer within"):
            fetch_status(load(config))
        assert time.monotonic() - began < 3
        serving.join()


def test_the_token_is_sent_and_a_refusal_told(presage, config, foreign, token):
    seen = foreign(401, b"")
    said = presage("status", "--config", config)
    assert "Authorization" not in seen[0]  # on loopback, what is read needs none
    assert seen[1]["Authorization"] == "Bearer secret"
    assert said.returncode == 1
    assert f"it refused the token of {token}" in said.stderr
    assert "secret\n" not in said.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_the_token_is_not_shown_to_another_users_server(monkeypatch, config, foreign, token):
    seen = foreign(401, b"")
    monkeypatch.setattr(wire, "_listeners", lambda _port: {65_534})
    with pytest.raises(DaemonError, match="belongs to another user than the token, which was not shown"):
        fetch_status(load(config))
    assert "Authorization" not in seen[0]


def test_every_address_is_asked_on_loopback(presage, config, port, foreign):
    foreign(200, STATUS.model_dump_json().encode())
    config.write_text(config.read_text().replace(f"127.0.0.1:{port}", f"0.0.0.0:{port}"))
    said = presage("status", "--json", "--config", config)
    assert json.loads(said.stdout) == json.loads(STATUS.model_dump_json())


def test_the_port_0_cannot_be_asked(presage, config, port):
    config.write_text(config.read_text().replace(f":{port}", ":0"))
    said = presage("status", "--config", config)
    assert said.returncode == 1
    assert "give a fixed one" in said.stderr
