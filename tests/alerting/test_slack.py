import asyncio
import json
import re
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from alerting.errors import DeliveryError
from alerting.group import What
from alerting.occurrence import State
from alerting.sinks.base import Notification
from alerting.sinks.reading import read, width
from alerting.sinks.slack import SlackSink, message
from detectors.findings import Contributor, Unit

LINKS = {name: f"https://web1.example.org:9736/{name}?signature=abc" for name in ("ack", "real", "false", "expected")}
# Escaped text: no bracket, and each ampersand begins a whole escape.
ESCAPED = re.compile(r"(?:[^&<>]|&(?:amp|lt|gt);)*")
EXTREMES = {
    "mentions": "<!channel> <!here> <@U1> <#C1> @here @channel &lt;!everyone&gt; <https://evil.example|a link> " * 60,
    "formats": "*bold* _italic_ ~struck~ `code` ```block``` > quoted " * 100,
    "emoji": "👩‍👩‍👧‍👦💥:boom:" * 500,
    "right to left": "\u202e\u2066אבג ابت\u2069\u202c\u200f" * 400,
    "control letters": "".join(map(chr, (*range(32), *range(127, 160), 0x2028, 0x2029, 0xFEFF))) * 80,
    "half surrogates": "\ud83d\udca5\ud83d" * 1700,
    "ampersands": "&" * 5000,
    "quotes": '"\\' * 2500,
    "one word": "x" * 5000,
    "nothing": "",
}


def sink_for(url, **options):
    values = {"user_agent": "presaged/0.1.0", "timeout_seconds": 2.0, "pause_seconds": 0.0}
    return SlackSink("team", url, **{**values, **options})


def checked(notification):
    """The message of a notification, after everything that Slack asks of one."""
    body = message(read(notification))
    blocks = Block.parse_all(body["blocks"])
    assert len(blocks) == len(body["blocks"]) <= 50
    for block in blocks:
        block.validate_json()
        assert block.to_dict()["type"]
    assert width(json.dumps(body, ensure_ascii=False)) < 13_000
    json.dumps(body, ensure_ascii=False).encode("utf-8")
    for kind, text, verbatim in texts(body):
        assert all(letter.isprintable() or letter == "\n" for letter in text)
        assert 1 <= width(text) <= (150 if kind == "plain_text" else 3000)
        if kind == "mrkdwn":
            assert ESCAPED.fullmatch(text)
            assert verbatim is True
        else:
            assert not set("<>") & set(text)
    return body


def texts(body):
    """(kind, text, verbatim) of every text in a message."""
    yield "mrkdwn", body["text"], True
    for block in body["blocks"]:
        for part in (block.get("text"), *block.get("elements", ())):
            one = part["text"] if part and part["type"] == "button" else part
            if one:
                yield one["type"], one["text"], one.get("verbatim")


async def failure_of(sink, notification) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await sink.send(notification)
    return caught.value


@pytest.fixture
def page(alert, contributors):
    return alert(
        "FilesystemReadOnly", "/srv", sentence="web1: /srv is mounted read-only", contributors=contributors, score=5.0
    )


# What is shown


def test_golden_message_of_a_firing(page, alert, note, golden):
    golden("slack", checked(note((What.BEGAN, page), (What.BEGAN, alert("UnitFailed")))))


def test_golden_message_with_links(page, note, golden):
    golden("slack_links", checked(note((What.BEGAN, page), links=LINKS)))


def test_golden_message_of_a_digest(alert, note, golden):
    kept = [alert("AnomalyWithImpact", "", sentence=f"web1: unusual, the {number}th time") for number in range(30)]
    golden("slack_digest", checked(note.digest(*kept)))


def test_golden_message_of_a_test(note, golden):
    golden("slack_test", checked(note.test()))


def test_an_end_says_how_many_of_its_group_still_fire(page, note):
    over = replace(page, state=State.RESOLVED, resolved_ms=page.started_ms + 60_000)
    assert "2 of the group still fire" in json.dumps(checked(note((What.ENDED, over), still_firing=2)))
    assert "of the group" not in json.dumps(checked(note((What.ENDED, over), still_firing=0)))
    assert "of the group" not in json.dumps(checked(note((What.BEGAN, page), still_firing=2)))


def test_ten_of_many_are_named_and_the_rest_is_counted(page, alert, note):
    others = [(What.BEGAN, alert("UnitFailed", f"unit{number}.service")) for number in range(25)]
    body = checked(note((What.BEGAN, page), *others))
    listed = next(text for _, text, _ in texts(body) if "unit0.service" in text).split("\n")
    assert len(listed) == 11
    assert listed[-1] == "• and 15 more"


def test_a_link_that_is_none_makes_no_button(page, note):
    body = checked(note((What.BEGAN, page), links={"ack": "javascript:alert(1)", "real": "https://x/" + "y" * 3000}))
    assert "actions" not in [block["type"] for block in body["blocks"]]


# Within its limits, whatever the host says


@pytest.mark.parametrize("extreme", EXTREMES)
def test_every_extreme_passes_slacks_own_validation(page, alert, note, extreme):
    text = EXTREMES[extreme]
    many = tuple(Contributor(f"signal{text[:300]}{n}", Unit.BYTES, "cpu", "", 1e9, 0.0, 1.0, 9.0) for n in range(200))
    lead = replace(page, sentence=text[:5000] or "x", resource=text[:300], contributors=many)
    others = [(What.BEGAN, alert("UnitFailed", text[:200], sentence=text[:5000])) for _ in range(200)]
    body = checked(note((What.BEGAN, lead), *others, links=LINKS))
    assert [block["type"] for block in body["blocks"]][:2] == ["header", "section"]
    assert body["blocks"][-1]["type"] == "actions"


@settings(deadline=None)
@given(text=st.text(max_size=4000), letters=st.sampled_from(["&", "<", "💥", '"', "x"]))
def test_no_text_breaks_an_escape_a_limit_or_a_letter(text, letters):
    document = {"event": "firing", "summary": letters * 200, "sentence": text + letters * 3000, "host": text, "id": "x"}
    document |= {"contributors": [{"signal": text, "unit": "ratio", "value": 0.5}] * 12, "commands": {"explain": text}}
    checked(Notification("x", json.dumps(document)))


def test_nothing_of_it_becomes_a_mention(page, note):
    body = checked(note((What.BEGAN, replace(page, sentence=EXTREMES["mentions"], resource="<!channel>"))))
    text = json.dumps(body)
    assert "<!channel>" not in text
    assert "<@U1>" not in text
    assert "&lt;!channel&gt;" in body["blocks"][1]["text"]["text"]
    assert "link_names" not in body


def test_a_number_that_no_float_holds_is_no_number(page, note):
    told = json.loads(note((What.BEGAN, page)).payload)
    told["contributors"][0]["value"] = 10**400
    checked(Notification("x", json.dumps(told)))


# Delivery


async def test_what_slack_takes_is_delivered(receive, page, note):
    receiver = await receive(receive.status(200, "ok"))
    await sink_for(receiver.url).send(note((What.BEGAN, page)))
    assert receiver.bodies == [message(read(note((What.BEGAN, page))))]


@pytest.mark.parametrize(
    ("code", "answer", "permanent"),
    [
        (400, "invalid_blocks", True),
        (403, "action_prohibited", True),
        (404, "no_service", True),
        (410, "channel_is_archived", True),
        (429, "rate_limited", False),
        (500, "rollup_error", False),
    ],
)
async def test_what_slack_refuses(receive, note, code, answer, permanent):
    receiver = await receive(receive.status(code, answer, Retry_After="7"))
    failure = await failure_of(sink_for(f"{receiver.url}/services/T0AAAAAAAA/B0AAAAAAAA/secret"), note.test())
    assert (str(failure), failure.permanent, failure.retry_after_seconds) == (f"HTTP {code}: {answer}", permanent, 7.0)


@pytest.mark.parametrize("page_of_a_proxy", ["<html>Please log in</html>", ""])
async def test_an_answer_that_is_not_slacks_is_no_delivery(receive, note, page_of_a_proxy):
    receiver = await receive(receive.status(200, page_of_a_proxy))
    failure = await failure_of(sink_for(receiver.url), note.test())
    assert "not Slack's" in str(failure)
    assert not failure.permanent


async def test_messages_keep_their_distance(receive, note):
    receiver = await receive(receive.status(200, "ok"))
    sink = sink_for(receiver.url, pause_seconds=0.3)
    began = time.monotonic()
    await asyncio.gather(*(sink.send(note.test()) for _ in range(3)))
    assert time.monotonic() - began >= 0.6
    assert len(receiver.bodies) == 3


async def test_what_cannot_be_read_is_refused_for_good(receive):
    receiver = await receive(receive.status(200, "ok"))
    for payload in ("[]", "not JSON", '"text"'):
        assert (await failure_of(sink_for(receiver.url), Notification("x", payload))).permanent
    assert receiver.bodies == []


async def test_a_notification_of_before_an_update_still_arrives(receive):
    receiver = await receive(receive.status(200, "ok"))
    old = {"version": 1, "event": "firing", "host": "web1", "severity": "critical", "sentence": "web1: it is so"}
    await sink_for(receiver.url).send(Notification("x", json.dumps(old)))
    assert receiver.bodies[0]["text"] == "web1: it is so"
