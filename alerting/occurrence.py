"""One firing of an alert, as data: its identity, its evidence, and its form in the database.

Enters and leaves: immutable values and JSON text. It decides nothing and never changes an occurrence
in place.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from enum import StrEnum

from alerting.errors import StoreError
from alerting.policy import Kept, Severity
from detectors.findings import Change, ChangeKind, Contributor, Culprit, Direction, Precedent, Resource, Unit

_FINGERPRINT_LETTERS = 16


class State(StrEnum):
    """Where an occurrence stands."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Who has taken an alert in hand, and when (UTC milliseconds): no repeat and no escalation from then on."""

    author: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One alert from pending to resolved; a later firing of the same alert is another occurrence.

    Times are UTC milliseconds. `score`, `threshold` and `contributors` are those of the firing, or of
    a higher peak since, and so are `culprits` and `precedent`. `change` is the last one before it began.
    `kept` says why nobody is told, from the firing to the end. `told` names the sinks that were given the firing:
    they alone are given the end, and `ended` those that were. `group` is what it was told together with,
    `first_told_ms` and `last_told_ms` when (the outbox's clock), `told_severity` as what. `firings` counts how
    often the alert fired within the hour, this one included. `owed`: somebody is still to be told something, so it
    is not done with.
    """

    id: str
    fingerprint: str
    alertname: str
    network: str
    resource: str
    severity: Severity
    state: State
    started_ms: int
    fired_ms: int | None
    resolved_ms: int | None
    score: float | None
    threshold: float | None
    detail: str
    sentence: str
    contributors: tuple[Contributor, ...]
    told: tuple[str, ...] = ()
    culprits: tuple[Culprit, ...] = ()
    change: Change | None = None
    precedent: Precedent | None = None
    kept: Kept = Kept.NOT
    ended: tuple[str, ...] = ()
    group: str = ""
    first_told_ms: int | None = None
    last_told_ms: int | None = None
    told_severity: Severity | None = None
    firings: int = 1
    acknowledged: Acknowledgement | None = None
    owed: bool = False


def fingerprint_of(alertname: str, network: str, resource: str) -> str:
    """Return the lasting identity of an alert: never of its severity, score or contributors."""
    words = json.dumps([alertname, network, resource], separators=(",", ":"))
    return hashlib.sha256(words.encode("ascii")).hexdigest()[:_FINGERPRINT_LETTERS]


def finite(value: float | None) -> float | None:
    """Return `value`, or None when JSON has no word for it."""
    return value if value is not None and math.isfinite(value) else None


def to_json(occurrence: Occurrence) -> str:
    """Return `occurrence` as the JSON text that the database keeps."""
    document: dict[str, object] = {field.name: getattr(occurrence, field.name) for field in fields(Occurrence)}
    document["score"] = finite(occurrence.score)
    document["threshold"] = finite(occurrence.threshold)
    document["contributors"] = [
        {
            "signal": part.signal,
            "unit": part.unit,
            "family": part.family,
            "resource": part.resource,
            "value": finite(part.value),
            "expected_low": finite(part.expected_low),
            "expected_high": finite(part.expected_high),
            "surprise": finite(part.surprise),
            "direction": part.direction,
            "recent_low": finite(part.recent_low),
            "recent_high": finite(part.recent_high),
            "network_share": finite(part.network_share),
        }
        for part in occurrence.contributors
    ]
    document["culprits"] = [
        {**asdict(who), "usual": finite(who.usual), "times": finite(who.times)} for who in occurrence.culprits
    ]
    document["change"] = asdict(occurrence.change) if occurrence.change else None
    document["precedent"] = asdict(occurrence.precedent) if occurrence.precedent else None
    document["acknowledged"] = asdict(occurrence.acknowledged) if occurrence.acknowledged else None
    return json.dumps(document, allow_nan=False, separators=(",", ":"))


def from_json(text: str) -> Occurrence:
    """Return the occurrence that `to_json` wrote; unknown keys of a later version are passed over.

    Raises StoreError when the text is not such an occurrence.
    """
    try:
        row = _Row(json.loads(text))
        return Occurrence(
            id=row.text("id"),
            fingerprint=row.text("fingerprint"),
            alertname=row.text("alertname"),
            network=row.text("network"),
            resource=row.text("resource"),
            severity=Severity(row.text("severity")),
            state=State(row.text("state")),
            started_ms=row.whole("started_ms"),
            fired_ms=row.whole_or_none("fired_ms"),
            resolved_ms=row.whole_or_none("resolved_ms"),
            score=row.number("score"),
            threshold=row.number("threshold"),
            detail=row.text("detail"),
            sentence=row.text("sentence"),
            contributors=tuple(_contributor(_Row(part)) for part in row.sequence("contributors")),
            told=tuple(str(name) for name in row.sequence("told")),
            culprits=tuple(_culprit(_Row(part)) for part in row.sequence("culprits", [])),
            change=_change(row.part("change")),
            precedent=_precedent(row.part("precedent")),
            kept=Kept(row.text("kept", "")),
            ended=tuple(str(name) for name in row.sequence("ended", [])),
            group=row.text("group", row.text("id") if row.sequence("told") else ""),  # each was told alone before
            first_told_ms=row.whole_or_none("first_told_ms", None),
            last_told_ms=row.whole_or_none("last_told_ms", None),
            told_severity=Severity(severity) if (severity := row.text_or_none("told_severity")) else None,
            firings=row.whole("firings", 1),
            acknowledged=_acknowledgement(row.part("acknowledged")),
            owed=bool(row.whole("owed", 0)),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"a stored occurrence is unreadable: {error}") from error


def _contributor(row: "_Row") -> Contributor:
    return Contributor(
        signal=row.text("signal"),
        unit=Unit(row.text("unit")),
        family=row.text("family"),
        resource=row.text("resource"),
        value=row.number_or_nan("value"),
        expected_low=row.number_or_nan("expected_low"),
        expected_high=row.number_or_nan("expected_high"),
        surprise=row.number_or_nan("surprise"),
        direction=Direction(row.text("direction", "")),
        recent_low=row.number_or_nan("recent_low", None),
        recent_high=row.number_or_nan("recent_high", None),
        network_share=row.number_or_nan("network_share", None),
    )


def _culprit(row: "_Row") -> Culprit:
    return Culprit(
        unit=row.text("unit"),
        process=row.text("process"),
        resource=Resource(row.text("resource")),
        share=row.number_or_nan("share"),
        usual=row.number_or_nan("usual"),
        times=row.number_or_nan("times", None),
    )


def _change(row: "_Row | None") -> Change | None:
    return Change(row.whole("time_ms"), ChangeKind(row.text("kind")), row.text("text")) if row else None


def _precedent(row: "_Row | None") -> Precedent | None:
    if row is None:
        return None
    return Precedent(
        row.text("occurrence"),
        row.whole("started_ms"),
        row.number_or_nan("lasted_seconds"),
        row.number_or_nan("likeness"),
    )


def _acknowledgement(row: "_Row | None") -> Acknowledgement | None:
    return Acknowledgement(row.text("author"), row.whole("time_ms")) if row else None


class _Row:
    """Typed reading of one JSON object; a wrong type raises TypeError with the key.

    `absent` is what an earlier version, that did not write the key, stands for; without it the key must be there.
    """

    def __init__(self, document: object) -> None:
        if not isinstance(document, dict):
            raise TypeError("not a JSON object")
        self._document = document

    def _get(self, key: str, absent: tuple[object, ...]) -> object:
        return self._document.get(key, absent[0]) if absent else self._document[key]

    def text(self, key: str, *absent: str) -> str:
        value = self._get(key, absent)
        if not isinstance(value, str):
            raise TypeError(f"{key} is not a text")
        return value

    def part(self, key: str) -> "_Row | None":
        value = self._document.get(key)
        return None if value is None else _Row(value)

    def text_or_none(self, key: str) -> str | None:
        return None if self._document.get(key) is None else self.text(key)

    def whole_or_none(self, key: str, *absent: int | None) -> int | None:
        value = self._get(key, absent)
        if value is not None and not isinstance(value, int):
            raise TypeError(f"{key} is not a whole number")
        return value

    def whole(self, key: str, *absent: int) -> int:
        value = self.whole_or_none(key, *absent)
        if value is None:
            raise TypeError(f"{key} is missing")
        return value

    def number(self, key: str, *absent: None) -> float | None:
        value = self._get(key, absent)
        if value is not None and not isinstance(value, int | float):
            raise TypeError(f"{key} is not a number")
        return value

    def number_or_nan(self, key: str, *absent: None) -> float:
        value = self.number(key, *absent)
        return math.nan if value is None else value

    def sequence(self, key: str, *absent: list[object]) -> list[object]:
        value = self._get(key, absent)
        if not isinstance(value, list):
            raise TypeError(f"{key} is not a list")
        return value
