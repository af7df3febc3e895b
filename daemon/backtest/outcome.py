"""What a report of a backtest holds: immutable values, times in UTC milliseconds."""

from collections.abc import Mapping
from dataclasses import dataclass

from daemon.backtest.forecasts import ForecastReport
from detectors.findings import Contributor

# what a notification says of an alert
BEGAN, AGAIN, GRAVITY, ENDED = "began", "again", "gravity", "ended"


@dataclass(frozen=True, slots=True)
class Lead:
    """How long after its first telling something showed harm; below zero where harm came first.

    `seconds` None: nothing followed within `looked_seconds`, a day or what is left of the history. `harm` says what.
    """

    seconds: float | None
    harm: str
    looked_seconds: float


@dataclass(frozen=True, slots=True)
class Told:
    """One notification, to all sinks that were given the same at the same time.

    `what` is "began", "again", "gravity" or "ended"; `others` counts what is told beside the first. `lead` is None
    where this is not the first telling, and for a fact, which is harm itself (`is_fact`). `contributors` are those
    of its sentence: a later peak has others.
    """

    time_ms: int
    sinks: tuple[str, ...]
    what: str
    severity: str
    alertname: str
    resource: str
    sentence: str
    occurrence: str
    others: int
    learning: bool
    is_fact: bool
    lead: Lead | None
    contributors: tuple[Contributor, ...]
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """An alert that nobody would have been told of: when it fired, since when it held, when it was over."""

    time_ms: int
    started_ms: int
    resolved_ms: int | None
    alertname: str
    resource: str
    sentence: str
    occurrence: str
    kept: str
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Week:
    """Seven days from the first sample on: `days` of samples, of which `judged_days` came after the learning."""

    from_ms: int
    to_ms: int
    days: float
    judged_days: float
    episodes: int
    records: int


@dataclass(frozen=True, slots=True)
class Firing:
    """When a simple method fired, on what, and how grave it calls it."""

    from_ms: int
    to_ms: int
    severity: str
    resource: str


@dataclass(frozen=True, slots=True)
class Beside:
    """A simple method over all its resources; `near_*` count what of ours fired within an hour of it."""

    name: str
    kind: str
    counted: int
    per_week: float
    firings: tuple[Firing, ...]
    near_notifications: int
    near_records: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was not judged, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """All that is said of one backtest. `from_ms` and `to_ms` are None without a sample.

    `notifications`, oldest first, are those of the learning time too; `would_have_sent` counts the alerts that were
    kept then because the host was still being learned. `ceiling` is in episodes a week. `forecasts` is None where
    there was nothing to forecast.
    """

    name: str
    host: str
    notify: str
    from_ms: int | None
    to_ms: int | None
    interval_seconds: float
    samples: int
    imported: int
    signals: int
    learning_days: float
    learned_days: float
    judged_days: float
    notifications: tuple[Told, ...]
    would_have_sent: int
    digests: int
    records: int
    newest_records: tuple[Record, ...]
    weeks: tuple[Week, ...]
    episodes: int
    judged_episodes: int
    ceiling: float
    alarmed_share: float | None
    beside: tuple[Beside, ...]
    skipped: tuple[Skipped, ...]
    models: int
    seconds: float
    forecasts: ForecastReport | None = None
    comparison: "Comparison | None" = None

    @property
    def judged_notifications(self) -> tuple[Told, ...]:
        """Those of the time after the learning."""
        return tuple(told for told in self.notifications if not told.learning)

    @property
    def verdicts(self) -> Mapping[str, str]:
        """What operators said of the alerts that were told, by id."""
        return {told.occurrence: told.verdict for told in self.notifications if told.verdict}

    @property
    def judged_weeks(self) -> float:
        """The time after the learning, in weeks."""
        return self.judged_days / 7


@dataclass(frozen=True, slots=True)
class Comparison:
    """The other backtest of the same history, and what only one of the two would have told the beginning of."""

    other: Report
    only_first: tuple[Told, ...]
    only_second: tuple[Told, ...]
