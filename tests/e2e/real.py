"""Real components: installed from Debian where they are missing and we may, skipped with the reason otherwise."""

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


def need(program, package):
    """Make sure that `program` is on PATH, from the Debian package `package`."""
    if shutil.which(program):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip(f"{program} is not installed (Debian package {package}) and cannot be installed from here")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", package]
    for command in (["apt-get", "update", "-q"], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode:
            pytest.skip(f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[-1:]}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read()


def wait_for(condition, seconds, what):
    """Poll until `condition()` is true and return its value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if value := condition():
                return value
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


class Daemon:
    """A real presaged in its own folder. `program` is what is run with `--config FILE`."""

    def __init__(self, folder, config, program=("-P", "-m", "daemon")):
        self.port = free_port()
        self.folder = folder
        self.file = folder / "config.toml"
        self.file.write_text(f'{config}\n[http]\nlisten = "127.0.0.1:{self.port}"\n[storage]\ndirectory = "state"\n')
        self.log = (folder / "log").open("ab")
        self.process = subprocess.Popen([sys.executable, *program, "--config", str(self.file)], stderr=self.log)

    def status(self):
        return json.loads(get(f"http://127.0.0.1:{self.port}/api/v1/status"))

    def wait_samples(self, count, seconds=30):
        def enough():
            assert self.process.poll() is None, f"the daemon ended: {(self.folder / 'log').read_text()[-2000:]}"
            status = self.status()
            return status if status["samples"] >= count else None

        return wait_for(enough, seconds, f"{count} samples")

    def samples(self, since_ms=0):
        """Return (time_ms, raw score, threshold, flags) of the samples that were scored, oldest first.

        Read from the file: a request on loopback would itself be what is unusual.
        """
        return self._read(
            "history.db",
            "SELECT time_ms, raw_score, raw_threshold, flags FROM samples"
            " WHERE raw_score IS NOT NULL AND time_ms >= ? ORDER BY seq",
            since_ms,
        )

    def occurrences(self, since_ms=0):
        """Return the occurrences that fired and began since then, oldest first, as the database keeps them."""
        rows = self._read("state.db", "SELECT payload FROM occurrences ORDER BY ordinal")
        found = [json.loads(payload) for (payload,) in rows]
        return [one for one in found if one["started_ms"] >= since_ms]

    def _read(self, name, query, *values):
        path = f"file:{self.folder}/state/{name}?mode=ro"
        with contextlib.closing(sqlite3.connect(path, uri=True, timeout=5)) as database:
            return database.execute(query, values).fetchall()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)  # a test may have stopped it
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=10)
        self.log.close()
        return self.process.returncode


class Receiver:
    """A real HTTP server that keeps what is posted to it, with the time of arrival."""

    def __init__(self):
        self.got = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                receiver.got.append((time.monotonic(), json.loads(text) if text else None))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
