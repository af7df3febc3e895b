import hmac

import aiohttp
import pytest
from problem import KIND, sentence

from daemon.metrics import Metrics
from daemon.web import access, sessions
from daemon.web.access import CSRF_HEADER
from daemon.web.api import ChangeAnswer
from daemon.web.host_routes import HostRoutes
from daemon.web.server import Server, bind
from daemon.web.session_routes import SessionAnswer
from daemon.web.sessions import LIFETIME_SECONDS, MOST_SESSIONS, Sessions

TOKEN = "the-token"
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
PATH = "/api/v1/session"
CHANGE = ChangeAnswer(at="2026-03-01T06:00:00.000Z", kind="mark", text="deploy 42")
MARK = {"method": "POST", "json": {"text": "deploy 42"}}


class Site:
    """A server, and a browser without cookies of its own: what is sent is said."""

    def __init__(self, session):
        self.session = session
        self.port = 0
        self.now_ms = 1_772_323_200_000
        self.marked = []

    async def mark(self, text):
        self.marked.append(text)
        return CHANGE

    async def ask(self, path, *, method="GET", headers=None, cookie=None, csrf=None, **more):
        given = dict(headers or {})
        if cookie is not None:
            given["Cookie"] = f"{self.name}={cookie}"
        if csrf is not None:
            given[CSRF_HEADER] = csrf
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.request(method, url, headers=given, allow_redirects=False, **more) as answer:
            return answer.status, answer.headers, sentence(answer.status, answer.headers, await answer.text())

    @property
    def name(self):
        return f"presaged_session_{self.port}"

    async def sign_in(self):
        """Return cookie and CSRF token of a new session."""
        status, headers, text = await self.ask(PATH, method="POST", headers=RIGHT)
        assert status == 201
        name, _, rest = headers["Set-Cookie"].partition("=")
        assert name == self.name
        assert {"HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={LIFETIME_SECONDS}"} <= set(rest.split("; "))
        assert headers["Cache-Control"] == "no-store"
        return rest.partition(";")[0], SessionAnswer.model_validate_json(text).csrf


@pytest.fixture
async def site():
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        site = Site(session)
        server = Server(
            bind("127.0.0.1:0"),
            metrics=Metrics("1.2.3", lambda: "numpy", 10),
            ready=lambda: True,
            host=HostRoutes(None, None, site.mark, None),
            desk=None,
            scraped=lambda: None,
            now_ms=lambda: site.now_ms,
            offload=None,
            token=TOKEN,
            allowed_hosts=(),
        )
        await server.start()
        site.port = int(server.address.rpartition(":")[2])
        yield site
        await server.stop()


@pytest.fixture
def far(monkeypatch):
    """Let every request come from beyond loopback."""
    monkeypatch.setattr(access, "is_loopback", lambda _remote: False)


async def test_the_token_is_exchanged_for_a_cookie_that_writes_with_its_csrf_token(site):
    cookie, csrf = await site.sign_in()
    assert (await site.ask("/api/v1/changes", cookie=cookie, csrf=csrf, **MARK))[0] == 201
    assert site.marked == ["deploy 42"]
    told = SessionAnswer.model_validate_json((await site.ask(PATH, cookie=cookie))[2])
    assert (told.signed_in, told.csrf, told.expires_at) == (True, csrf, "2026-03-08T00:00:00.000Z")


@pytest.mark.parametrize("csrf", [None, "", "x", "\u00e9", "A" * 43])
async def test_without_its_csrf_token_a_cookie_changes_nothing(site, csrf):
    cookie, _ = await site.sign_in()
    status, headers, text = await site.ask("/api/v1/changes", cookie=cookie, csrf=csrf, **MARK)
    assert (status, headers["Content-Type"]) == (403, KIND)
    assert CSRF_HEADER in text
    assert site.marked == []


async def test_the_csrf_token_of_another_session_is_none(site):
    (cookie, own), (_, other) = await site.sign_in(), await site.sign_in()
    assert own != other
    assert (await site.ask("/api/v1/changes", cookie=cookie, csrf=other, **MARK))[0] == 403


@pytest.mark.parametrize("cookie", ["", "x", "A" * 43, "A" * 5000])
async def test_a_cookie_that_is_none_of_ours_is_none(site, far, cookie):
    assert (await site.ask("/metrics", cookie=cookie))[0] == 401
    assert (await site.ask("/api/v1/changes", cookie=cookie, csrf="x", **MARK))[0] == 401
    assert (await site.ask(PATH, cookie=cookie))[0] == 401


async def test_beyond_loopback_a_session_reads(site, far):
    status, headers, text = await site.ask("/metrics")
    assert (status, headers["WWW-Authenticate"], "bearer token" in text) == (401, "Bearer", True)
    cookie, _ = await site.sign_in()
    assert (await site.ask("/metrics", cookie=cookie))[0] == 200
    assert (await site.ask(PATH, cookie=cookie))[0] == 200


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer guess"}, {"Authorization": "Bearer "}])
async def test_who_does_not_know_the_token_gets_no_session(site, headers):
    status, answered, text = await site.ask(PATH, method="POST", headers=headers)
    assert (status, answered["WWW-Authenticate"], "Set-Cookie" in answered) == (401, "Bearer", False)
    assert TOKEN not in text


async def test_a_session_is_left_and_is_then_none(site):
    cookie, csrf = await site.sign_in()
    assert (await site.ask(PATH, method="DELETE", cookie=cookie))[0] == 403
    status, headers, text = await site.ask(PATH, method="DELETE", cookie=cookie, csrf=csrf)
    assert (status, SessionAnswer.model_validate_json(text).signed_in) == (200, False)
    assert "Max-Age=0" in headers["Set-Cookie"]
    assert (await site.ask("/api/v1/changes", cookie=cookie, csrf=csrf, **MARK))[0] == 401
    assert (await site.ask(PATH, method="DELETE", headers=RIGHT))[0] == 200  # by token: nothing is left, nothing wrong


async def test_a_session_ends_after_a_week(site, far):
    cookie, _ = await site.sign_in()
    site.now_ms += LIFETIME_SECONDS * 1000 - 1
    assert (await site.ask("/metrics", cookie=cookie))[0] == 200
    site.now_ms += 1
    assert (await site.ask("/metrics", cookie=cookie))[0] == 401


async def test_a_page_of_another_origin_opens_nothing_and_uses_nothing(site):
    cookie, csrf = await site.sign_in()
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{site.port + 1}"):
        headers = {"Origin": origin}
        assert (await site.ask(PATH, method="POST", headers={**RIGHT, **headers}))[0] == 403
        assert (await site.ask(PATH, cookie=cookie, headers=headers))[0] == 403
        assert (await site.ask("/api/v1/changes", cookie=cookie, csrf=csrf, headers=headers, **MARK))[0] == 403
    assert site.marked == []


async def test_a_browser_beyond_loopback_is_asked_for_the_token(site, far):
    page = {"Accept": "text/html,application/xhtml+xml"}
    status, headers, text = await site.ask("/", headers=page)
    assert (status, headers["Content-Type"], 'name="token"' in text) == (401, "text/html; charset=utf-8", True)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert (await site.ask("/api/v1/status", headers=page))[1]["Content-Type"] == KIND
    form = {"method": "POST", "headers": {"Origin": f"http://127.0.0.1:{site.port}"}}
    status, headers, text = await site.ask(PATH, data={"token": "guess"}, **form)
    assert (status, "Set-Cookie" in headers, "not the token" in text) == (401, False, True)
    status, headers, _ = await site.ask(PATH, data={"token": f" {TOKEN}\n"}, **form)
    assert (status, headers["Location"]) == (303, "/")
    cookie = headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    assert (await site.ask("/metrics", cookie=cookie))[0] == 200
    many = {f"a{number}": "1" for number in range(20)}
    assert (await site.ask(PATH, data=many, **form))[0] == 401


async def test_over_https_the_cookie_stays_there(site):
    headers = {**RIGHT, "Origin": f"https://127.0.0.1:{site.port}"}
    _, answered, _ = await site.ask(PATH, method="POST", headers=headers)
    assert "Secure" in answered["Set-Cookie"].split("; ")


def test_the_oldest_session_makes_room():
    open_ones = Sessions(lambda: 0)
    cookies = [open_ones.begin()[0] for _ in range(MOST_SESSIONS + 2)]
    assert [open_ones.find(one) is not None for one in cookies] == [False] * 2 + [True] * MOST_SESSIONS
    assert len(set(cookies)) == MOST_SESSIONS + 2


def test_a_clock_set_back_makes_no_session_last_longer():
    now = 10**12
    open_ones = Sessions(lambda: now)
    cookie, _ = open_ones.begin()
    now -= 3_600_000
    assert open_ones.find(cookie) is None


def test_what_is_kept_is_no_cookie_and_is_compared_in_constant_time(monkeypatch):
    compared = []
    genuine = hmac.compare_digest
    monkeypatch.setattr(sessions.hmac, "compare_digest", lambda *pair: compared.append(pair) or genuine(*pair))
    open_ones = Sessions(lambda: 0)
    cookie, session = open_ones.begin()
    open_ones.begin()
    assert cookie.encode() not in session.digest
    assert open_ones.find(cookie) is session
    assert len(compared) == 2  # all of them, whichever it is
    assert session.allows(session.csrf)
    assert not session.allows("\udcff")
