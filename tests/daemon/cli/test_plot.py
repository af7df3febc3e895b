"""The picture of a forecast: read back as a person would, from its characters."""

import math
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.render import amount
from daemon.cli.plot import HISTORY_STEPS, Picture, draw, moments
from detectors.findings import Unit

HOUR, DAY, MONTH = 3_600_000, 86_400_000, 2_629_800_000
NOW = 1_772_344_800_000  # 2026-03-01 06:00 UTC
ROWS = 14
BRAILLE = re.compile("[\u2801-\u28ff]")


@pytest.fixture(autouse=True)
def local_time(monkeypatch):
    """Local time is shown."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def picture(share, *, step=DAY, past=96, spread=0.01, limit=0.98, capacity=100 * 2**30, full=(None, None, None)):
    """What follows `share`, a function of the step, 0 = now; `spread` is half of the 80 % band after the first step."""

    def clipped(value):
        return min(1.0, max(0.0, value))

    ahead = range(1, 13)
    bands = [
        [clipped(share(at) + factor * spread * math.sqrt(at)) for at in ahead] for factor in (-1.0, 1.0, -1.6, 1.6)
    ]
    return Picture(
        history=[(NOW + at * step, share(at)) for at in range(1 - past, 1)],
        start_ms=NOW + step,
        step_ms=step,
        median=[clipped(share(at)) for at in ahead],
        lo80=bands[0],
        hi80=bands[1],
        lo95=bands[2],
        hi95=bands[3],
        limit=limit,
        full_ms=full,
        amount=(lambda one: amount(one * capacity, Unit.BYTES)) if capacity else (lambda _: ""),
    )


def drawn(one, columns=80, *, plain=False):
    lines = [line.plain for line in draw(one, columns, ROWS, plain=plain)]
    assert len(lines) == ROWS + 3
    assert max(map(len, lines)) <= columns
    return lines


def row_of(lines, glyph):
    return [place for place, line in enumerate(lines[:ROWS]) if glyph in line]


GROWTH = picture(lambda at: 0.84 + 0.013 * at, full=(NOW + 9 * DAY, NOW + 11 * DAY, None))


def test_growth_meets_its_limit():
    lines = drawn(GROWTH)
    (at,) = row_of(lines, "◆")
    assert lines[at].lstrip().startswith("100 GiB  100 %")  # 98 % is in the uppermost row
    right, middle = len(lines[at]) - lines[at].index("◆"), 80 - 15
    assert right == pytest.approx(middle / (HISTORY_STEPS - 1 + 12), abs=2)  # one day before the end
    assert all("│" in line for line in lines[:ROWS])
    assert re.search(r"8 Feb +22 Feb +now +8 Mar", lines[ROWS + 1])
    assert lines[-1].strip() == "⠒⠒ was   ⠒⠒ median   ▒▒ 80 %   ░░ 95 %   ── limit 98 %"


def test_the_line_rises_without_a_hole():
    lines = drawn(GROWTH)
    first = [min(place for place in range(15, 80) if BRAILLE.match(line[place : place + 1])) for line in lines[1:ROWS]]
    assert first == sorted(first, reverse=True)
    columns = {place for line in lines[:ROWS] for place in range(15, 80) if BRAILLE.match(line[place : place + 1])}
    assert len(columns) >= 80 - 15 - 2


def test_bands_widen_and_the_inner_lies_within_the_outer():
    lines = drawn(picture(lambda _: 0.5, spread=0.03))
    middle = row_of(lines, "▒")
    outer = row_of(lines, "░")
    assert min(outer) < min(middle) <= max(middle) < max(outer)
    assert all(line.index("░") > line.rindex("│") for line in lines[:ROWS] if "░" in line)


def test_a_sawtooth_falls_steeply():
    lines = drawn(picture(lambda at: 0.5 + 0.03 * ((at + 98) % 7)))
    assert sum(bool(re.search("[\u2847\u28b8\u2839\u28c7\u28f8]", line)) for line in lines[:ROWS]) >= 3


def test_a_day_is_seen_in_hours():
    lines = drawn(picture(lambda at: 0.4 + 0.25 * math.sin(at / 24 * 2 * math.pi), step=HOUR, limit=1.0, capacity=0))
    assert lines[0].startswith("100 % │─")
    assert re.search(r"28 Feb +12:00 +1 Mar.*now", lines[ROWS + 1])


def test_what_is_flat_looks_flat_and_its_limit_is_told():
    lines = drawn(picture(lambda at: 0.42 + 0.0003 * (-1) ** at, spread=0.0004))
    assert len({place for place, line in enumerate(lines[:ROWS]) if BRAILLE.search(line)}) <= 2
    assert "limit 98 % lies above" in lines[-1]
    assert "─" not in "".join(lines[:ROWS])


def test_what_is_nearly_full_shows_the_limit():
    lines = drawn(picture(lambda at: 0.965 + 0.001 * at, spread=0.001, full=(NOW + 10 * DAY, None, None)))
    (at,) = row_of(lines, "━")
    assert lines[at].lstrip().startswith("98 GiB   98 %")
    assert lines[at].rstrip().endswith("━━━")
    assert "◆" not in "".join(lines)


def test_what_is_beyond_its_limit_is_drawn():
    lines = drawn(picture(lambda _: 0.99, spread=0.0, full=(NOW, NOW, NOW)))
    assert row_of(lines, "─")


def test_months_of_terabytes():
    lines = drawn(picture(lambda at: 0.3 + 0.004 * at, step=MONTH, capacity=4e12))
    assert any(line.startswith("1.1 TiB   30 %") for line in lines)
    assert re.search(r"Jan 2024 +Jan 2025 +now +Jan 2027", lines[ROWS + 1])


def test_a_short_history_leaves_more_room_for_what_is_ahead():
    lines = drawn(picture(lambda at: 0.3 + 0.01 * at, step=HOUR, past=12))
    assert 30 <= lines[1].rindex("│") - 15 <= 34


def test_without_history_there_is_a_picture():
    one = picture(lambda _: 0.3, past=0)
    assert not one.history
    assert "now" in drawn(one)[ROWS + 1]


def test_a_gap_is_not_drawn_through():
    whole = picture(lambda at: 0.3 + 0.01 * at)
    gap = [point for point in whole.history if not NOW - 20 * DAY < point[0] < NOW - 10 * DAY]
    lines = drawn(Picture(gap, *(getattr(whole, name) for name in Picture.__slots__[1:])))
    columns = {place for line in lines[:ROWS] for place in range(14, 80) if BRAILLE.match(line[place : place + 1])}
    empty = [place for place in range(14, 80) if place not in columns]
    assert len(empty) >= 10


def test_plain_is_ascii_alone():
    lines = drawn(GROWTH, plain=True)
    text = "\n".join(lines)
    assert text.isascii()
    assert row_of(lines, "X") == [0]
    assert {"*", "o", ".", "-", "|", "+"} <= set(text)


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_it_is_as_wide_as_asked(columns):
    assert max(map(len, drawn(GROWTH, columns))) == columns


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(0.0, 1.0), max_size=40),
    level=st.floats(0.0, 1.0),
    spread=st.floats(0.0, 1.0),
    limit=st.floats(0.5, 1.0),
    step=st.sampled_from((HOUR, DAY, MONTH)),
    plain=st.booleans(),
)
def test_anything_between_nothing_and_full_is_drawn(*, values, level, spread, limit, step, plain):
    low, high = [max(0.0, level - spread)] * 12, [min(1.0, level + spread)] * 12
    history = [(NOW - (len(values) - at) * step, value) for at, value in enumerate(values, 1)]
    full = (NOW + step, None, None)
    one = Picture(history, NOW + step, step, [level] * 12, low, high, low, high, limit, full, "{:.3f}".format)
    drawn(one, plain=plain)


@given(hours=st.floats(1.0, 100_000), most=st.integers(4, 15), begin=st.integers(0, 100_000))
def test_a_time_axis_has_a_few_labels_in_order(hours, most, begin):
    from_ms = NOW - begin * HOUR
    found = list(moments(from_ms, from_ms + int(hours * HOUR), most))
    assert len(found) <= most + 2
    times = [moment for moment, _ in found]
    assert times == sorted(set(times))
    assert all(from_ms <= moment <= from_ms + hours * HOUR for moment in times)
