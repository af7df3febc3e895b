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
            vector = unit_vector(one.contributors)
            if one.alertname == "Anomaly" and one.state is State.RESOLVED and one.resolved_ms is not None and vector:
                lasted = (one.resolved_ms - one.started_ms) / 1000
                self._past.append(_Past(Precedent(one.id, one.started_ms, lasted, 1.0), vector))

    def most_like(self, contributors: Sequence[Contributor]) -> Precedent | None:
        """Return the past occurrence with the greatest cosine, of equal ones the latest; None below 0.8."""
        vector = unit_vector(contributors)
        best: tuple[float, _Past] | None = None
        for past in self._past:
            likeness = cosine(vector, past.direction)
            if likeness >= LIKENESS and (best is None or likeness >= best[0]):
                best = likeness, past
        if best is None:
            return None
        found = best[1].precedent
        return Precedent(found.occurrence, found.started_ms, found.lasted_seconds, min(best[0], 1.0))


def unit_vector(contributors: Sequence[Contributor]) -> dict[str, float]:
    """Return the surprise by signal as a vector of length 1; {} where nothing is known to surprise."""
    known = {part.signal: part.surprise for part in contributors if isfinite(part.surprise) and part.surprise > 0}
    length = sqrt(sum(value * value for value in known.values()))
    return {signal: value / length for signal, value in known.items()} if length else {}


def cosine(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return how alike two unit vectors by signal are, 0 to 1."""
    return sum(value * other.get(signal, 0.0) for signal, value in one.items())
