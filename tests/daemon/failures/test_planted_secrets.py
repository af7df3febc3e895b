"""Secrets in other programs' words under the real daemon: in nothing that it writes, answers or sends.

A journal of our own tells of a failed unit, killed processes and errors, each with a secret in the way that programs
put them into their words. One without any sign of being one, a bare word, cannot be told from a word, and is not
promised.
"""

import contextlib
import http.server
import json
import os
import sys
import threading
import time
from pathlib import Path

from daemon.cli import support_bundle

FAST = str(Path(__file__).parents[1] / "fast_daemon.py")
SECRETS = {
    "token": "Zq81planted",
    "password in a URL": "hunter2-Zq82",
    "password": "planted-Zq83",
    "bearer": "Zq84-planted.bearer",
    "web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJacTg1In0.plantedZq85",
    "cloud key": "AKIAZQ86PLANTEDZQ86X",
    "key": "sk_live_Zq87plantedZq87plantedZq87",
    "address": "10.87.88.89",
    "mail": "planted.zq88@hooks.example",
}
KERNEL = (
    "Out of memory: Killed process {pid} (java) total-vm:1kB, anon-rss:2048kB url=https://app:{password in a URL}@db/x",
    "INFO: task dd:12 blocked for more than 120 seconds. token={token}",
    "I/O error, dev sda, sector 1 password: {password} from {address}",
    "Machine check events logged Authorization: Bearer {bearer}",
)
PROGRAMS = (
    "login failed for {mail} with password={password} from {address}",
    "cannot reach https://app:{password in a URL}@db.example/main: No space left on device, token: {token}",
    "refused: Authorization: Bearer {bearer}; cookie {web token}; aws {cloud key}; --api-key {key}",
    "Too many open files: token={token}",
)
UNIT = (
    "Id=planted.service\nActiveState=failed\nResult=exit-code\nExecMainStatus=3\nStatusText=token={token}\n"
    "StateChangeTimestamp={at}"
)


class Received(http.server.BaseHTTPRequestHandler):
    """Keeps what a sink is sent."""

    def do_POST(self):
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_arguments):
        pass


@contextlib.contextmanager
def receiver():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Received) as server:
        server.bodies = []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def planted(journal):
    """Let the host say all of it, and fail."""
    at = time.strftime("%a %Y-%m-%d %H:%M:%S UTC", time.gmtime())
    systemctl = journal.bin / "systemctl"
    systemctl.write_text(f"#!{sys.executable}\nprint({UNIT.format(at=at, **SECRETS)!r})\n")
    systemctl.chmod(0o755)
    now = str(time.time_ns() // 1000)
    for pid in range(4711, 4715):
        for message in KERNEL:
            journal.say(message.format(pid=pid, **SECRETS), __REALTIME_TIMESTAMP=now)
    for message in PROGRAMS:
        journal.say(
            message.format(**SECRETS), __REALTIME_TIMESTAMP=now, _TRANSPORT="stdout", SYSLOG_IDENTIFIER="app",
            _SYSTEMD_UNIT="planted.service",
        )  # fmt: skip
    journal.say(
        "planted.service: Failed with result 'exit-code'. token={token} {key}".format(**SECRETS),
        __REALTIME_TIMESTAMP=now, _TRANSPORT="journal", SYSLOG_IDENTIFIER="systemd", _SYSTEMD_UNIT="init.scope",
        UNIT="planted.service", UNIT_RESULT="exit-code",
    )  # fmt: skip


def answers(daemon):
    """Everything that can be read."""
    document = json.loads(daemon.get("/api/v1/openapi.json"))
    asked = ["/metrics", "/"]
    for path, methods in document["paths"].items():
        if "get" in methods and "{" not in path and not path.endswith("/events"):
            asked.append(path)
    asked += [f"/api/v1/alerts/{one['occurrence']}" for one in json.loads(daemon.get("/api/v1/alerts"))["alerts"]]
    told = {}
    for path in asked:
        with contextlib.suppress(OSError):
            told[path] = daemon.get(path)
    return told


def wait_for(daemon, heard):
    """Wait until all of it is recorded, and told to the sink."""
    wanted = {"oom_kill", "io_error", "hung_task", "machine_check", "unit_failed"}
    give_up = time.monotonic() + 20
    while True:
        kinds = {one["kind"] for one in json.loads(daemon.get("/api/v1/failures?limit=1000"))["failures"]}
        sent = b"".join(heard.bodies)
        if wanted <= kinds and b"RepeatedOOMKills" in sent:
            return
        assert time.monotonic() < give_up, (wanted - kinds, sent)
        time.sleep(0.05)


def test_what_others_write_into_the_journal_is_masked_wherever_it_goes(daemons, journal, tmp_path, monkeypatch):
    (journal.root / "run/systemd/system").mkdir(parents=True)
    with receiver() as heard:
        sink = (
            '[alerting]\nunits = ["planted.service"]\ngroup_seconds = 1\n'
            '[[alerting.sinks]]\nname = "team"\ntype = "webhook"\n'
            f'url = "http://127.0.0.1:{heard.server_port}/hook"\n[log]\nlevel = "debug"\n'
        )
        daemon = daemons(
            program=(FAST, "--collector", "quiet", "--root", str(journal.root)),
            text=sink,
            environment={"PATH": os.environ["PATH"]},
        ).start()
        daemon.wait(lambda status: status["seq"] >= 2)
        planted(journal)
        wait_for(daemon, heard)
        told = answers(daemon)
        own = tmp_path / "own"
        own.mkdir()
        (own / "journalctl").write_text(f"#!/bin/sh\ncat {daemon.log}\n")
        (own / "journalctl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{own}:/usr/bin:/bin")
        bundle = support_bundle.gather(daemon.config)
        assert "failure_recorded" in bundle["log.txt"]
        assert daemon.end()[0] == 0
    sent = b"".join(heard.bodies)
    files = {path.name: path.read_bytes() for path in daemon.state.rglob("*") if path.is_file()}
    places = {
        **{name: text.encode() for name, text in told.items()},
        **files,
        **{f"bundle {name}": text.encode() for name, text in bundle.items()},
        "log": daemon.log.read_bytes(),
        "notifications": sent,
    }
    found = [
        (kind, place) for kind, secret in SECRETS.items() for place, words in places.items() if secret.encode() in words
    ]
    assert found == []
    assert b"<token>" in files["state.db"]  # the words themselves are there, without what was secret in them
    print(
        f"{len(SECRETS)} secrets in journal lines: in none of {len(told)} answers, {len(files)} files, the log, ",
        end="",
    )
    print(f"{len(heard.bodies)} notifications and the {len(bundle)} parts of a support bundle")
