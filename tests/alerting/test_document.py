import json
import math
import re
from dataclasses import replace
from importlib.resources import files

import pytest

from alerting import document as documents
from alerting.document import MANY, digest_document, message_document, to_text
from alerting.group import Message, News, What
from alerting.occurrence import Acknowledgement, State, from_json, to_json
from alerting.policy import DRILL, Severity
from alerting.render import sentence
from detectors.findings import Change, ChangeKind, Contributor, Culprit, Direction, Precedent, Resource, Unit

ULID = "01KJM6DS00" + "0" * 16
NOTE = "01KJM6DS00" + "1" * 16
NOW_MS = 1_772_344_800_000  # 2026-03-01T06:00:00Z
MINUTE = 60_000


@pytest.fixture
def unusual(alert, contributors):
    """An anomaly that fires, with all the evidence there is."""
    part = replace(
        contributors[0], direction=Direction.ABOVE, recent_low=0.1, recent_high=0.98, network_share=0.4, resource="cpu0"
    )
    one = alert(
        "Anomaly", "", id=ULID, fired_ms=NOW_MS + MINUTE, score=5.0, threshold=3.0, detail="unusual",
        contributors=(part, *contributors[1:]),
        culprits=(
            Culprit("postgresql.service", "", Resource.WRITES, 0.71, 0.09),
            Culprit("", "yes", Resource.CPU, 0.5),
            Culprit("app.service", "", Resource.DISK_WAIT, 0.4, 0.01),
        ),
        change=Change(NOW_MS - MINUTE, ChangeKind.MARK, "deploy"),
        precedent=Precedent(ULID, 1, 2.0, 0.9),
    )  # fmt: skip
    return replace(one, sentence=sentence("web1", one))


@pytest.fixture
def over():
    """The same alert when it is over."""

    def end(one, minutes=14):
        return replace(one, state=State.RESOLVED, resolved_ms=NOW_MS + minutes * MINUTE)

    return end


def document(*news, still_firing=1, not_followed=None, time_ms=NOW_MS, **more):
    message = Message("ops", news[0][1].group or news[0][1].id, tuple(News(*one) for one in news), still_firing)
    return message_document(NOTE, "web1", message, time_ms=time_ms, not_followed=not_followed or {}, **more)


# What is in it


def test_golden_document_of_a_firing(unusual):
    got = document((What.BEGAN, unusual))
    assert got.pop("contributors")[0] == {
        "signal": "cpu.busy", "family": "cpu", "resource": "cpu0", "value": 0.97, "unit": "ratio",
        "expected_low": 0.03, "expected_high": 0.12, "surprise": 9.0,
        "direction": "above", "recent_low": 0.1, "recent_high": 0.98, "network_share": 0.4,
    }  # fmt: skip
    assert got.pop("sentence") == unusual.sentence
    assert got.pop("commands") == {
        "status": "presage status",
        "explain": f"presage explain {ULID}",
        "ack": f"presage ack {ULID}",
        "real": f"presage feedback {ULID} real",
        "false": f"presage feedback {ULID} false",
        "expected": f"presage feedback {ULID} expected",
    }
    assert got == {
        "version": 1,
        "id": NOTE,
        "event": "firing",
        "reason": "began",
        "drill": False,
        "group": ULID,
        "group_firing": 1,
        "summary": "web1: FIRING: Anomaly",
        "occurrence": ULID,
        "fingerprint": "dc9dad7ce891c9db",
        "alertname": "Anomaly",
        "severity": "info",
        "network": "anomaly",
        "resource": "",
        "previous_severity": None,
        "host": "web1",
        "started_at": "2026-03-01T06:00:00.000Z",
        "fired_at": "2026-03-01T06:01:00.000Z",
        "resolved_at": None,
        "firings_within_the_hour": 1,
        "acknowledged_by": None,
        "score": 5.0,
        "threshold": 3.0,
        "culprits": [
            {
                "unit": "postgresql.service", "process": "", "resource": "writes",
                "share": 0.71, "usual_share": 0.09, "times_usual": None,
            },
            {
                "unit": "", "process": "yes", "resource": "cpu",
                "share": 0.5, "usual_share": None, "times_usual": None,
            },
        ],
        "victims": [
            {"unit": "app.service", "waits_for": "disk", "share_of_time": 0.4, "usual_share_of_time": 0.01}
        ],
        "change": {"at": "2026-03-01T05:59:00.000Z", "kind": "mark", "text": "deploy"},
        "precedent": {
            "occurrence": ULID, "started_at": "1970-01-01T00:00:00.001Z", "lasted_seconds": 2.0, "likeness": 0.9
        },
        "also": [],
        "counts": {"firing": 1, "resolved": 0, "not_followed": 0, "by_alertname": {"Anomaly": 1}},
        "links": {},
    }  # fmt: skip


def test_an_end_says_when_and_asks_nobody_to_take_it_in_hand(unusual, over):
    got = document((What.ENDED, over(unusual)), still_firing=0)
    assert (got["event"], got["reason"], got["summary"]) == ("resolved", "ended", "web1: RESOLVED: Anomaly")
    assert got["resolved_at"] == "2026-03-01T06:14:00.000Z"
    assert "ack" not in got["commands"]
    assert got["counts"] == {"firing": 0, "resolved": 1, "not_followed": 0, "by_alertname": {"Anomaly": 1}}


def test_what_is_told_again_says_since_when_and_by_whom_it_was_taken(alert):
    one = alert(acknowledged=Acknowledgement("ana\n", NOW_MS), firings=4)
    got = document((What.AGAIN, one), time_ms=NOW_MS + 4 * 60 * MINUTE)
    assert got["summary"] == "web1: STILL FIRING after 4 h: UnitFailed app.service"
    assert (got["reason"], got["acknowledged_by"], got["firings_within_the_hour"]) == ("again", "ana ", 4)


def test_a_change_of_severity_says_what_it_was(alert):
    one = alert(told_severity=Severity.TICKET)
    got = document((What.GRAVITY, one), (What.BEGAN, alert(resource="b", told_severity=Severity.TICKET)))
    assert (got["severity"], got["previous_severity"]) == ("critical", "warning")
    assert got["also"][0]["previous_severity"] is None


def test_a_drill_says_so_in_every_line(alert):
    got = document((What.BEGAN, alert(DRILL, "")))
    assert got["drill"] is True
    assert got["summary"] == "DRILL: web1: FIRING: Drill"
    assert got["sentence"].startswith("DRILL: ")


def test_several_alerts_are_counted_by_name_and_the_first_leads(alert, over):
    began = [(What.BEGAN, alert(resource=f"{name}.service")) for name in "abc"]
    ended = (What.ENDED, over(alert("FilesystemReadOnly", "/srv")))
    got = document(*began, ended, still_firing=3, not_followed={"UnitFailed": 9_000})
    assert got["summary"] == (
        "web1: 3 firing, 1 resolved: 3 x UnitFailed, FilesystemReadOnly; 9000 more are not followed one by one"
    )
    assert got["resource"] == "a.service"
    assert [(one["event"], one["resource"]) for one in got["also"]] == [
        ("firing", "b.service"), ("firing", "c.service"), ("resolved", "/srv"),
    ]  # fmt: skip
    assert got["group_firing"] == 3
    assert got["counts"] == {
        "firing": 3, "resolved": 1, "not_followed": 9_000,
        "by_alertname": {"UnitFailed": 3, "FilesystemReadOnly": 1},
    }  # fmt: skip


def test_links_are_those_of_the_alert_that_leads(alert):
    got = document((What.BEGAN, alert(id=ULID)), (What.BEGAN, alert()), links=lambda one: {"ack": f"https://x/{one}"})
    assert got["links"] == {"ack": f"https://x/{ULID}"}


def test_the_digest_says_what_would_have_been_sent(alert, over):
    first = over(alert("AnomalyWithImpact", "", fired_ms=NOW_MS + MINUTE), minutes=30)
    rest = [alert("AnomalyWithImpact", "", fired_ms=NOW_MS + number * MINUTE) for number in range(2, 40)]
    got = digest_document(NOTE, "web1", [first, *rest, alert("Anomaly", "", fired_ms=NOW_MS + 50 * MINUTE)])
    assert got["summary"] == "web1: would have sent 40"
    assert got["sentence"] == (
        "web1: while it learns this host, presaged would have sent 40: 39 x AnomalyWithImpact, Anomaly"
    )
    assert (got["since"], got["until"]) == ("2026-03-01T06:01:00.000Z", "2026-03-01T06:50:00.000Z")
    assert (got["count"], len(got["would_have_sent"])) == (40, MANY)


# What it looks like


def test_what_is_not_finite_or_no_text_does_not_leave(unusual):
    part = replace(unusual.contributors[0], value=math.nan, expected_high=math.inf, resource="\udcff")
    odd = replace(
        unusual, score=math.inf, threshold=-math.inf, resource="/a\nb\udcff", contributors=(part,), detail="a\nb",
        acknowledged=Acknowledgement("\udcff\n", NOW_MS), change=Change(1, ChangeKind.MARK, "x\n\udcff"),
        culprits=(Culprit("a\n.service", "\udcff", Resource.CPU, math.nan),),
    )  # fmt: skip
    odd = replace(odd, sentence=sentence("web1", odd))
    got = document((What.BEGAN, odd), (What.BEGAN, odd))
    text = to_text(got)
    assert "\n" not in text.encode("utf-8").decode("utf-8")
    assert got["score"] is got["threshold"] is None
    assert got["contributors"][0]["value"] is None
    assert got["resource"] == got["also"][0]["resource"] == "/a b\\udcff"
    check(json.loads(text), SCHEMA)


def test_evidence_comes_back_from_the_database_as_it_leaves(unusual):
    assert to_json(from_json(to_json(unusual))) == to_json(unusual)
    assert document((What.BEGAN, from_json(to_json(unusual)))) == document((What.BEGAN, unusual))


SCHEMA = json.loads(files("alerting").joinpath("schema/webhook-v1.json").read_text(encoding="utf-8"))
TYPES = {
    "object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "boolean": bool,
    "null": type(None),
}  # fmt: skip
KEYWORDS = {
    "$schema", "$id", "$defs", "$ref", "title", "description", "type", "required", "properties", "const", "enum",
    "pattern", "minLength", "items", "oneOf", "additionalProperties", "minimum", "maxItems",
}  # fmt: skip


def check(value, schema, at="$"):
    """Validate by the keywords that our schema uses; any other keyword, and any unlisted property, is an error."""
    assert schema.keys() <= KEYWORDS, at
    if "$ref" in schema:
        check(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], at)
    if "oneOf" in schema:
        assert sum(_fits(value, part) for part in schema["oneOf"]) == 1, at
    if "const" in schema:
        assert value == schema["const"], at
    if "enum" in schema:
        assert value in schema["enum"], at
    if "type" in schema:
        _check_type(value, schema["type"], at)
        assert "minimum" not in schema or value >= schema["minimum"], at
    if isinstance(value, str):
        assert re.search(schema.get("pattern", ""), value), at
        assert len(value) >= schema.get("minLength", 0), at
    if isinstance(value, dict):
        _check_object(value, schema, at)
    if isinstance(value, list) and "items" in schema:
        assert len(value) <= schema.get("maxItems", len(value)), at
        for number, part in enumerate(value):
            check(part, schema["items"], f"{at}[{number}]")


def _check_type(value, wanted, at):
    names = [wanted] if isinstance(wanted, str) else wanted
    assert isinstance(value, tuple(kind for name in names for kind in _kinds(name))), at
    assert not isinstance(value, bool) or "boolean" in names, at


def _check_object(value, schema, at):
    if "properties" in schema:
        assert set(schema["required"]) <= value.keys() == schema["properties"].keys(), at
        for key, part in value.items():
            check(part, schema["properties"][key], f"{at}.{key}")
    if "additionalProperties" in schema:
        assert set(schema.get("required", ())) <= value.keys(), at
        for key, part in value.items():
            check(part, schema["additionalProperties"], f"{at}.{key}")


def _fits(value, schema):
    try:
        check(value, schema)
    except AssertionError:
        return False
    return True


def _kinds(name):
    kind = TYPES[name]
    return kind if isinstance(kind, tuple) else (kind,)


def test_every_document_is_as_the_schema_says(unusual, alert, over):
    several = [(What.BEGAN, unusual), (What.GRAVITY, alert(told_severity=Severity.TICKET)), (What.ENDED, over(unusual))]
    for got in (
        document((What.BEGAN, unusual)),
        document((What.ENDED, over(unusual)), still_firing=0),
        document((What.AGAIN, alert(acknowledged=Acknowledgement("ana", NOW_MS))), not_followed={"UnitFailed": 7}),
        document(*several, links=lambda one: {"ack": f"https://x/{one}"}),
        digest_document(NOTE, "web1", [over(unusual)] * 50),
        documents.test_document(NOTE, "web1", "ops", NOW_MS),
    ):
        check(json.loads(to_text(got)), SCHEMA)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"event": "pending"},
        {"id": "1"},
        {"host": ""},
        {"started_at": "now"},
        {"score": "5"},
        {"new": 1},
        {"reason": "because"},
        {"drill": 0},
        {"firings_within_the_hour": 0},
        {"links": {"ack": ""}},
        {"commands": {}},
        {"also": [{}]},
    ],
)
def test_the_check_itself_finds_faults(unusual, change):
    with pytest.raises(AssertionError):
        check({**document((What.BEGAN, unusual)), **change}, SCHEMA)


def test_every_word_we_have_is_in_the_schema():
    defs = SCHEMA["$defs"]
    assert defs["contributor"]["properties"]["unit"]["enum"] == [unit.name.lower() for unit in Unit]
    assert set(defs["contributor"]["properties"]["direction"]["enum"]) == {way.value or None for way in Direction}
    assert set(defs["change_or_null"]["properties"]["kind"]["enum"]) == set(ChangeKind)
    for name in ("alerts", "also"):
        assert set(defs[name]["properties"]["reason"]["enum"]) == set(What)
        assert set(defs[name]["properties"]["severity"]["enum"]) == set(Severity)


def test_a_contributor_without_any_number_is_a_valid_one(alert):
    bare = Contributor("x", Unit.COUNT, "", "", *[math.nan] * 4)
    check(json.loads(to_text(document((What.BEGAN, alert(contributors=(bare,)))))), SCHEMA)
