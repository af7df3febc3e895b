"""What the page asks of noise and of the daemon's own cost, as typed models; `presage` may read them too."""

from daemon.web.api import Answer

# More than this for an hour is told: with a sample a second a usual host takes a third of it at most.
COSTLY_CPU_RATIO, COSTLY_BYTES = 0.05, 300_000_000


class SinkMonthAnswer(Answer):
    """What one sink took."""

    name: str
    delivered: int
    failed: int
    pending: int


class MonthAnswer(Answer):
    """`GET /api/v1/month`: what was sent in the last 30 days, and what share of it was judged real.

    `since`: when the 30 days began, or this host's record if that is younger. Of the alerts that fired, `sent` were
    told to somebody and `kept` were records. `real`, `false` and `expected` count verdicts on those that were sent;
    `share_real` is null before the first one. `verdicts`: the word that counts, by alert, of all that fired.
    """

    since: str
    fired: int
    sent: int
    kept: int
    real: int
    false: int
    expected: int
    share_real: float | None
    sinks: list[SinkMonthAnswer]
    verdicts: dict[str, str]


class SelfAnswer(Answer):
    """`GET /api/v1/self`: what presaged costs this host. What is not known yet is null.

    `cpu_ratio` is a share of one processor since the start; ticks are those since the start. Sizes are of the files
    with what belongs to them.
    """

    cpu_ratio: float | None
    resident_bytes: int | None
    threads: int | None
    ticks: int
    tick_mean_seconds: float | None
    history_bytes: int
    state_bytes: int
    models_bytes: int
    first_sample_at: str | None
