"""Which earlier occurrence was most like this one, by the signals that contributed.

Enters: resolved occurrences, and the contributors of now. Leaves: a precedent or None. It judges nothing:
alike is what the same signals surprised in about the same measure.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

from alerting.occurrence import Occurrence, State
from detectors.findings import Contributor, Precedent

LIKENESS = 0.8
_KEPT = 500


@dataclass(frozen=True, slots=True)
class _Past:
    precedent: Precedent
    direction: Mapping[str, float]


class Precedents:
    """The last 500 resolved anomalies as unit vectors of surprise by signal."""

    def __init__(self) -> None:
        self._past: deque[_Past] = deque(maxlen=_KEPT)

    def learn(self, occurrences: Iterable[Occurrence]) -> None:
        """Take in occurrences, the oldest first; those that are not resolved anomalies are passed over."""
        for one in occurrences:
            vector = _unit_vector(one.contributors)
            if one.alertname == "Anomaly" and one.state is State.RESOLVED and one.resolved_ms is not None and vector:
                lasted = (one.resolved_ms - one.started_ms) / 1000
                self._past.append(_Past(Precedent(one.id, one.started_ms, lasted, 1.0), vector))

    def most_like(self, contributors: Sequence[Contributor]) -> Precedent | None:
        """Return the past occurrence with the greatest cosine, of equal ones the latest; None below 0.8."""
        vector = _unit_vector(contributors)
        best: tuple[float, _Past] | None = None
        for past in self._past:
            likeness = sum(value * past.direction.get(signal, 0.0) for signal, value in vector.items())
            if likeness >= LIKENESS and (best is None or likeness >= best[0]):
                best = likeness, past
        if best is None:
            return None
        found = best[1].precedent
        return Precedent(found.occurrence, found.started_ms, found.lasted_seconds, min(best[0], 1.0))


def _unit_vector(contributors: Sequence[Contributor]) -> dict[str, float]:
    known = {part.signal: part.surprise for part in contributors if isfinite(part.surprise) and part.surprise > 0}
    length = sqrt(sum(value * value for value in known.values()))
    return {signal: value / length for signal, value in known.items()} if length else {}
