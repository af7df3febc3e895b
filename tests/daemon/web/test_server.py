import asyncio
import hmac
import ipaddress
import json
import socket
import stat

import aiohttp
import pytest
from office import STATUS
from problem import KIND, sentence
from structlog.testing import capture_logs

from daemon.collectors.base import Visitors
from daemon.errors import ConfigError, NotFound, StateError
from daemon.metrics import Metrics
from daemon.offload import Offload
from daemon.web import access as module
from daemon.web.api import ChangeAnswer, ChangesAnswer, StatusAnswer
from daemon.web.forecast_answers import ForecastsAnswer
from daemon.web.host_routes import HostRoutes
from daemon.web.server import Server, bind, ensure_token

TOKEN = "the-token"
RIGHT = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
CHANGE = ChangeAnswer(at="2026-03-01T06:00:00.000Z", kind="mark", text="deploy 42")


def own_address():
    """An IPv4 address of this host beyond loopback: that from which it would reach the world. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if ipaddress.ip_address(address).is_loopback else address


class Running:
    """A server, how ready it is, and a client of it."""

    def __init__(self, session):
        self.ready = False
        self.session = session
        self.port = 0
        self.marked = []
        self.asked = []
        self.broken = False
        self.failing = None
        self.scrapes = 0
        self.forecasts_of = []
        self.shed = ()
        self.now_ms = 1_000_000

    def forecasts(self, resource):
        self.forecasts_of.append(resource)
        if resource not in {None, "/var"}:
            raise NotFound(f'there is no resource "{resource}"; did you mean "/var"?')
        return ForecastsAnswer(forecasts=[], problem="a table is missing")

    def scrape(self):
        self.scrapes += 1

    async def changes(self, asked):
        if self.failing is not None:
            await self.failing(asked)
        self.asked.append(asked.limit)
        if self.broken:
            raise StateError("state.db: no room")
        return ChangesAnswer(changes=[CHANGE])

    async def mark(self, text):
        if self.broken:
            raise StateError("state.db: no room")
        self.marked.append(text)
        return CHANGE

    async def get(self, path, *, host="127.0.0.1", method="GET", **options):
        async with self.session.request(method, f"http://{host}:{self.port}{path}", **options) as answer:
            return answer.status, answer.headers, sentence(answer.status, answer.headers, await answer.text())


@pytest.fixture
async def serve():
    servers = []
    async with aiohttp.ClientSession() as session:

        async def start(listen="127.0.0.1:0", allowed_hosts=()):
            running = Running(session)
            server = Server(
                bind(listen),
                metrics=Metrics("1.2.3", lambda: "numpy", 10),
                ready=lambda: running.ready,
                host=HostRoutes(lambda: STATUS, running.changes, running.mark, running.forecasts),
                desk=None,  # its routes have tests of their own
                scraped=running.scrape,
                now_ms=lambda: running.now_ms,
                offload=Offload(),
                sheds=lambda path: path in running.shed,
                token=TOKEN,
                allowed_hosts=allowed_hosts,
            )
            await server.start()
            servers.append(server)
            running.server = server
            running.port = int(server.address.rpartition(":")[2])
            return running

        yield start
        for server in servers:
            await server.stop()


async def test_health_needs_nothing(serve):
    running = await serve()
    assert (await running.get("/healthz"))[::2] == (200, "ok\n")


async def test_who_is_connected_is_known(serve):
    running = await serve()
    assert running.server.visitors() == Visitors()
    await running.get("/healthz")  # the session keeps its connection
    assert running.server.visitors() == Visitors(every=1, local=1)
    await running.server.stop()
    assert running.server.visitors() == Visitors()


async def test_readiness_follows_the_samples(serve):
    running = await serve()
    status, _, text = await running.get("/readyz")
    assert (status, text.startswith("not ready: ")) == (503, True)
    running.ready = True
    assert (await running.get("/readyz"))[::2] == (200, "ready\n")


async def test_metrics_are_prometheus_text(serve):
    running = await serve()
    status, headers, text = await running.get("/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    assert "charset=utf-8" in headers["Content-Type"]
    assert "# TYPE presaged_samples_total counter" in text
    assert "_created" not in text


async def test_each_time_that_metrics_are_taken_is_a_scrape(serve):
    running = await serve()
    for path, method in (("/healthz", "GET"), ("/metrics", "HEAD"), ("/api/v1/status", "GET"), ("/nothing", "GET")):
        await running.get(path, method=method)
    assert running.scrapes == 0
    await running.get("/metrics")
    await running.get("/metrics")
    assert running.scrapes == 2


async def test_status_is_the_model_as_json(serve):
    running = await serve()
    status, headers, text = await running.get("/api/v1/status")
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert StatusAnswer.model_validate_json(text) == STATUS


async def test_what_is_not_there_says_what_is(serve):
    running = await serve()
    status, headers, text = await running.get("/nothing")
    assert status == 404
    assert headers["Content-Type"].startswith("text/plain")
    assert text.count("\n") == 1
    for name in (
        "/metrics",
        "/healthz",
        "/readyz",
        "/api/v1/",
        "status",
        "changes",
        "alerts",
        "silences",
        "drill",
        "sinks",
    ):
        assert name in text


@pytest.mark.parametrize("name", ["evil.example", "evil.example:9736", "127.0.0.1.evil.example", "localhost.evil"])
@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/api/v1/status", "/nothing"])
async def test_a_name_that_is_not_ours_is_not_answered(serve, name, path):
    running = await serve()
    status, _, text = await running.get(path, headers={"Host": name})
    assert status == 421
    assert name in text
    assert "allowed_hosts" in text


@pytest.mark.parametrize(
    "name", ["localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:9736", "[::1]", "10.0.0.1:1", "me.example:9736"]
)
async def test_our_names_and_addresses_are_answered(serve, name):
    running = await serve(allowed_hosts=("Me.Example",))
    assert (await running.get("/healthz", headers={"Host": name}))[0] == 200


async def test_beyond_loopback_all_but_health_needs_the_token(serve):
    address = own_address()
    if address is None:
        pytest.skip("this host has no address beyond loopback")
    running = await serve("0.0.0.0:0")
    assert (await running.get("/healthz", host=address))[0] == 200
    assert (await running.get("/metrics"))[0] == 200
    for path in ("/metrics", "/readyz", "/api/v1/status", "/nothing"):
        status, headers, text = await running.get(path, host=address)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "token" in text
        assert TOKEN not in text
    for wrong in ("", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", "Bearer \udcff\udcfe"):
        assert (await running.get("/metrics", host=address, headers={"Authorization": wrong}))[0] in {400, 401}
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert (await running.get("/api/v1/status", host=address, headers=right))[0] == 200


async def test_what_is_no_http_is_refused_and_does_not_fill_the_log(serve, caplog):
    running = await serve()
    for garbage in (b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \x00\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(garbage)
        assert b" 400 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert caplog.text == ""


async def test_bytes_that_are_no_text_are_only_a_wrong_token(serve):
    address = own_address()
    if address is None:
        pytest.skip("this host has no address beyond loopback")
    running = await serve("0.0.0.0:0")
    reader, writer = await asyncio.open_connection(address, running.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: " + address.encode() + b"\r\nAuthorization: Bearer \xff\xfe\r\n\r\n")
    assert b" 401 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_the_token_is_compared_in_constant_time(serve, monkeypatch):
    compared = []
    genuine = hmac.compare_digest

    def compare(given, known):
        compared.append((given, known))
        return genuine(given, known)

    monkeypatch.setattr(module.hmac, "compare_digest", compare)
    monkeypatch.setattr(module, "is_loopback", lambda _remote: False)
    running = await serve()
    assert (await running.get("/metrics", headers={"Authorization": "Bearer guess"}))[0] == 401
    assert set(compared) == {(b"guess", TOKEN.encode())}


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:192.0.2.2", False),
        ("192.0.2.2", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),
        ("", False),
        (None, False),
        ("localhost", False),
    ],
)
def test_who_is_on_loopback(remote, expected):
    assert module.is_loopback(remote) is expected


async def test_a_large_body_is_refused_before_it_is_read(serve):
    running = await serve()
    status, _, text = await running.get("/metrics", data=b"x" * 70_000)
    assert (status, text) == (413, "the body is larger than 65536 bytes\n")
    assert (await running.get("/healthz"))[0] == 200


async def test_the_status_is_not_to_be_changed(serve):
    running = await serve()
    for method in ("POST", "PUT", "DELETE"):
        assert (await running.get("/api/v1/status", method=method))[0] == 401
        assert (await running.get("/api/v1/status", method=method, headers=RIGHT))[0] == 405


@pytest.mark.parametrize(
    ("path", "more", "status", "words"),
    [
        ("nothing", {}, 404, "not here; there is /metrics, /healthz, /readyz and, below /api/v1/, alerts, changes,"),
        ("", {}, 404, "not here; there is /metrics"),
        ("status", {"method": "POST", "headers": RIGHT}, 405, "POST is not for /api/v1/status, but GET and HEAD"),
        ("drill", {}, 405, "GET is not for /api/v1/drill, but POST"),
        ("status", {"method": "POST"}, 401, "to change something a bearer token is needed"),
        ("status", {"headers": {"Host": "evil.example"}}, 421, "'evil.example' is not a name of this server"),
        ("status", {"headers": {"Origin": "http://evil.example"}}, 403, "a page of another origin may not ask here"),
        ("changes", {"method": "POST", "headers": RIGHT, "data": b"x" * 70_000}, 413, "the body is larger than 65536"),
        ("status?verbose=1", {}, 400, "verbose: Extra inputs are not permitted"),
    ],
)
async def test_below_the_api_every_refusal_is_a_problem(serve, path, more, status, words):
    running = await serve()
    found, headers, text = await running.get(f"/api/v1/{path}", **more)
    assert (found, headers["Content-Type"]) == (status, KIND)
    assert text.startswith(words)
    assert ("Allow" in headers) == (status == 405)


async def test_a_body_of_unknown_length_is_cut_off(serve):
    running = await serve()

    async def endless():
        for _ in range(100):
            yield b" " * 8192

    status, headers, text = await running.get("/api/v1/changes", method="POST", headers=RIGHT, data=endless())
    assert (status, headers["Content-Type"], text) == (413, KIND, "the body is too large\n")


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/nothing", "/api/v1/status", "/api/v1/nothing", "/readyz"])
async def test_no_answer_is_guessed_at_or_tells_versions(serve, path):
    _, headers, _ = await (await serve()).get(path)
    assert (headers["X-Content-Type-Options"], headers["Server"]) == ("nosniff", "presaged")


async def test_a_mistake_of_ours_costs_one_answer(serve, monkeypatch):
    running = await serve()

    async def broken(_asked):
        raise KeyError("secret")

    monkeypatch.setattr(running, "failing", broken)
    with capture_logs() as logs:
        status, headers, text = await running.get("/api/v1/changes")
    assert (status, headers["Content-Type"], text) == (
        500, KIND, "something went wrong inside presaged; its log says what\n",
    )  # fmt: skip
    assert [(one["event"], one["path"]) for one in logs] == [("request_failed", "/api/v1/changes")]
    assert (await running.get("/api/v1/status"))[0] == 200


async def test_changes_are_listed(serve):
    running = await serve()
    status, _, text = await running.get("/api/v1/changes?limit=7")
    assert (status, ChangesAnswer.model_validate_json(text).changes) == (200, [CHANGE])
    await running.get("/api/v1/changes")
    assert running.asked == [7, 100]
    for wrong in ("0", "1001", "-1", "x", "9" * 5000, "\u0663", ""):
        assert (await running.get("/api/v1/changes", params={"limit": wrong}))[0] == 400
    running.broken = True
    assert (await running.get("/api/v1/changes"))[::2] == (503, "state.db: no room\n")


async def test_a_change_is_marked(serve):
    running = await serve()
    status, _, text = await running.get(
        "/api/v1/changes", method="POST", headers=RIGHT, data=b'{"text": " deploy 42 "}'
    )
    assert (status, ChangeAnswer.model_validate_json(text)) == (201, CHANGE)
    assert running.marked == ["deploy 42"]
    running.broken = True
    assert (await running.get("/api/v1/changes", method="POST", headers=RIGHT, data=b'{"text": "x"}'))[0] == 503


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"\xff", b'{"text": ""}', b'{"text": " "}', b'{"text": "a\\nb"}', b'{"text": 3}',
             b'{"text": "' + b"x" * 201 + b'"}', b'{"text": "x", "kind": "boot"}'],
)  # fmt: skip
async def test_a_mark_that_is_none_is_refused_in_one_line(serve, body):
    running = await serve()
    status, _, text = await running.get("/api/v1/changes", method="POST", headers=RIGHT, data=body)
    assert (status, text.count("\n")) == (400, 1)
    assert running.marked == []


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 401),
        ({"Authorization": "Bearer guess"}, 401),
        ({**RIGHT, "Origin": "http://evil.example"}, 403),
        ({**RIGHT, "Origin": "null"}, 403),
        ({**RIGHT, "Content-Type": "text/plain"}, 415),  # what a form of another page can send unasked
        ({**RIGHT, "Host": "evil.example"}, 421),
    ],
)
async def test_who_may_not_write(serve, headers, expected):
    running = await serve()
    answer = await running.get("/api/v1/changes", method="POST", headers=headers, data=b'{"text": "x"}')
    assert answer[0] == expected
    assert running.marked == []


async def test_our_own_pages_may_write(serve):
    running = await serve()
    headers = {**RIGHT, "Origin": f"http://127.0.0.1:{running.port}"}
    assert (await running.get("/api/v1/changes", method="POST", headers=headers, data=b'{"text": "x"}'))[0] == 201


async def test_while_memory_is_short_some_is_answered_later(serve):
    running = await serve()
    running.shed = {"/api/v1/forecasts"}
    status, headers, text = await running.get("/api/v1/forecasts")
    assert (status, headers["Retry-After"]) == (503, "60")
    assert text.startswith("memory is short")
    assert (await running.get("/api/v1/status"))[0] == 200
    running.shed = {"/api/v1/changes"}  # who may not ask is told that, as ever
    assert (await running.get("/api/v1/changes", method="POST", data=b'{"text": "x"}'))[0] == 401
    running.shed = ()
    assert (await running.get("/api/v1/forecasts"))[0] == 200


async def test_it_stops_while_a_client_stays(serve):
    running = await serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readline()
    server = Server(
        bind("127.0.0.1:0"),
        metrics=Metrics("", lambda: "", 1),
        ready=lambda: True,
        host=HostRoutes(lambda: STATUS, None, None, None),
        desk=None,
        scraped=lambda: None,
        now_ms=lambda: 0,
        offload=None,
        token=TOKEN,
        allowed_hosts=(),
    )
    await server.start()
    async with asyncio.timeout(2):
        await server.stop()
    writer.close()
    await writer.wait_closed()


def test_the_token_is_made_once_and_private(tmp_path):
    token = ensure_token(tmp_path)
    path = tmp_path / "token"
    assert len(token) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_token(tmp_path) == token
    assert list(tmp_path.iterdir()) == [path]


def test_a_secret_of_another_name_is_another(tmp_path):
    token, key = ensure_token(tmp_path), ensure_token(tmp_path, "links.key")
    assert token != key
    assert (ensure_token(tmp_path), ensure_token(tmp_path, "links.key")) == (token, key)
    assert {path.name for path in tmp_path.iterdir()} == {"token", "links.key"}
    assert stat.S_IMODE((tmp_path / "links.key").stat().st_mode) == 0o600


def test_a_token_that_was_opened_to_others_is_closed_again(tmp_path):
    token = ensure_token(tmp_path)
    (tmp_path / "token").chmod(0o644)
    assert ensure_token(tmp_path) == token
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"])
def test_a_token_that_is_none_is_made_anew(tmp_path, content):
    (tmp_path / "token").write_bytes(content)
    (tmp_path / ".token.partial").write_bytes(b"left by a crash")
    assert len(ensure_token(tmp_path)) >= 40
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_a_taken_port_says_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigError) as caught:
            bind(listen)
    assert caught.value.problems == [
        f"http.listen: {listen}: Address already in use; another program listens there; choose another port"
    ]


@pytest.mark.parametrize("host", ["203.0.113.77", "a" * 70, "a\0b", "no such host"])
def test_an_address_that_is_not_ours_is_told(host):
    with pytest.raises(ConfigError) as caught:
        bind(f"{host}:0")
    (problem,) = caught.value.problems
    assert problem.startswith("http.listen: ")
    assert "address" in problem
    assert problem.isprintable()


async def test_forecasts_are_told_of_all_or_of_one(serve):
    running = await serve()
    for path in ("/api/v1/forecasts", "/api/v1/forecasts?resource=/var"):
        status, headers, text = await running.get(path)
        assert (status, json.loads(text)) == (200, {"forecasts": [], "problem": "a table is missing", "next": None})
        assert headers["Content-Type"].startswith("application/json")
    assert running.forecasts_of == [None, "/var"]


async def test_an_unknown_resource_is_a_problem_of_its_own(serve):
    running = await serve()
    status, headers, text = await running.get("/api/v1/forecasts?resource=/vra%20inodes")
    assert status == 404
    assert headers["Content-Type"] == KIND
    assert text == 'there is no resource "/vra inodes"; did you mean "/var"?\n'
