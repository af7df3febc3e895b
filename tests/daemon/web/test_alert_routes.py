import json
from html.parser import HTMLParser
from urllib.parse import urlencode, urlsplit

import aiohttp
import pytest
from office import TOKEN, Office, Team, read_only
from problem import KIND, sentence
from yarl import URL

from alerting.links import LIFETIME_MS
from daemon.web import access
from daemon.web.alert_answers import (
    AlertDetail,
    AlertsAnswer,
    DrillAnswer,
    FeedbackAnswer,
    SilenceAnswer,
    SilencesAnswer,
    SinkTestAnswer,
)
from daemon.web.api import AlertAnswer

RIGHT = {"Authorization": f"Bearer {TOKEN}"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>\u202etxt.exe {{7*7}}"


class Tags(HTMLParser):
    """What a browser would make of a page: its elements and the text between them."""

    def __init__(self, html):
        super().__init__()
        self.elements = []
        self.words = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)

    def names(self):
        return {tag for tag, _ in self.elements}


class Client:
    """An office, and requests to it."""

    def __init__(self, office, session, port):
        self.office = office
        self.session = session
        self.port = port

    async def ask(self, method, path, *, headers=RIGHT, host="127.0.0.1", **options):
        url = URL(f"http://{host}:{self.port}{path}", encoded=True)
        async with self.session.request(method, url, headers=headers, allow_redirects=False, **options) as answer:
            return answer.status, answer.headers, sentence(answer.status, answer.headers, await answer.text())

    async def send(self, method, path, body, **options):
        headers = {**RIGHT, "Content-Type": "application/json", **options.pop("headers", {})}
        return await self.ask(method, path, headers=headers, data=body if isinstance(body, bytes) else json.dumps(body))

    def link(self, action, alert=None):
        """Path and query of a genuine link."""
        alert = alert or self.alert
        return self.office.signer.path(alert, action, self.office.clock.time_ms + LIFETIME_MS)

    def done(self):
        """All that a link could have changed."""
        one = next((one for one in self.office.pipeline.active if one.id == self.alert), None)
        return [v.kind.value for v in self.office.state.verdicts(self.alert)], one and one.acknowledged


@pytest.fixture
async def client(tmp_path, clock):
    """An office with one alert that fires, and one that is over."""
    office = await Office(tmp_path / "state", clock, (Team(),)).open()
    async with aiohttp.ClientSession() as session:
        client = Client(office, session, await office.serve())
        (over,) = await office.fire(read_only("/old"))
        await office.end()
        (one,) = await office.fire(read_only(detail=f"/srv is read-only {HOSTILE}"))
        client.over, client.alert = over.id, one.id
        yield client
    await office.close()


# Links of notifications


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("action", ["ack", "real", "false", "expected"])
async def test_a_preview_of_a_link_changes_nothing(client, method, action):
    for _ in range(3):
        status, headers, text = await client.ask(method, client.link(action), headers={})
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert client.done() == ([], None)
    assert bool(text) == (method == "GET")


@pytest.mark.parametrize("action", ["real", "false", "expected"])
async def test_the_form_of_a_link_acts_once_without_a_token(client, action):
    for _ in range(3):
        status, _, text = await client.ask(
            "POST", client.link(action), headers=FORM, data=urlencode({"name": "Ann \u03a9", "comment": "my cron"})
        )
        assert status == 200
    assert client.done() == ([action], None)
    (verdict,) = client.office.state.verdicts(client.alert)
    assert (verdict.author, verdict.comment) == ("Ann \u03a9 (by a link)", "my cron")
    page = Tags(text)
    assert f"It is noted that this alert was {action}." in page.text
    assert f"presage feedback {client.alert} --undo" in page.text
    assert "form" not in page.names()


async def test_an_alert_is_taken_in_hand_by_a_link_once(client):
    status, _, text = await client.ask("POST", client.link("ack"), headers=FORM, data="name=ann")
    assert status == 200
    assert "It is in the hands of ann (by a link)." in Tags(text).text
    status, _, text = await client.ask("POST", client.link("ack"), headers=FORM, data="name=bob")
    assert (status, "ann (by a link)" in text) == (200, True)
    assert client.done()[1].author == "ann (by a link)"


async def test_without_a_name_somebody_has_done_it(client):
    assert (await client.ask("POST", client.link("real"), headers=FORM))[0] == 200
    assert client.office.state.verdicts(client.alert)[0].author == "somebody (by a link)"


def altered(client, what):
    """Links that are none of ours any more, each with the reason that is to be told."""
    good = client.link("false")
    path, _, query = good.partition("?")
    return {
        "signature": (good[:-1] + ("A" if good[-1] != "A" else "B"), "altered"),
        "no signature": (path + "?action=false&expires=1&signature=", "altered"),
        "other alert": (good.replace(client.alert, client.over), "altered"),
        "no such alert": (good.replace(client.alert, "01KJ0000000000000000000000"), "altered"),
        "ending of the alert": (good.replace(client.alert, client.alert[-6:]), "altered"),
        "other action": (good.replace("action=false", "action=real"), "altered"),
        "unknown action": (client.office.signer.path(client.alert, "delete", 9_999_999_999_999), "does not know"),
        "later expiry": (good.replace("expires=", "expires=9"), "altered"),
        "no expiry": (good.replace("expires=", "ex="), "not complete"),
        "expiry of other digits": (path + "?action=false&expires=%D9%A3&signature=x", "not complete"),
        "endless expiry": (path + f"?action=false&expires={'9' * 5000}&signature=x", "not complete"),
        "expired": (client.office.signer.path(client.alert, "false", client.office.clock.time_ms - 1), "has expired"),
        "bytes": (path + "?action=%ff%fe&expires=1&signature=%ff", "altered"),
        "twice": (path + "?action=real&" + query, "altered"),
    }[what]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize(
    "what",
    ["signature", "no signature", "other alert", "no such alert", "ending of the alert", "other action",
     "unknown action", "later expiry", "no expiry", "expiry of other digits", "endless expiry", "expired", "bytes",
     "twice"],
)  # fmt: skip
@pytest.mark.parametrize("near", [True, False])
async def test_a_link_that_is_not_genuine_is_refused_in_one_sentence(client, monkeypatch, method, what, near):
    monkeypatch.setattr(access, "is_loopback", lambda _remote: near)
    path, reason = altered(client, what)
    status, headers, text = await client.ask(method, path, headers=FORM if method == "POST" else {})
    assert (status, headers["Content-Type"]) == (403, "text/html; charset=utf-8")
    assert method == "HEAD" or reason in Tags(text).text
    assert client.done() == ([], None)


async def test_a_genuine_link_works_from_anywhere_and_for_its_one_path_only(client, monkeypatch):
    monkeypatch.setattr(access, "is_loopback", lambda _remote: False)
    good = client.link("false")
    assert (await client.ask("GET", good, headers={}))[0] == 200
    query = good.partition("?")[2]
    elsewhere = (
        f"/api/v1/alerts/{client.alert}",
        "/api/v1/alerts",
        "/api/v1/status",
        "/metrics",
        "/api/v1/silences",
        "/nothing",
    )
    for path in elsewhere:
        assert (await client.ask("GET", f"{path}?{query}", headers={}))[0] == 401
    for path in (f"/api/v1/alerts/{client.alert}/ack", "/api/v1/silences", "/api/v1/drill", "/api/v1/sinks/team/test"):
        assert (await client.ask("POST", f"{path}?{query}", headers=FORM))[0] == 401
    for method in ("DELETE", "PUT", "PATCH"):  # what a link was not made for
        assert (await client.ask(method, good, headers={}))[0] == 401
    assert (await client.ask("POST", good, headers=FORM))[0] == 200
    assert client.done() == (["false"], None)


async def test_host_and_origin_are_checked_for_links_too(client):
    good = client.link("false")
    own = f"127.0.0.1:{client.port}"
    for headers, expected in (
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ):
        assert (await client.ask("POST", good, headers={**FORM, **headers}))[0] == expected
    assert client.done() == ([], None)
    assert (await client.ask("GET", good, headers={"Host": "web1.example.org:9736"}))[0] == 200
    assert (await client.ask("POST", good, headers={**FORM, "Origin": f"http://{own}"}))[0] == 200


async def test_a_link_takes_nothing_but_its_form(client):
    good = client.link("false")
    for headers, body in (
        ({"Content-Type": "application/json"}, b'{"verdict": "false", "author": "x"}'),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--"),
        ({"Content-Type": "text/plain"}, b"name=x"),
        ({}, b""),
    ):
        status, answered, _ = await client.ask("POST", good, headers=headers, data=body)
        assert (status, answered["Content-Type"]) == (415, "text/html; charset=utf-8")
    assert (await client.ask("POST", good, headers=FORM, data="&".join(f"a{n}=1" for n in range(50))))[0] == 400
    assert (await client.ask("POST", good, headers=FORM, data=b"x" * 70_000))[0] == 413
    assert client.done() == ([], None)


@pytest.mark.parametrize("charset", ["utf-8", "no-such-charset", "utf-16"])
async def test_what_is_written_into_the_form_becomes_one_short_line(client, charset):
    body = b"name=" + b"n" * 5000 + b"&comment=a%0D%0Ab%00%1b[31m%ff+" + b"c" * 5000 + b"&name=other&x"
    headers = {"Content-Type": f"application/x-www-form-urlencoded; charset={charset}"}
    assert (await client.ask("POST", client.link("real"), headers=headers, data=body))[0] == 200
    (verdict,) = client.office.state.verdicts(client.alert)
    assert verdict.author == "n" * 80 + " (by a link)"
    assert verdict.comment.startswith("a b [31m\ufffd ccc")
    assert (len(verdict.comment), verdict.comment.isprintable()) == (500, True)


async def test_pages_show_hostile_words_as_words_and_load_nothing(client):
    pages = [await client.ask("GET", client.link("false"), headers={})]
    body = urlencode({"name": HOSTILE, "comment": HOSTILE})
    pages += [await client.ask("POST", client.link(action), headers=FORM, data=body) for action in ("false", "ack")]
    pages.append(await client.ask("GET", client.link("false") + "x", headers={}))
    pages.append(await client.ask("GET", f"/api/v1/alerts/{'%3Cscript%3E'}/feedback", headers=RIGHT))
    for _, headers, text in pages:
        page = Tags(text)
        assert page.names() <= {
            "html", "head", "meta", "title", "style", "body", "main", "h1", "p", "small", "form", "label", "input",
            "button", "strong", "code",
        }  # fmt: skip
        assert not any("src" in attributes or "href" in attributes for _, attributes in page.elements)
        policy = headers["Content-Security-Policy"].split("; ")
        for rule in ("default-src 'none'", "style-src 'unsafe-inline'", "form-action 'self'", "frame-ancestors 'none'"):
            assert rule in policy
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Robots-Tag"] == "noindex"
        assert "prefers-color-scheme:dark" in text
        assert 'name="viewport"' in text
    for _, _, text in pages[:3]:
        assert "<script>alert(1)</script>" in Tags(text).text


async def test_the_page_asks_and_its_form_leads_to_itself(client):
    _, _, text = await client.ask("GET", client.link("false"), headers={})
    page = Tags(text)
    (form,) = [attributes for tag, attributes in page.elements if tag == "form"]
    assert form == {"method": "post"}
    assert [a["name"] for tag, a in page.elements if tag == "input"] == ["name", "comment"]
    assert "Nothing is done until you press it" in page.text
    assert "this alert was wrong" in page.text
    _, _, text = await client.ask("GET", client.link("ack"), headers={})
    assert [a["name"] for tag, a in Tags(text).elements if tag == "input"] == ["name"]


async def test_what_can_no_longer_be_done_is_told_on_a_page(client):
    status, _, text = await client.ask("POST", client.link("ack", client.over), headers=FORM)
    assert status == 409
    assert "FilesystemReadOnly /old" in Tags(text).text
    assert "is over" in Tags(text).text
    for method in ("GET", "POST"):
        status, _, text = await client.ask(method, client.link("real", "01KJ0000000000000000000000"), headers=FORM)
        assert (status, "no alert has an id" in text) == (404, True)
    client.office.state.close()
    for method in ("GET", "POST"):
        status, headers, _ = await client.ask(method, client.link("real"), headers=FORM)
        assert (status, headers["Content-Type"]) == (503, "text/html; charset=utf-8")


async def test_the_links_that_notifications_carry_are_these(client):
    links = client.office.signer.links(client.alert, client.office.clock.time_ms)
    assert urlsplit(links["false"]).netloc == "web1.example.org:9736"
    assert links["false"].endswith(client.link("false"))


# The API


async def test_alerts_are_listed_and_shown(client):
    _, headers, text = await client.ask("GET", "/api/v1/alerts", headers={})
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert [one.occurrence for one in AlertsAnswer.model_validate_json(text).alerts] == [client.alert, client.over]
    _, _, text = await client.ask("GET", "/api/v1/alerts?state=resolved&limit=1", headers={})
    assert [one.occurrence for one in AlertsAnswer.model_validate_json(text).alerts] == [client.over]
    await client.office.delivered()
    for name in (client.alert, client.alert[-6:], "latest"):
        status, _, text = await client.ask("GET", f"/api/v1/alerts/{name}", headers={})
        detail = AlertDetail.model_validate_json(text)
        assert (status, detail.occurrence) == (200, client.alert)
        assert [(one.sink, one.event, one.state) for one in detail.deliveries] == [("team", "firing", "delivered")]


@pytest.mark.parametrize(
    ("query", "said"),
    [("state=open", "state: Input should be 'firing', 'resolved' or 'all'"), ("state=", "state: "),
     ("limit=0", "limit: "), ("limit=1001", "limit: "), ("limit=x", "limit: a whole number"),
     ("limit=%D9%A3", "limit: "), ("limit=1&limit=2", "limit: "), ("state=all&stat=all", "stat: "),
     ("cursor=" + "x" * 1001, "cursor: ")],
)  # fmt: skip
async def test_a_listing_that_cannot_be_is_refused(client, query, said):
    status, _, text = await client.ask("GET", f"/api/v1/alerts?{query}", headers={})
    assert (status, text.count("\n"), said in text) == (400, 1, True)


async def test_what_is_not_there_and_what_cannot_be_done_is_one_sentence(client):
    for path in ("/api/v1/alerts/ZZZZZZ", "/api/v1/alerts/%3Cb%3E%0A", "/api/v1/alerts/%ff%fe"):
        status, headers, text = await client.ask("GET", path, headers={})
        assert (status, text.count("\n")) == (404, 1)
        assert headers["Content-Type"] == KIND
        assert text.startswith(("no alert has", '"'))
    status, _, text = await client.send("POST", f"/api/v1/alerts/{client.over}/ack", {"author": "ann"})
    assert (status, text.count("\n")) == (409, 1)


async def test_an_alert_is_taken_in_hand_judged_and_the_verdict_taken_back(client):
    path = f"/api/v1/alerts/{client.alert[-6:]}"
    status, _, text = await client.send("POST", f"{path}/ack", {"author": "ann"})
    assert (status, AlertAnswer.model_validate_json(text).acknowledged_by) == (200, "ann")
    status, _, text = await client.send("POST", f"{path}/feedback", {"author": "ann", "verdict": "expected"})
    assert (status, FeedbackAnswer.model_validate_json(text).verdict.verdict) == (200, "expected")
    status, _, text = await client.ask("DELETE", f"{path}/feedback")
    assert (status, FeedbackAnswer.model_validate_json(text).verdict) == (200, None)
    status, _, text = await client.send("DELETE", f"{path}/feedback", {"author": "ann"})
    assert (status, "has no verdict" in text) == (409, True)


async def test_silences_come_and_go(client):
    body = {"author": "ann", "resource": "/srv", "until": "2026-03-01T08:00:00Z", "comment": "swap"}
    status, _, text = await client.send("POST", "/api/v1/silences", body)
    silence = SilenceAnswer.model_validate_json(text)
    assert (status, silence.takes, silence.ends_at) == (201, "on /srv", "2026-03-01T08:00:00.000Z")
    _, _, text = await client.ask("GET", "/api/v1/silences", headers={})
    assert SilencesAnswer.model_validate_json(text).silences == [silence]
    assert (await client.ask("DELETE", f"/api/v1/silences/{silence.id}"))[0] == 200
    _, _, text = await client.ask("GET", "/api/v1/silences", headers={})
    assert SilencesAnswer.model_validate_json(text).silences == []
    assert (await client.ask("DELETE", f"/api/v1/silences/{silence.id}"))[0] == 404


async def test_a_drill_and_a_test_of_a_sink(client):
    status, _, text = await client.send("POST", "/api/v1/drill", {"author": "ann"})
    answer = DrillAnswer.model_validate_json(text)
    assert (status, answer.interval_seconds, answer.sinks) == (202, 1.0, ["team"])
    assert answer.after > client.alert
    assert client.office.drills == ["this is a drill, started by ann: nothing is wrong"]
    status, _, text = await client.ask("POST", "/api/v1/sinks/team/test")
    assert (status, SinkTestAnswer.model_validate_json(text).error) == (200, None)
    status, _, text = await client.ask("POST", "/api/v1/sinks/tea/test")
    assert (status, text) == (404, 'there is no sink "tea": there are team\n')


ORDERS = [
    ("POST", "/api/v1/alerts/{alert}/ack", b'{"author": "x"}'),
    ("POST", "/api/v1/alerts/{alert}/feedback", b'{"author": "x", "verdict": "false"}'),
    ("DELETE", "/api/v1/alerts/{alert}/feedback", b""),
    ("POST", "/api/v1/silences", b'{"author": "x", "everything": true, "for_seconds": 60}'),
    ("DELETE", "/api/v1/silences/01KJ0000000000000000000000", b""),
    ("POST", "/api/v1/drill", b'{"author": "x"}'),
    ("POST", "/api/v1/sinks/team/test", b""),
]


@pytest.mark.parametrize(("method", "path", "body"), ORDERS)
@pytest.mark.parametrize(
    "wrong",
    [
        ({}, 401),
        ({"Authorization": "Bearer guess"}, 401),
        ({**RIGHT, "Origin": "http://evil.example"}, 403),
        ({**RIGHT, "Host": "evil.example"}, 421),
    ],
)
async def test_who_may_not_order(client, method, path, body, wrong):
    headers, expected = wrong
    given = {"Content-Type": "application/json", **headers}
    status, _, _ = await client.ask(method, path.format(alert=client.alert), headers=given, data=body)
    assert status == expected
    assert client.done() == ([], None)
    assert (client.office.drills, client.office.desk.silences().silences) == ([], [])
    assert all(document["event"] != "test" for document in client.office.sinks[0].got)


@pytest.mark.parametrize("path", ["/api/v1/alerts", "/api/v1/alerts/latest", "/api/v1/silences"])
async def test_beyond_loopback_reading_needs_the_token_too(client, monkeypatch, path):
    monkeypatch.setattr(access, "is_loopback", lambda _remote: False)
    assert (await client.ask("GET", path, headers={}))[0] == 401
    assert (await client.ask("GET", path))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        *((method, path, bad) for method, path, good in ORDERS if good for bad in (b"", b"{}", b"[]", b"\xff", b"null",
          b'{"author": ""}', b'{"author": 3}', b'{"author": "a\\nb"}', b'{"author": "\\ud800"}')),
        *((method, path, good[:-1] + b', "\\u001b[31m<b>": 1}') for method, path, good in ORDERS if good),
        ("POST", "/api/v1/alerts/{alert}/feedback", b'{"author": "x", "verdict": "maybe"}'),
        ("POST", "/api/v1/alerts/{alert}/feedback", b'{"author": "x", "verdict": "real", "comment": "%0501d"}' % 0),
        ("POST", "/api/v1/silences", b'{"author": "x", "everything": "yes", "for_seconds": 60}'),
        ("POST", "/api/v1/silences", b'{"author": "x", "everything": true, "for_seconds": "60"}'),
        ("POST", "/api/v1/silences", b'{"author": "x", "everything": true, "for_seconds": 0}'),
        ("POST", "/api/v1/silences", b'{"author": "x", "everything": true, "until": 99999999999}'),
        ("DELETE", "/api/v1/alerts/{alert}/feedback", b'{"author": 3}'),
    ],
)  # fmt: skip
async def test_a_body_that_is_none_is_refused_in_one_line(client, method, path, body):
    status, _, text = await client.send(method, path.format(alert=client.alert), body)
    assert (status, text.count("\n")) == (400, 1)
    assert text[:-1].isprintable()
    assert len(text) < 250
    assert client.done() == ([], None)
    assert (client.office.drills, client.office.desk.silences().silences) == ([], [])


@pytest.mark.parametrize(("method", "path", "body"), [order for order in ORDERS if order[2]])
async def test_a_body_that_another_pages_form_can_send_is_refused(client, method, path, body):
    given = {**RIGHT, "Content-Type": "text/plain"}
    assert (await client.ask(method, path.format(alert=client.alert), headers=given, data=body))[0] == 415
    assert client.done() == ([], None)


async def test_a_store_that_fails_is_told(client):
    client.office.state.close()
    for method, path, body in (
        ("GET", "/api/v1/alerts", b""),
        ("GET", "/api/v1/alerts/latest", b""),
        *(order for order in ORDERS[:2]),
        ORDERS[3],
    ):
        status, _, text = await client.send(method, path.format(alert=client.alert), body)
        assert (status, text.count("\n"), "state.db" in text) == (503, 1, True)
