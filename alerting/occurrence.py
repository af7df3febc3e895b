"""One firing of an alert, as data: its identity, its evidence, and its form in the database.

Enters and leaves: immutable values and JSON text. It decides nothing and never changes an occurrence
in place.
"""

import hashlib
import json
import math
from dataclasses import dataclass, fields
from enum import StrEnum

from alerting.errors import StoreError
from alerting.policy import Severity
from detectors.findings import Contributor, Unit

_FINGERPRINT_LETTERS = 16


class State(StrEnum):
    """Where an occurrence stands."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One alert from pending to resolved; a later firing of the same alert is another occurrence.

    Times are UTC milliseconds. `score`, `threshold` and `contributors` are those of the firing, or of
    a higher peak since. `told` names the sinks that were given the firing: they alone are given the end.
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
        }
        for part in occurrence.contributors
    ]
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
    )


class _Row:
    """Typed reading of one JSON object; a wrong type raises TypeError with the key."""

    def __init__(self, document: object) -> None:
        if not isinstance(document, dict):
            raise TypeError("not a JSON object")
        self._document = document

    def text(self, key: str) -> str:
        value = self._document[key]
        if not isinstance(value, str):
            raise TypeError(f"{key} is not a text")
        return value

    def whole_or_none(self, key: str) -> int | None:
        value = self._document[key]
        if value is not None and not isinstance(value, int):
            raise TypeError(f"{key} is not a whole number")
        return value

    def whole(self, key: str) -> int:
        value = self.whole_or_none(key)
        if value is None:
            raise TypeError(f"{key} is missing")
        return value

    def number(self, key: str) -> float | None:
        value = self._document[key]
        if value is not None and not isinstance(value, int | float):
            raise TypeError(f"{key} is not a number")
        return value

    def number_or_nan(self, key: str) -> float:
        value = self.number(key)
        return math.nan if value is None else value

    def sequence(self, key: str) -> list[object]:
        value = self._document[key]
        if not isinstance(value, list):
            raise TypeError(f"{key} is not a list")
        return value
