"""What the HTTP interface says of signals and their past, as typed models; `presage` reads them too, without NumPy."""

from daemon.web.alert_answers import EvidenceAnswer
from daemon.web.api import Answer


class SeriesAnswer(Answer):
    """The past of one signal, a value a time of the answer, null = nothing measured.

    `threshold`: from where on an anomaly score is one; null for all others.
    """

    signal: str
    unit: str
    threshold: float | None
    mean: list[float | None]
    min: list[float | None]
    max: list[float | None]


class HistoryAnswer(Answer):
    """`GET /api/v1/series`: buckets of `step_seconds` that begin at `times_ms` (UTC), the same for all series.

    A row of nulls stands where time is missing. `source_seconds`: the rollups that were read, 0 = single samples.
    `missing`: what was asked for and has no value within the span.
    """

    from_ms: int
    to_ms: int
    step_seconds: float
    source_seconds: int
    times_ms: list[int]
    series: list[SeriesAnswer]
    missing: list[str]


class SignalAnswer(Answer):
    """One signal; `value` is null while it is missing."""

    id: int
    name: str
    unit: str
    kind: str
    family: str
    resource: str
    value: float | None
    first_seen_at: str
    last_seen_at: str


class SignalsAnswer(Answer):
    """`GET /api/v1/signals`, in the order of their ids; `total` fit the question."""

    signals: list[SignalAnswer]
    total: int
    next: str | None


class FindingAnswer(EvidenceAnswer):
    """One condition that holds at the last sample; `strength` is raised, or holding below its threshold."""

    alertname: str
    network: str
    resource: str
    strength: str
    detail: str
    score: float | None
    threshold: float | None


class FindingsAnswer(Answer):
    """`GET /api/v1/findings`: what the detectors say of the last sample."""

    at: str | None
    findings: list[FindingAnswer]
    next: str | None
