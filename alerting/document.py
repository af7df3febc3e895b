"""The document of a notification: what every sink is given, and what a webhook gets as it is.

Enters: a message, and what an operator may do about it. Leaves: JSON text of `schema/webhook-v1.json`: `event` is
"firing" or "resolved" for alerts, "digest" for a summary, "test" for a try. It is made once, when the
notification is stored: a retry after hours says the same under the same id.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from alerting.group import Message, News, What
from alerting.occurrence import Occurrence, finite
from alerting.policy import DRILL, Severity
from alerting.render import by_role, duration, one_line, rfc3339

VERSION = 1

# From so many alerts in one notification on, people are told how many of which kind.
MANY = 20

_STATES = {What.BEGAN: "FIRING", What.AGAIN: "STILL FIRING", What.GRAVITY: "FIRING", What.ENDED: "RESOLVED"}

Links = Callable[[str], Mapping[str, str]]


def no_links(_occurrence: str) -> Mapping[str, str]:
    """Return no links: without an external URL, commands are told instead."""
    return {}


def message_document(
    notification_id: str,
    host: str,
    message: Message,
    *,
    time_ms: int,
    not_followed: Mapping[str, int],
    links: Links = no_links,
) -> dict[str, object]:
    """Return the document of a message about alerts; the first of its news leads, the others follow in `also`.

    `time_ms` is the wall clock. `not_followed`: findings beyond the bound of what is followed one by one, by name.
    """
    lead, *others = message.news
    one = lead.occurrence
    over = lead.what is What.ENDED
    drill = one.alertname == DRILL
    return {
        "version": VERSION,
        "id": notification_id,
        "event": "resolved" if over else "firing",
        "reason": lead.what.value,
        "drill": drill,
        "group": message.group,
        "group_firing": message.still_firing,
        "summary": ("DRILL: " if drill else "") + _summary(host, message.news, not_followed, time_ms),
        **_identity(one),
        "previous_severity": _previous_severity(lead),
        "host": host,
        "sentence": ("DRILL: " if drill else "") + one.sentence,
        **_times(one),
        "firings_within_the_hour": one.firings,
        "acknowledged_by": one.acknowledged and one_line(one.acknowledged.author),
        **_evidence(one),
        "also": [
            {
                "event": "resolved" if other.what is What.ENDED else "firing",
                "reason": other.what.value,
                **_identity(other.occurrence),
                "previous_severity": _previous_severity(other),
                "sentence": other.occurrence.sentence,
                **_times(other.occurrence),
            }
            for other in others
        ],
        "counts": _counts(message.news, not_followed),
        "commands": _commands(one, over=over),
        "links": dict(links(one.id)),
    }


def digest_document(notification_id: str, host: str, kept: Sequence[Occurrence]) -> dict[str, object]:
    """Return the document of the daily digest: `kept` would have been sent, were the host known already."""
    names = _named(Counter(one.alertname for one in kept))
    return {
        "version": VERSION,
        "id": notification_id,
        "event": "digest",
        "summary": f"{host}: would have sent {len(kept)}",
        "sentence": f"{host}: while it learns this host, presaged would have sent {len(kept)}: {names}",
        "severity": Severity.RECORD.value,
        "host": host,
        "since": rfc3339(min(one.fired_ms or one.started_ms for one in kept)),
        "until": rfc3339(max(one.resolved_ms or one.fired_ms or one.started_ms for one in kept)),
        "would_have_sent": [{**_identity(one), "sentence": one.sentence, **_times(one)} for one in kept[:MANY]],
        "count": len(kept),
        "commands": {"status": "presage status", "alerts": "presage alerts"},
        "links": {},
    }


def test_document(notification_id: str, host: str, sink: str, time_ms: int) -> dict[str, object]:
    """Return the document by which a sink is tried."""
    return {
        "version": VERSION,
        "id": notification_id,
        "event": "test",
        "summary": f"{host}: a test of the sink {sink}",
        "sentence": f"{host}: nothing is wrong; this is a test of the sink {sink}",
        "severity": Severity.RECORD.value,
        "host": host,
        "sent_at": rfc3339(time_ms),
        "commands": {"status": "presage status"},
        "links": {},
    }


def to_text(document: Mapping[str, object]) -> str:
    """Return a document as the text that is stored and sent."""
    return json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def _identity(one: Occurrence) -> dict[str, object]:
    return {
        "occurrence": one.id,
        "fingerprint": one.fingerprint,
        "alertname": one.alertname,
        "severity": one.severity.value,
        "network": one.network,
        "resource": one_line(one.resource),
    }


def _previous_severity(news: News) -> str | None:
    before = news.occurrence.told_severity
    return before.value if news.what is What.GRAVITY and before is not None else None


def _times(one: Occurrence) -> dict[str, object]:
    return {
        "started_at": rfc3339(one.started_ms),
        "fired_at": None if one.fired_ms is None else rfc3339(one.fired_ms),
        "resolved_at": None if one.resolved_ms is None else rfc3339(one.resolved_ms),
    }


def _evidence(one: Occurrence) -> dict[str, object]:
    takers, victims = by_role(one.culprits)
    return {
        "score": finite(one.score),
        "threshold": finite(one.threshold),
        "contributors": [
            {
                "signal": one_line(part.signal),
                "family": part.family,
                "resource": one_line(part.resource),
                "value": finite(part.value),
                "unit": part.unit.name.lower(),
                "expected_low": finite(part.expected_low),
                "expected_high": finite(part.expected_high),
                "surprise": finite(part.surprise),
                "direction": part.direction.value or None,
                "recent_low": finite(part.recent_low),
                "recent_high": finite(part.recent_high),
                "network_share": finite(part.network_share),
            }
            for part in one.contributors
        ],
        "culprits": [
            {
                "unit": one_line(who.unit),
                "process": one_line(who.process),
                "resource": who.resource.name.lower(),
                "share": finite(who.share),
                "usual_share": finite(who.usual),
                "times_usual": finite(who.times),
            }
            for who in takers
        ],
        "victims": [
            {
                "unit": one_line(who.unit),
                "waits_for": who.resource.name.lower().removesuffix("_wait"),
                "share_of_time": finite(who.share),
                "usual_share_of_time": finite(who.usual),
            }
            for who in victims
        ],
        "change": one.change
        and {
            "at": rfc3339(one.change.time_ms),
            "kind": one.change.kind.value,
            "text": one_line(one.change.text),
        },
        "precedent": one.precedent
        and {
            "occurrence": one.precedent.occurrence,
            "started_at": rfc3339(one.precedent.started_ms),
            "lasted_seconds": finite(one.precedent.lasted_seconds),
            "likeness": finite(one.precedent.likeness),
        },
    }


def _counts(news: Sequence[News], not_followed: Mapping[str, int]) -> dict[str, object]:
    return {
        "firing": sum(one.what is not What.ENDED for one in news),
        "resolved": sum(one.what is What.ENDED for one in news),
        "not_followed": sum(not_followed.values()),
        "by_alertname": dict(Counter(one.occurrence.alertname for one in news)),
    }


def _summary(host: str, news: Sequence[News], not_followed: Mapping[str, int], time_ms: int) -> str:
    """Return one short line: the alert, or how many of which kind."""
    lead = news[0]
    if len(news) == 1:
        one = lead.occurrence
        about = f" {one_line(one.resource)}" if one.resource else ""
        lasting = ""
        if lead.what is What.AGAIN and one.fired_ms is not None:
            lasting = f" after {duration(max(0, time_ms - one.fired_ms) / 1000)}"
        return f"{host}: {_STATES[lead.what]}{lasting}: {one.alertname}{about}"
    firing = sum(one.what is not What.ENDED for one in news)
    parts = [f"{firing} firing" if firing else "", f"{len(news) - firing} resolved" if firing < len(news) else ""]
    text = f"{host}: {', '.join(filter(None, parts))}: {_named(Counter(one.occurrence.alertname for one in news))}"
    beyond = sum(not_followed.values())
    return f"{text}; {beyond} more are not followed one by one" if beyond else text


def _named(counts: Counter[str]) -> str:
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.most_common())


def _commands(one: Occurrence, *, over: bool) -> dict[str, str]:
    commands = {
        "status": "presage status",
        "explain": f"presage explain {one.id}",
        "ack": f"presage ack {one.id}",
        "real": f"presage feedback {one.id} real",
        "false": f"presage feedback {one.id} false",
        "expected": f"presage feedback {one.id} expected",
    }
    if over:
        del commands["ack"]
    return commands
