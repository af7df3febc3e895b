"""Words for people: the one sentence, and amounts, lengths of time and names as they are read.

Enters: an occurrence. Leaves: one line that a tired person understands. A number that is not finite never leaves.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from alerting.occurrence import Occurrence, State
from alerting.policy import FLAPPING_FIRINGS
from detectors.findings import WAITS, Change, ChangeKind, Contributor, Culprit, Direction, Precedent, Unit

_NAMED_CONTRIBUTORS = 3
_NEAR = 0.7  # of the greatest surprise: from there on a level outside of its range is named before any other oddity
_FAINT = 0.25  # of the greatest surprise: what is below it explains nothing
_MANIFOLD = 1.5  # times: what grew less is told as it is
_LEAST_SHARE = 0.01
_OUTSIDE = frozenset((Direction.ABOVE, Direction.BELOW))
_NEW_YEAR_MS = 300 * 86_400_000  # from so long ago on a date has its year
_PLAIN_RATIO = 2.0  # beyond it a ratio is no share of anything (load per processor) and percent would mislead
_KIBI = 1024.0
_BYTE_STEPS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
# From where on, divided by what, under which name: four digits are still read at a glance.
_COUNT_STEPS = ((1e12, 1e12, " T"), (1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e4, 1e3, " k"))
# The largest amount that is still said in each step, and the seconds of the step.
_TIME_STEPS = ((1.0, 0.001, "ms"), (120.0, 1.0, "s"), (7_200.0, 60.0, "min"), (172_800.0, 3_600.0, "h"))
_DAY_SECONDS = 86_400.0
_BEYOND_SENSE = 1e15
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def sentence(host: str, occurrence: Occurrence) -> str:
    """Return what an occurrence says in one line.

    Where, what, the three foremost signals, who took how much, what was changed before, and when it was like that.
    """
    over = occurrence.state is State.RESOLVED
    opening = f"{host}: resolved after {_lasted(occurrence)}: " if over else f"{host}: "
    parts = [_clause(part, over=over) for part in foremost(occurrence.contributors)]
    text = opening + occurrence.detail
    if parts:
        text += (": at its peak " if over else ": ") + ", ".join(parts)
    takers, victims = by_role(occurrence.culprits)
    more = [_accused(who, over=over) for who in takers[:1]] + [_waiting(who, over=over) for who in victims[:1]]
    if occurrence.change is not None:
        more.append(_after(occurrence.change, occurrence.started_ms))
    if occurrence.precedent is not None:
        more.append(_like(occurrence.precedent, occurrence.started_ms))
    if occurrence.firings >= FLAPPING_FIRINGS:
        more.append(f"it comes and goes: {occurrence.firings} times within the hour")
    return one_line("; ".join([text, *more]))


def rfc3339(time_ms: int) -> str:
    """Return UTC milliseconds as `2026-03-01T06:00:00.000Z`."""
    moment = datetime.fromtimestamp(time_ms / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def amount(value: float, unit: Unit, *, plain: bool = False) -> str:
    """Return `value` in the human form of its unit; `plain` says a ratio as it is, not in percent."""
    if not math.isfinite(value):
        return "unknown"
    match unit:
        case Unit.RATIO:
            text = _digits(value) if plain or abs(value) >= _BEYOND_SENSE else f"{_percent(value)} %"
        case Unit.BYTES:
            text = _bytes(value)
        case Unit.BYTES_PER_SECOND:
            text = f"{_bytes(value)}/s"
        case Unit.PER_SECOND:
            text = f"{_count(value)}/s"
        case Unit.SECONDS:
            text = duration(value)
        case Unit.COUNT:
            text = _count(value)
        case Unit.CELSIUS:
            text = f"{_digits(value)} °C"
    return text


def duration(seconds: float) -> str:
    """Return a length of time in the largest unit that still tells lengths apart."""
    if seconds == 0.0:
        return "0 s"
    for limit, step, name in _TIME_STEPS:
        if abs(seconds) < limit:
            return f"{_digits(seconds / step)} {name}"
    return f"{_count(seconds / _DAY_SECONDS)} d"


def foremost(contributors: Sequence[Contributor]) -> list[Contributor]:
    """Return the contributors to name: the most surprising, none that is faint beside them, unknown surprise last.

    Of about equal surprise, a level outside of its range comes first: it needs no explaining.
    """
    known = [-math.inf if math.isnan(part.surprise) else part.surprise for part in contributors]
    greatest = max(known, default=0.0)
    near, faint = _NEAR * greatest, _FAINT * greatest
    ranked = sorted(
        zip(known, contributors, strict=True),
        key=lambda pair: (pair[1].direction in _OUTSIDE and pair[0] >= near, pair[0]),
        reverse=True,
    )
    return [part for surprise, part in ranked[:_NAMED_CONTRIBUTORS] if not -math.inf < surprise < faint]


def _clause(part: Contributor, *, over: bool) -> str:
    """Say of a signal what is unusual about it: a level within its range is not."""
    known = [value for value in (part.value, part.expected_low, part.expected_high) if math.isfinite(value)]
    plain = part.unit is Unit.RATIO and any(abs(value) > _PLAIN_RATIO for value in known)
    now, low, high, expected_low, expected_high = (
        amount(value, part.unit, plain=plain) if math.isfinite(value) else ""
        for value in (part.value, part.recent_low, part.recent_high, part.expected_low, part.expected_high)
    )
    now = now or "unknown"
    verb, has = ("was", "had") if over else ("is", "has")
    usual = f"usually {_range(expected_low, expected_high)}" if expected_low and expected_high else ""
    moved = low != high and bool(low and high)
    match part.direction:
        case Direction.RISING if moved and now != low:
            said = f"{has} risen from {low} to {now}"
        case Direction.FALLING if moved and now != high:
            said = f"{has} fallen from {high} to {now}"
        case Direction.CHANGEABLE | Direction.RISING | Direction.FALLING:
            lately = f"{_range(low, high)} lately" if moved else ""
            said = f"{verb} unusually changeable"
            usual = ", ".join(filter(None, (lately, usual)))
        case Direction.FLAT:
            said = f"{verb} unusually steady at {now}"
        case Direction.APART:
            said = f"{verb} {now}, out of step with the other signals"
        case Direction.UNKNOWN if part.expected_low <= part.value <= part.expected_high:
            said = f"{verb} {now}, other than its past foretells"
        case _:
            said = f"{verb} {now}"
    return f"{part.signal} {said} ({usual})" if usual else f"{part.signal} {said}"


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _accused(who: Culprit, *, over: bool) -> str:
    name = f"{who.unit} ({who.process})" if who.unit and who.process else who.unit or f"process {who.process}"
    said = f"{name} {'took' if over else 'takes'} {_share(who.share)} of the {who.resource.value}"
    if math.isnan(who.usual):
        return said
    if who.times >= _MANIFOLD > who.share / max(who.usual, _LEAST_SHARE):  # who always takes most, and now more of it
        return f"{said}, {_digits(who.times)} times as much as usual"
    return f"{said}, usually {_share(who.usual)}"


def _share(share: float) -> str:
    return "under 1 %" if 0 < share < _LEAST_SHARE else amount(share, Unit.RATIO)


def _waiting(who: Culprit, *, over: bool) -> str:
    said = f"{who.unit} {'waited' if over else 'waits'} {_share(who.share)} of the time for {who.resource.value}"
    return said if math.isnan(who.usual) else f"{said}, usually {_share(who.usual)}"


def by_role(culprits: Sequence[Culprit]) -> tuple[list[Culprit], list[Culprit]]:
    """Return who took, and who waited."""
    return [who for who in culprits if who.resource not in WAITS], [who for who in culprits if who.resource in WAITS]


def _after(change: Change, started_ms: int) -> str:
    text = f'the change "{change.text}"' if change.kind is ChangeKind.MARK else change.text
    seconds = float(round((started_ms - change.time_ms) / 1000))
    return f"it began {'right' if seconds < 1 else duration(seconds)} after {text}"


def _like(precedent: Precedent, started_ms: int) -> str:
    """Say when it was like this, by the clock on this host's wall."""
    moment = datetime.fromtimestamp(precedent.started_ms / 1000).astimezone()
    year = f" {moment:%Y}" if started_ms - precedent.started_ms >= _NEW_YEAR_MS else ""
    month = _MONTHS[moment.month - 1]
    day = f"{moment.day} {month}{year} at {moment:%H:%M}"
    return f"it was like this on {day}, for {duration(precedent.lasted_seconds)}"


def _lasted(occurrence: Occurrence) -> str:
    end_ms = occurrence.started_ms if occurrence.resolved_ms is None else occurrence.resolved_ms
    return duration(float(round((end_ms - occurrence.started_ms) / 1000)))


def _digits(value: float) -> str:
    """Return a number with two digits that matter, or all those before the point; never "-0"."""
    size = abs(value)
    if size >= _BEYOND_SENSE:
        return f"{value:.1e}"
    places = 0 if size >= 9.95 else 1 if size >= 0.995 else 2  # noqa: PLR2004 - where rounding gains a digit
    text = f"{value:.{places}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _percent(ratio: float) -> str:
    percent = ratio * 100.0
    # 99.6 % of a disk is not all of it.
    return f"{percent:.1f}" if 99.0 < percent < 99.95 else _digits(percent)  # noqa: PLR2004 - the last percent


def _bytes(value: float) -> str:
    scaled, step = value, 0
    while abs(scaled) >= _KIBI - 0.5 and step < len(_BYTE_STEPS) - 1:  # 1023.7 KiB would be said as 1024 KiB
        scaled /= _KIBI
        step += 1
    return f"{_digits(scaled)} {_BYTE_STEPS[step]}"


def _count(value: float) -> str:
    for least, step, name in _COUNT_STEPS:
        if abs(value) >= least:
            return f"{_digits(value / step)}{name}"
    return _digits(value)


def one_line(text: str) -> str:
    """Return `text` without line breaks, control letters and half surrogates: mount points may hold any byte."""
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(letter if letter.isprintable() else " " for letter in whole)
