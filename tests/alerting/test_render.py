import json
import math
import re
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.alert import AlertBook
from alerting.occurrence import State, from_json, to_json
from alerting.render import _clause, amount, by_role, duration, foremost, one_line, rfc3339, sentence
from detectors.findings import Change, ChangeKind, Contributor, Culprit, Direction, Precedent, Resource, Unit

ULID = "01KJM6DS00" + "0" * 16


@pytest.fixture
def occurrences(settings, tick, anomaly):
    """The firing and the resolved form of one anomaly."""
    book = AlertBook(
        settings, gap_seconds=75.0, new_id=lambda time_ms: ULID, describe=lambda one: sentence("web1", one)
    )
    seen = [one for seconds in (0, 30, 60) for one in book.observe([anomaly()], tick(seconds))]
    seen += [one for seconds in (720, 750, 780, 810, 840) for one in book.observe([], tick(seconds))]
    return [one.occurrence for one in seen]


def test_golden_sentences(occurrences):
    firing, resolved = occurrences
    assert firing.sentence == (
        "web1: unusual: cpu.busy is 97 % (usually 3 % to 12 %), pressure.cpu_some is 64 % (usually 0 % to 1 %), "
        "load.one_per_cpu is 2.4 (usually 0.1 to 0.4)"
    )
    assert resolved.sentence == (
        "web1: resolved after 14 min: unusual: at its peak cpu.busy was 97 % (usually 3 % to 12 %), "
        "pressure.cpu_some was 64 % (usually 0 % to 1 %), load.one_per_cpu was 2.4 (usually 0.1 to 0.4)"
    )


def test_a_fact_needs_no_contributors(occurrences):
    fact = replace(occurrences[0], detail="/srv is mounted read-only", contributors=())
    assert sentence("web1", fact) == "web1: /srv is mounted read-only"


def test_the_most_surprising_come_first_and_unknown_surprise_last(occurrences):
    parts = occurrences[0].contributors
    shuffled = (replace(parts[0], surprise=math.nan), parts[2], parts[1], replace(parts[3], surprise=20.0))
    text = sentence("web1", replace(occurrences[0], contributors=shuffled))
    named = ["memory.available_bytes", "pressure.cpu_some", "load.one_per_cpu"]
    assert [word for word in text.split() if word in named] == named
    assert "cpu.busy" not in text


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (0.5, 0.0, 0.0, "50 % (usually 0 %)"),
        (0.5, -0.0, 0.00001, "50 % (usually 0 %)"),
        (0.004, 0.0, 0.001, "0.4 % (usually 0 % to 0.1 %)"),
        (0.5, math.nan, 0.1, "50 %"),
        (math.nan, 0.0, 0.1, "unknown (usually 0 % to 10 %)"),
        (math.inf, 0.0, 0.1, "unknown (usually 0 % to 10 %)"),
    ],
)
def test_expected_range(occurrences, value, low, high, said):
    part = replace(occurrences[0].contributors[0], value=value, expected_low=low, expected_high=high)
    assert sentence("h", replace(occurrences[0], contributors=(part,))) == f"h: unusual: cpu.busy is {said}"


@pytest.mark.parametrize(
    ("direction", "numbers", "said"),
    [
        (Direction.ABOVE, (900.0, 0.0, 4.5, 0.0, 900.0), "is 900/s (usually 0/s to 4.5/s)"),
        (Direction.CHANGEABLE, (0.0, 0.0, 4.5, 0.0, 312.0),
         "is unusually changeable (0/s to 312/s lately, usually 0/s to 4.5/s)"),
        (Direction.CHANGEABLE, (0.0, 0.0, 0.0, 0.0, 0.0), "is unusually changeable (usually 0/s)"),
        (Direction.RISING, (4.0, 0.0, 4.5, 1.0, 4.0), "has risen from 1/s to 4/s (usually 0/s to 4.5/s)"),
        (Direction.FALLING, (0.0, 0.0, 4.5, 0.0, 312.0), "has fallen from 312/s to 0/s (usually 0/s to 4.5/s)"),
        (Direction.FALLING, (4.0, 0.0, 4.5, 4.0, 4.0), "is unusually changeable (usually 0/s to 4.5/s)"),
        (Direction.FLAT, (3.0, 0.0, 4.5, 3.0, 3.0), "is unusually steady at 3/s (usually 0/s to 4.5/s)"),
        (Direction.APART, (3.0, 0.0, 4.5, 2.0, 3.0),
         "is 3/s, out of step with the other signals (usually 0/s to 4.5/s)"),
        (Direction.UNKNOWN, (3.0, 0.0, 4.5, 2.0, 3.0), "is 3/s, other than its past foretells (usually 0/s to 4.5/s)"),
        (Direction.CHANGEABLE, (math.nan, math.nan, math.nan, math.nan, math.nan), "is unusually changeable"),
    ],
)  # fmt: skip
def test_a_clause_says_what_is_unusual(occurrences, direction, numbers, said):
    """`numbers` are the value, the expected range and the extremes of late."""
    value, low, high, *recent = numbers
    part = Contributor("x_per_second", Unit.PER_SECOND, "memory", "", value, low, high, 3.0, direction, *recent)
    assert sentence("h", replace(occurrences[0], contributors=(part,))) == f"h: unusual: x_per_second {said}"


@given(
    st.sampled_from(Direction),
    st.lists(st.floats(0, 1e6), min_size=5, max_size=5),
    st.sampled_from(list(Unit)),
)
def test_a_move_is_never_said_as_a_level(direction, numbers, unit):
    value, low, high, *recent = numbers
    part = Contributor(
        "x", unit, "", "", value, min(low, high), max(low, high), 3.0, direction, min(recent), max(recent)
    )
    said = _clause(part, over=False)
    level = re.fullmatch(r"x is [^(,]+( \(usually .*\))?", said) and "unusually" not in said
    is_within = part.expected_low <= value <= part.expected_high
    outside = {Direction.ABOVE, Direction.BELOW} | (set() if is_within else {Direction.UNKNOWN})
    assert bool(level) == (direction in outside)


def test_of_about_equal_surprise_a_level_outside_of_its_range_comes_first(occurrences):
    part = occurrences[0].contributors[0]
    directions = {
        "odd": (Direction.CHANGEABLE, 5.0), "near": (Direction.BELOW, 3.6), "far": (Direction.ABOVE, 3.4),
        "odder": (Direction.FLAT, 4.9),
    }  # fmt: skip
    parts = tuple(replace(part, signal=name, direction=way, surprise=by) for name, (way, by) in directions.items())
    text = sentence("h", replace(occurrences[0], contributors=parts))
    assert [word for word in text.split() if word in directions] == ["near", "odd", "odder"]


def test_what_is_faint_beside_the_rest_is_not_named(occurrences):
    part = occurrences[0].contributors[0]
    parts = tuple(replace(part, signal=f"s{surprise:g}", surprise=surprise) for surprise in (4.0, 1.1, 0.9, math.nan))
    assert [one.signal for one in foremost(parts)] == ["s4", "s1.1"]
    unknown = tuple(replace(part, signal=name, surprise=math.nan) for name in "abcd")
    assert [one.signal for one in foremost(unknown)] == ["a", "b", "c"]
    assert foremost(()) == []


WRITER = Culprit("postgresql.service", "", Resource.WRITES, 0.71, 0.09)


WAITING = Culprit("postgresql.service", "", Resource.DISK_WAIT, 0.4, 0.01)


@pytest.mark.parametrize(
    ("culprit", "said"),
    [
        (WRITER, "postgresql.service takes 71 % of the disk writes, usually 9 %"),
        (
            replace(WRITER, process="postgres"),
            "postgresql.service (postgres) takes 71 % of the disk writes, usually 9 %",
        ),
        (Culprit("", "yes", Resource.CPU, 0.5), "process yes takes 50 % of the CPU time"),
        (replace(WRITER, usual=0.0004), "postgresql.service takes 71 % of the disk writes, usually under 1 %"),
        (replace(WRITER, usual=0.0, times=9.0), "postgresql.service takes 71 % of the disk writes, usually 0 %"),
        (
            replace(WRITER, usual=0.8, times=9.2),
            "postgresql.service takes 71 % of the disk writes, 9.2 times as much as usual",
        ),
        (replace(WRITER, usual=0.8, times=1.2), "postgresql.service takes 71 % of the disk writes, usually 80 %"),
        (WAITING, "postgresql.service waits 40 % of the time for the disk, usually 1 %"),
        (
            Culprit("app.service", "", Resource.CPU_WAIT, 0.6),
            "app.service waits 60 % of the time for a processor",
        ),
    ],
)
def test_who_took_it(occurrences, culprit, said):
    assert sentence("h", replace(occurrences[0], contributors=(), culprits=(culprit,))) == f"h: unusual; {said}"


def test_who_took_it_is_named_before_who_waits_for_it(occurrences):
    backup = Culprit("backup.service", "tar", Resource.WRITES, 0.9, 0.0)
    reader = Culprit("index.service", "", Resource.READS, 0.5, 0.1)
    full = replace(occurrences[0], contributors=(), culprits=(backup, reader, WAITING))
    assert sentence("h", full) == (
        "h: unusual; backup.service (tar) takes 90 % of the disk writes, usually 0 %; "
        "postgresql.service waits 40 % of the time for the disk, usually 1 %"
    )
    over = replace(full, state=State.RESOLVED, resolved_ms=full.started_ms + 60_000)
    assert "; postgresql.service waited 40 % of the time for the disk" in sentence("h", over)


@pytest.mark.parametrize(
    ("kind", "text", "seconds", "said"),
    [
        (ChangeKind.PACKAGE, "dpkg upgraded postgresql-16", 720, "it began 12 min after dpkg upgraded postgresql-16"),
        (ChangeKind.UNIT, "nginx.service restarted", 0, "it began right after nginx.service restarted"),
        (ChangeKind.MARK, "deploy 42\n", 30, 'it began 30 s after the change "deploy 42 "'),
    ],
)
def test_what_was_changed_before(occurrences, kind, text, seconds, said):
    change = Change(occurrences[0].started_ms - seconds * 1000, kind, text)
    assert sentence("h", replace(occurrences[0], contributors=(), change=change)) == f"h: unusual; {said}"


def test_when_it_was_like_that(occurrences, monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        for ago_days, date in ((10, "19 February"), (400, "25 January 2025")):
            past = Precedent(ULID, occurrences[0].started_ms - ago_days * 86_400_000, 1200.0, 0.93)
            text = sentence("h", replace(occurrences[0], contributors=(), precedent=past))
            assert text == f"h: unusual; it was like this on {date} at 07:00, for 20 min"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_occurrence_of_an_earlier_version_is_read(occurrences):
    document = json.loads(to_json(occurrences[0]))
    for key in ("culprits", "change", "precedent"):
        del document[key]
    for part in document["contributors"]:
        for key in ("direction", "recent_low", "recent_high", "network_share"):
            del part[key]
    assert to_json(from_json(json.dumps(document))) == to_json(occurrences[0])


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.0, Unit.RATIO, "0 %"),
        (-0.00001, Unit.RATIO, "0 %"),
        (0.123456789, Unit.RATIO, "12 %"),
        (0.0999, Unit.RATIO, "10 %"),
        (0.996, Unit.RATIO, "99.6 %"),
        (0.99999, Unit.RATIO, "100 %"),
        (512, Unit.BYTES, "512 B"),
        (1023.9, Unit.BYTES, "1 KiB"),
        (1536, Unit.BYTES, "1.5 KiB"),
        (1024**2 - 1, Unit.BYTES, "1 MiB"),
        (3.2 * 1024**3, Unit.BYTES, "3.2 GiB"),
        (120 * 1024**2, Unit.BYTES_PER_SECOND, "120 MiB/s"),
        (0.25, Unit.PER_SECOND, "0.25/s"),
        (12_345, Unit.PER_SECOND, "12 k/s"),
        (0.0042, Unit.SECONDS, "4.2 ms"),
        (0.0, Unit.SECONDS, "0 s"),
        (1.5, Unit.SECONDS, "1.5 s"),
        (90, Unit.SECONDS, "90 s"),
        (900, Unit.SECONDS, "15 min"),
        (9_000, Unit.SECONDS, "2.5 h"),
        (864_000, Unit.SECONDS, "10 d"),
        (3, Unit.COUNT, "3"),
        (9_999, Unit.COUNT, "9999"),
        (12_345_678_901_234, Unit.COUNT, "12 T"),
        (71.3, Unit.CELSIUS, "71 °C"),
        (-3.5, Unit.CELSIUS, "-3.5 °C"),
        (math.nan, Unit.SECONDS, "unknown"),
    ],
)
def test_amounts(value, unit, said):
    assert amount(value, unit) == said


@given(st.floats(), st.sampled_from(list(Unit)), st.booleans())
def test_an_amount_is_short_and_never_minus_zero(value, unit, plain):
    said = amount(value, unit, plain=plain)
    assert not re.match(r"-0(\.0+)?(?![.\d])", said)
    assert not re.search(r"inf|nan", said)
    if abs(value) < 1e12:
        assert len(said) <= 20, said


def test_a_duration_has_its_step():
    assert [duration(s) for s in (30, 119, 120, 7_200, 200_000)] == ["30 s", "119 s", "2 min", "2 h", "2.3 d"]


def test_rfc3339_keeps_its_milliseconds():
    assert rfc3339(1_772_344_800_001) == "2026-03-01T06:00:00.001Z"


def test_one_line_is_one_line_whatever_a_mount_point_holds():
    assert one_line("/a\nb\t\x1b[31m\udcff\u2028c") == "/a b  [31m\\udcff c"
    assert one_line("Größe 温度 🔥") == "Größe 温度 🔥"


def test_what_comes_and_goes_is_said(occurrences):
    fact = replace(occurrences[0], detail="app.service failed", contributors=())
    assert sentence("web1", replace(fact, firings=2)) == "web1: app.service failed"
    assert sentence("web1", replace(fact, firings=3)) == (
        "web1: app.service failed; it comes and goes: 3 times within the hour"
    )


def test_who_took_and_who_waited_are_two_lists():
    assert by_role((WAITING, WRITER)) == ([WRITER], [WAITING])
    assert by_role(()) == ([], [])
