"""The listener of the real daemon under clients that mean harm: what they cannot do, and how long they are borne."""

import asyncio
import contextlib
import http.client
import json
import socket
import time
import urllib.request
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from daemon.web import crowd, operations, pace

FAST = str(Path(__file__).parents[1] / "fast_daemon.py")
PLANTED = "pl4nted-Zq81-never-told"


@pytest.fixture
def daemon(daemons):
    daemon = daemons(program=(FAST, "--collector", "quiet")).start()
    daemon.wait(lambda status: status["seq"] >= 2)
    yield daemon
    assert "Traceback" not in daemon.log.read_text()


def talk(daemon, request, seconds=3.0):
    """Send bytes and return what comes until the end or the time is over."""
    with socket.create_connection(("127.0.0.1", daemon.port), 3) as connection:
        connection.settimeout(seconds)
        answer = b""
        with contextlib.suppress(OSError):
            connection.sendall(request)
            while part := connection.recv(65536):
                answer += part
        return answer


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0


def head(method, path, *more):
    lines = (f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *more)
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def test_no_operation_that_changes_something_does_so_without_the_token(daemon):
    document = json.loads(daemon.get("/api/v1/openapi.json"))
    asked = 0
    for path, methods in document["paths"].items():
        place = path.replace("{id}", "latest")
        for method in methods:
            if method.upper() in ("GET", "HEAD"):
                continue
            asked += 1
            wanted = {400, 401, 403} if path == "/api/v1/session" else {401}
            for more in (
                (),
                ("Authorization: Bearer ",),
                ("Authorization: Bearer wrong",),
                ("Cookie: presaged_session=1; presaged_session_1=1", "X-CSRF-Token: 1"),
                (f"Origin: http://127.0.0.1:{daemon.port}",),
            ):
                body = ("Content-Type: application/json", "Content-Length: 2")
                answer = talk(daemon, head(method.upper(), place, *more, *body) + b"{}")
                assert status_of(answer) in wanted | {403}, (method, path, answer[:200])
    print(f"{asked} operations that change something, each asked 5 times without the token: none answered")
    assert asked >= 10
    for method in ("PUT", "PATCH", "TRACE", "CONNECT", "OPTIONS", "BREW"):
        assert status_of(talk(daemon, head(method, "/api/v1/status"))) in (400, 401, 404, 405, 421), method


PATHS = (
    "/../../etc/passwd", "/static/../../../../etc/passwd", "/static/..%2f..%2f..%2fetc%2fpasswd", "//etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd", "/static/%2e%2e%2f%2e%2e%2fconfig.py", "/api/v1/neural/models/..%2f..%2ftoken",
    "/api/v1/alerts/..%2f..%2f..%2ftoken", "/static/%00", "/api/v1/%c0%ae%c0%ae/token", "/token", "/links.key",
    "/state.db", "/static/..\\..\\token", "/api/v1/neural/models/%2Fetc%2Fpasswd/metrics",
)  # fmt: skip


def test_no_path_leads_out_of_what_is_served(daemon):
    token = (daemon.state / "token").read_text().strip()
    for path in PATHS:
        answer = talk(daemon, head("GET", path, f"Authorization: Bearer {token}"))
        assert status_of(answer) in (400, 404), (path, answer[:200])
        assert b"root:" not in answer, path
        assert token.encode() not in answer, path


UNWANTED = (
    (head("GET", "/" + "a" * 200_000), (0, 400, 414, 431)),
    (head("GET", "/healthz", "X-Long: " + "a" * 200_000), (0, 400, 431)),
    (head("GET", "/healthz", *(f"X-{number}: 1" for number in range(5_000))), (0, 400, 431)),
    (head("POST", "/api/v1/changes", "Content-Length: 99999999999"), (401, 413)),
    (head("POST", "/api/v1/changes", "Content-Length: -1"), (400,)),
    (head("POST", "/api/v1/changes", "Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n", (400, 401)),
    (head("GET", "/healthz", "Host: evil.example"), (400, 421)),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), (400,)),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    (b"\x00" * 100_000, (0, 400)),
)


def test_what_is_too_large_or_no_http_is_refused_and_costs_nothing(daemon):
    for request, statuses in UNWANTED:
        before = daemon.status()["seq"]
        answer = talk(daemon, request, seconds=1.0)
        assert status_of(answer) in statuses, (request[:100], answer[:200])
        assert daemon.get("/healthz") == "ok\n"
        daemon.wait(lambda status, before=before: status["seq"] > before)


def test_who_connects_and_says_little_keeps_nobody_out(daemon):
    """Of 300 at once 200 are let in, each for half a minute at most; the daemon goes on all the while."""
    idle = []
    for number in range(crowd.MOST + 100):
        one = socket.create_connection(("127.0.0.1", daemon.port), 3)
        with contextlib.suppress(OSError):  # refused already
            one.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: " if number % 2 else b"")
        idle.append(one)
    before = daemon.log.read_text().count("sample_not_stored")
    descriptors = len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))
    print(f"{len(idle)} connections that say little: the daemon holds {descriptors} descriptors")
    assert descriptors < crowd.MOST + 100
    time.sleep(1)
    assert daemon.log.read_text().count("sample_not_stored") == before
    for one in idle:
        one.close()
    give_up = time.monotonic() + 10
    while True:
        with contextlib.suppress(OSError):
            assert daemon.get("/healthz") == "ok\n"
            break
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert daemon.log.read_text().count("connections_refused") == 1


def test_who_asks_without_end_is_told_to_wait_and_keeps_neither_the_owner_nor_prometheus_out(daemon):
    """On one connection as fast as it goes: 300 at once and 100 a second are answered, the others cost little."""
    token = (daemon.state / "token").read_text().strip()
    statuses, began = Counter(), time.monotonic()
    with closing(http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=5)) as stranger:
        while time.monotonic() - began < 1.5 and not (statuses[429] > 100 and time.monotonic() - began > 1):
            stranger.request("GET", "/api/v1/status")
            answer = stranger.getresponse()
            answer.read()
            statuses[answer.status] += 1
            if answer.status == 429:
                assert answer.headers["Retry-After"] == "1"
        seconds = time.monotonic() - began
        print(f"{statuses.total()} requests in {seconds:.1f} s: {dict(statuses)}")
        assert set(statuses) <= {200, 429}
        assert statuses[200] <= pace.AT_ONCE + pace.PER_SECOND * (seconds + 1)
        assert statuses[429]
        assert daemon.get("/metrics")
        assert daemon.get("/healthz") == "ok\n"
        owner = head("GET", "/api/v1/status", f"Authorization: Bearer {token}")
        assert status_of(talk(daemon, owner)) == 200
    before = daemon.wait(lambda status: status["seq"])["seq"]  # after a second anybody is answered again
    daemon.wait(lambda status: status["seq"] > before)


async def test_a_body_that_comes_a_letter_at_a_time_is_cut_off(monkeypatch):
    monkeypatch.setattr(operations, "_BODY_SECONDS", 0.4)

    async def take(request):
        return web.Response(body=await operations.received(request))

    application = web.Application()
    application.router.add_post("/", take)
    async with TestServer(application) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(head("POST", "/", "Content-Length: 5000"))
        began = time.monotonic()
        answer = asyncio.create_task(reader.readline())
        while not answer.done() and time.monotonic() - began < 5:
            writer.write(b"{")
            await asyncio.sleep(0.02)
        assert status_of(await answer) == 408
        assert 0.4 <= time.monotonic() - began < 3
        writer.close()


async def test_an_answer_that_nobody_takes_ends(monkeypatch):
    monkeypatch.setattr(crowd, "STALLED_SECONDS", 0.2)

    class Talker(asyncio.Protocol):
        def connection_made(self, transport):
            transport.write(bytes(50_000_000))

    doors = crowd.Crowd(Talker)
    server = await asyncio.get_running_loop().create_server(doors.admit, "127.0.0.1", 0)
    _reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1024)
    async with asyncio.timeout(5):
        while not doors.connected:  # noqa: ASYNC110 - of another side
            await asyncio.sleep(0.01)
        while doors.connected:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    writer.close()
    server.close()


def test_planted_secrets_are_found_nowhere(daemons, tmp_path):
    """In files of secrets, the environment and the credentials: not in the log, the state, the metrics or the API."""
    (tmp_path / "hook").write_text(f"http://127.0.0.1:9/{PLANTED}-url")
    (tmp_path / "bearer").write_text(f"{PLANTED}-bearer")
    (tmp_path / "signing").write_text("whsec_" + "cGw0bnRlZC1acTgxLW5ldmVyLXRvbGQtc2lnbmluZw==")
    sink = '[[alerting.sinks]]\nname = "team"\ntype = "webhook"\nurl_file = "hook"\ntoken_file = "bearer"\n'
    daemon = daemons(
        program=(FAST, "--collector", "quiet"),
        text=f'{sink}secret_file = "signing"\n[log]\nlevel = "debug"\n',
        environment={"PLANTED_IN_THE_ENVIRONMENT": f"{PLANTED}-environment", "CREDENTIALS_DIRECTORY": str(tmp_path)},
    ).start()
    daemon.wait(lambda status: status["seq"] >= 2)
    token = (daemon.state / "token").read_text().strip()
    asked = urllib.request.Request(
        f"http://127.0.0.1:{daemon.port}/api/v1/changes",
        data=json.dumps({"text": "deploy"}).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    urllib.request.urlopen(asked, timeout=5).close()
    answers = []
    with contextlib.suppress(OSError):
        trial = urllib.request.Request(
            f"http://127.0.0.1:{daemon.port}/api/v1/sinks/team/test",
            data=b"",
            headers={"Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(trial, timeout=15) as answer:
            answers.append(answer.read().decode())
    document = json.loads(daemon.get("/api/v1/openapi.json"))
    for path, methods in document["paths"].items():
        if "get" in methods and "{" not in path and not path.endswith("/events"):
            with contextlib.suppress(OSError):
                answers.append(daemon.get(path))
    answers += [daemon.get("/metrics"), daemon.get("/")]
    assert daemon.end()[0] == 0
    words = "\n".join(answers).encode() + daemon.log.read_bytes()
    files = [path for path in daemon.state.rglob("*") if path.is_file() and path.name not in ("token", "links.key")]
    words += b"".join(path.read_bytes() for path in files)
    key = (daemon.state / "links.key").read_text().strip()
    for secret in (PLANTED, "cGw0bnRlZC1acTgx", token, key):
        assert secret.encode() not in words, secret[:8]
    print(f"{len(answers)} answers, {len(files)} files and the log: none of 6 secrets")
