"""What verdicts change, said to the person who gave one: exactly what is other than before, and until when.

Enters: effects before and after, the moment, the bare threshold. Leaves: sentences of one line, in the host's time.
"""

import math
import shlex
import time
from collections.abc import Iterator, Sequence

from alerting.occurrence import Occurrence
from alerting.policy import RULES
from alerting.render import one_line
from alerting.verdict import Recurrence, Verdict, VerdictKind
from daemon.verdicts.effects import ALL_STEPS, MOST_EXCLUSIONS, RECOVERY_MS, STRONGER, Effect, factor
from daemon.verdicts.table import Judged

_NAMED = 3  # signals of a pattern that are named
_FORECASTS = ("capacity", "failure")


def changes(
    before: Sequence[Effect], after: Sequence[Effect], *, time_ms: int, threshold: float, samples: int
) -> Iterator[str]:
    """Yield what is other than before; `samples` changed sides between what is learned from and what is not."""
    gone = [one for one in before if one.verdict not in {other.verdict for other in after}]
    come = [one for one in after if one.verdict not in {other.verdict for other in before}]
    yield from _of_threshold(gone, come, _raised(before, after, time_ms), time_ms=time_ms, threshold=threshold)
    for one in gone:
        if one.kind is VerdictKind.EXPECTED and one.is_active(time_ms):
            yield f"anomalies of {_signals(one)} raise alarms again"
        elif one.kind is VerdictKind.REAL:
            yield f"what was sampled {_span(one)} is learned from again where it was not alarmed ({_samples(samples)})"
    for one in come:
        if one.kind is VerdictKind.EXPECTED:
            yield describe(one)
        elif one.kind is VerdictKind.REAL:
            yield f"{describe(one)} ({_samples(samples)} up to now)"


def describe(effect: Effect) -> str:
    """Return what an effect does, without what others do."""
    match effect.kind:
        case VerdictKind.FALSE:
            return f"raises the threshold of anomalies until {moment(effect.until_ms)}"
        case VerdictKind.EXPECTED:
            exception = "" if effect.felt else ", hurts"
            return (
                f"anomalies of {_signals(effect)} raise no alarm {_hours(effect)} until {moment(effect.until_ms)},"
                f" unless one is {STRONGER:g} times as strong{exception} or has another pattern"
            )
        case VerdictKind.REAL:
            return f"what was sampled {_span(effect)} is never learned from"


def told(judged: Judged, time_ms: int) -> str:
    """Return what a verdict that counts does, or did."""
    said = describe(judged.effect)
    return said if judged.effect.is_active(time_ms) else f"{said}: that has ended"


def nothing(verdict: Verdict, alert: Occurrence, *, crowded: bool) -> str:
    """Return why a verdict changes nothing, and what does."""
    rule = RULES.get(alert.alertname)
    about = f" --resource {shlex.quote(one_line(alert.resource))}" if alert.resource else ""
    quiet = f"`presage silence add --alert {alert.alertname}{about} --for 2h` keeps it quiet"
    if crowded:
        return (
            f"nothing else changes: {MOST_EXCLUSIONS} patterns are expected already; take one back (`presage feedback`)"
        )
    if alert.network == "anomaly":
        return f"nothing else changes: it is not known which signals were unusual; {quiet}"
    if alert.network in _FORECASTS:
        return (
            f"nothing else changes: {alert.alertname} is a forecast, which is checked against what comes; a verdict of"
            f" {verdict.kind} is kept and shown; {quiet}"
        )
    if rule is not None and rule.sent == "never":
        return f"nothing else changes: {alert.alertname} is a record of which nobody is told"
    return (
        f"nothing else changes: {alert.alertname} is a fact, and is told whenever it is so, whatever was said of it;"
        f" {quiet}"
    )


def moment(time_ms: int | None) -> str:
    """Return a moment in the host's time."""
    if time_ms is None:
        return "for good"
    return time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(time_ms / 1000))


def raised_by(effects: Sequence[Effect], time_ms: int) -> str:
    """Return by what all verdicts raise the threshold, "" = they do not."""
    times = factor(effects, time_ms)
    if times == 1.0:
        return ""
    ends = [one.until_ms for one in effects if one.kind is VerdictKind.FALSE and one.is_active(time_ms)]
    last = max(end for end in ends if end is not None)
    return f"the threshold is {times:.2f} times its own, by verdicts; the last ends {moment(last)}"


def in_brief(effects: Sequence[Effect], time_ms: int) -> Iterator[str]:
    """Yield what all verdicts change, a line each kind."""
    if raised := raised_by(effects, time_ms):
        yield raised
    for kind, said in (
        (VerdictKind.EXPECTED, "expected, and no alarm"),
        (VerdictKind.REAL, "never learned from: real incidents"),
    ):
        count = sum(one.kind is kind and one.is_active(time_ms) for one in effects)
        if count:
            what = "pattern" if kind is VerdictKind.EXPECTED else "time"
            yield f"{count} {what}{' is' if count == 1 else 's are'} {said}"


def _raised(before: Sequence[Effect], after: Sequence[Effect], time_ms: int) -> tuple[float, float]:
    return factor(before, time_ms), factor(after, time_ms)


def _of_threshold(
    gone: Sequence[Effect],
    come: Sequence[Effect],
    factors: tuple[float, float],
    *,
    time_ms: int,
    threshold: float,
) -> Iterator[str]:
    was, now = factors
    step = next((one for one in come if one.kind is VerdictKind.FALSE), None)
    if was != now:
        until = f", until {moment(step.until_ms)}" if step else ""
        yield f"threshold {_level(threshold, was)} -> {_level(threshold, now)} for anomalies of this host{until}"
    elif step and now >= ALL_STEPS:
        yield (
            f"threshold stays {_level(threshold, now)}: verdicts raise it to {ALL_STEPS:g} times its own at most, so"
            " that a fault is still found"
        )
    elif step:
        yield f"threshold stays {_level(threshold, now)}: this event was judged false already"
    elif any(one.kind is VerdictKind.FALSE and one.is_active(time_ms) for one in gone):
        yield f"threshold stays {_level(threshold, now)}: other verdicts raise it as much"


def _level(threshold: float, times: float) -> str:
    """Return a threshold; before there is one, what it will be multiplied by."""
    return f"{threshold * times:.3g}" if math.isfinite(threshold) else f"x {times:.2f} of the first one"


def _signals(effect: Effect) -> str:
    ranked = sorted(effect.pattern, key=lambda signal: (-effect.pattern[signal], signal))
    named = ", ".join(one_line(signal) for signal in ranked[:_NAMED])
    more = len(ranked) - _NAMED
    return f"{named} and {more} more" if more > 0 else named


def _hours(effect: Effect) -> str:
    at = time.localtime(effect.first_ms / 1000)
    match effect.every:
        case Recurrence.DAY:
            return f"every day at about {time.strftime('%H:%M', at)}"
        case Recurrence.WEEK:
            return f"every week at about {time.strftime('%A %H:%M', at)}"
        case Recurrence.NONE:
            return "at any hour"


def _span(effect: Effect) -> str:
    first = moment(effect.first_ms)
    recovery = f"{RECOVERY_MS // 60_000} minutes of recovery included"
    if effect.end_ms is None:
        return f"from {first} until it is over, {recovery},"
    return f"from {first} to {moment(effect.end_ms + RECOVERY_MS)}, {recovery},"


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count:,} samples"
