"""The risk of a failure in words: what raises it, with where it goes.

Enters: a `Cause` of the failure forecaster. Leaves: "memory headroom 6 %, falling 1.1 % a minute: zero in 5 min 30 s".
"""

from math import isfinite

from alerting.render import amount
from detectors.factors import FACTORS, PLACE, Factor
from detectors.failure import Cause
from detectors.findings import Unit
from detectors.projection import Projection

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
_STEPS = ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"), (1.0, "s"))
_SLOW = 0.0005  # of the limit in a minute; slower is told by the hour, and so on
_SAME = 1.2  # times what is usual: nothing to compare


def said(cause: Cause) -> str:
    """Return one sentence, without its full stop."""
    factor = FACTORS[PLACE[cause.factor]]
    it = cause.projection
    if factor.falls:
        return f"the last failure was {span(it.level)} ago"
    if factor.limit is None:
        return f"{_named(factor.words, cause.about)} {_level(factor, it.level)}{_usual(factor, it)}"
    if factor.unit is Unit.CELSIUS:
        head = f"{_named(factor.words, cause.about)} {amount(it.level, factor.unit)}"
        return head + _moving(factor, it, "rising", "falling", f"{factor.limit:.0f} °C")
    left = f"{_named(factor.left, cause.about)} {amount(max(factor.limit - it.level, 0.0), factor.unit)}"
    return left + _moving(factor, it, "falling", "rising", "zero")


def span(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    whole = round(seconds)
    for place, (step, name) in enumerate(_STEPS):
        if whole >= step:
            more = _STEPS[place + 1] if place + 1 < len(_STEPS) else None
            first, rest = divmod(whole, int(step))
            second = rest // int(more[0]) if more else 0
            return f"{first} {name}" + (f" {second} {more[1]}" if more and second else "")
    return "0 s"


def _named(words: str, about: str) -> str:
    """Name the resource in the place of "a unit", or behind, where the words do not name it already."""
    if not about or about in words.split():
        return words
    for holder in ("a unit", "a process", "a disk"):
        if holder in words:
            return words.replace(holder, about)
    return f"{words} of {about}"


def _moving(factor: Factor, it: Projection, up: str, down: str, limit: str) -> str:
    if it.per_second == 0:
        return ", steady"
    size = abs(it.per_second)
    rate, name = next(
        (step, name)
        for step, name in ((_MINUTE, "a minute"), (_HOUR, "an hour"), (_DAY, "a day"))
        if size * step > _SLOW * (factor.limit or 1.0) or name == "a day"
    )
    text = f", {up if it.per_second > 0 else down} {amount(size * rate, factor.unit)} {name}"
    return text + (f": {limit} in {span(it.seconds)}" if isfinite(it.seconds) else "")


def _level(factor: Factor, level: float) -> str:
    return f"{level:.0f}" if factor.unit is Unit.COUNT else amount(level, factor.unit)


def _usual(factor: Factor, it: Projection) -> str:
    if not isfinite(it.usual) or (it.usual > 0 and it.level < _SAME * it.usual):
        return ""
    return f", usually {_level(factor, it.usual)}"
