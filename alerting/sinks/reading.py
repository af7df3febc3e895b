"""What a notification says, read for the sinks that give it a form of their own, and the lines they share.

Enters: the JSON text of `alerting.document`. Leaves: one typed value, all its text in one line each, free of control
letters and of letters that turn the direction of reading. It is lenient: a property that an earlier release did not
write is empty, because what was stored before an update is still to arrive.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alerting.errors import DeliveryError
from alerting.render import amount, one_line
from alerting.sinks.base import Notification
from detectors.findings import Unit

_PLAIN_RATIO = 2.0  # beyond it a ratio is no share of anything
_UNITS = {unit.name.lower(): unit for unit in Unit}
_ODDITIES = frozenset({"rising", "falling", "changeable", "flat", "apart"})


@dataclass(frozen=True, slots=True)
class Told:
    """One alert of a notification; times are RFC 3339 in UTC, "" = none."""

    event: str
    occurrence: str
    alertname: str
    severity: str
    previous_severity: str
    network: str
    resource: str
    sentence: str
    started_at: str
    fired_at: str
    resolved_at: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A notification; `told` has the alert that leads first, in a digest all, in a test none.

    `count` is how many alerts it is about, `group_firing` how many of the group still fire. `contributors` and
    `culprits` are lines for people.
    """

    id: str
    event: str
    host: str
    summary: str
    sentence: str
    severity: str
    group: str
    group_firing: int
    told: tuple[Told, ...]
    count: int
    contributors: tuple[str, ...]
    culprits: tuple[str, ...]
    change: str
    commands: Mapping[str, str]
    links: Mapping[str, str]

    @property
    def others(self) -> tuple[Told, ...]:
        """The alerts that the sentence does not tell of."""
        return self.told if self.event == "digest" else self.told[1:]


def read(notification: Notification) -> Reading:
    """Return what a notification says. Raises DeliveryError, for good, when it is no JSON object."""
    try:
        row = _Row(json.loads(notification.payload))
    except (ValueError, TypeError, RecursionError):
        raise DeliveryError("the stored notification cannot be read", permanent=True) from None
    event = row.text("event")
    if event == "digest":
        told = tuple(_told(part) for part in row.rows("would_have_sent"))
    elif event in {"firing", "resolved"}:
        told = (_told(row), *(_told(part) for part in row.rows("also")))
    else:
        told = ()
    change = row.row("change")
    sentence = row.text("sentence")
    return Reading(
        id=notification.id,
        event=event,
        host=row.text("host"),
        summary=row.text("summary") or sentence,
        sentence=sentence,
        severity=row.text("severity") or "info",
        group=row.text("group") or row.text("fingerprint") or notification.id,
        group_firing=row.whole("group_firing"),
        told=told,
        count=row.whole("count") or len(told),
        contributors=tuple(_contributor(part) for part in row.rows("contributors")),
        culprits=tuple(_culprit(part) for part in row.rows("culprits")),
        change=f"{change.text('at')} {change.text('text')}".strip() if change else "",
        commands=row.texts("commands"),
        links=row.texts("links"),
    )


def listed(lines: Sequence[str], most: int, total: int | None = None) -> list[str]:
    """Return at most `most` of `lines`, and how many more there are of `total`."""
    left = (len(lines) if total is None else total) - min(len(lines), most)
    return [*lines[:most], *([f"and {left} more"] if left > 0 else [])]


def other_lines(reading: Reading, most: int) -> list[str]:
    """Return a line for each of the alerts that the sentence does not tell of, at most `most`."""
    lines = [f"{'resolved: ' if one.event == 'resolved' else ''}{one.sentence}" for one in reading.others]
    return listed(lines, most, reading.count if reading.event == "digest" else None)


def still_firing(reading: Reading) -> str:
    """Say how many of a group fire on when one of them ends, "" when none does."""
    if reading.event != "resolved" or reading.group_firing <= 0:
        return ""
    return f"{reading.group_firing} of the group still {'fires' if reading.group_firing == 1 else 'fire'}"


def clipped(text: str, most: int) -> str:
    """Return `text` with at most `most` letters, as UTF-16 counts them; what was cut off is shown by "…"."""
    return text if width(text) <= most else _head(text, most - 1) + "…"


def width(text: str) -> int:
    """Return how many letters a receiver counts that counts in UTF-16: the lengths of most limits."""
    return len(text) + sum(letter > "\uffff" for letter in text)


def _head(text: str, most: int) -> str:
    used = 0
    for place, letter in enumerate(text):
        used += 2 if letter > "\uffff" else 1
        if used > most:
            return text[:place].rstrip()
    return text


def _told(row: "_Row") -> Told:
    return Told(
        # Only alerts of a digest carry no event; what it would have sent was a firing.
        event=row.text("event") if row.text("event") in {"firing", "resolved"} else "firing",
        occurrence=row.text("occurrence"),
        alertname=row.text("alertname"),
        severity=row.text("severity"),
        previous_severity=row.text("previous_severity"),
        network=row.text("network"),
        resource=row.text("resource"),
        sentence=row.text("sentence"),
        started_at=row.text("started_at"),
        fired_at=row.text("fired_at"),
        resolved_at=row.text("resolved_at"),
    )


def _contributor(row: "_Row") -> str:
    unit = _UNITS.get(row.text("unit"), Unit.COUNT)
    value, low, high = (row.number(key) for key in ("value", "expected_low", "expected_high"))
    plain = unit is Unit.RATIO and any(abs(one) > _PLAIN_RATIO for one in (value, low, high) if math.isfinite(one))
    now, least, most = (amount(one, unit, plain=plain) for one in (value, low, high))
    parts = [f"{row.text('signal')}: {now}"]
    if math.isfinite(low) and math.isfinite(high):
        parts.append(f"usually {least}" if least == most else f"usually {least} to {most}")
    if (direction := row.text("direction")) in _ODDITIES:
        parts.append(direction)
    return ", ".join(parts)


def _culprit(row: "_Row") -> str:
    unit, process = row.text("unit"), row.text("process")
    name = f"{unit} ({process})" if unit and process else unit or process
    share, usual = (amount(row.number(key), Unit.RATIO) for key in ("share", "usual_share"))
    return f"{name}: {share} of {row.text('resource')}, usually {usual}"


class _Row:
    """Lenient reading of a JSON object: what is absent or of another type is empty. TypeError when it is none."""

    def __init__(self, document: object) -> None:
        if not isinstance(document, dict):
            raise TypeError("not a JSON object")
        self._document = document

    def text(self, key: str) -> str:
        value = self._document.get(key)
        return one_line(value) if isinstance(value, str) else ""

    def texts(self, key: str) -> dict[str, str]:
        value = self._document.get(key)
        if not isinstance(value, dict):
            return {}
        return {str(name): one_line(word) for name, word in value.items() if isinstance(word, str)}

    def whole(self, key: str) -> int:
        value = self._document.get(key)
        return value if isinstance(value, int) else 0

    def number(self, key: str) -> float:
        value = self._document.get(key)
        try:
            return float(value) if isinstance(value, int | float) else math.nan
        except OverflowError:  # a whole number of any length is JSON
            return math.nan

    def row(self, key: str) -> "_Row | None":
        value = self._document.get(key)
        return _Row(value) if isinstance(value, dict) else None

    def rows(self, key: str) -> list["_Row"]:
        value = self._document.get(key)
        return [_Row(part) for part in value if isinstance(part, dict)] if isinstance(value, list) else []
