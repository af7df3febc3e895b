"""A configuration with a free port, `presage` and `presaged` as real processes, and a server that is not ours."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.fixture
def config(tmp_path, port):
    path = tmp_path / "config.toml"
    path.write_text(
        f'[storage]\ndirectory = "state"\n[http]\nlisten = "127.0.0.1:{port}"\n'
        '[sampling]\ninterval_seconds = 1\n[compute]\nbackend = "numpy"\n'
    )
    return path


@pytest.fixture
def environment():
    kept = {key: value for key, value in os.environ.items() if key not in {"FORCE_COLOR", "PRESAGED_CONFIG"}}
    return {**kept, "COLUMNS": "80", "TERM": "xterm-256color"}


@pytest.fixture
def presage(environment):
    """Run `presage` and return what came of it."""

    def run(*arguments):
        command = [sys.executable, "-P", "-c", "import sys; from daemon.cli import main; sys.exit(main())"]
        return subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, timeout=50, check=False, env=environment
        )

    return run


@pytest.fixture
def daemon(config, port, environment):
    """The real daemon with a first sample; its end must be orderly, and soon."""
    with (config.parent / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "daemon", "--config", str(config)], stderr=log, env=environment
        )
    try:
        _wait_until_ready(process, port)
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0, (config.parent / "log").read_text()
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(process, port):
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:  # not listening yet, or 503 before the first sample
            time.sleep(0.1)
    raise AssertionError("presaged did not become ready")


@pytest.fixture
def foreign(port):
    """Start a server on our port that answers with the given status and body, and keeps the headers it was sent."""
    servers = []

    def start(status, body):
        seen = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                seen.append(dict(self.headers))
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_DELETE = do_GET  # noqa: N815 - the names of http.server

            def log_message(self, *_arguments):
                pass

        server = HTTPServer(("127.0.0.1", port), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return seen

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()
