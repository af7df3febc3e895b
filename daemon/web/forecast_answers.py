"""What the HTTP interface answers on capacity, as typed models; `presage` reads them too, without NumPy.

Times are UTC milliseconds, and all that is forecast is told as a share of the capacity.
"""

from daemon.web.api import Answer


class ExhaustionAnswer(Answer):
    """When a resource runs out: probabilities by time, and the time in UTC milliseconds, null = never."""

    probability: dict[str, float]
    lo80_ms: int | None
    median_ms: int | None
    hi80_ms: int | None
    text: str


class AccuracyAnswer(Answer):
    """How the past forecasts of a resource did; `mase` is null where the history was flat."""

    forecasts: int
    mase: float | None
    coverage80: float
    coverage95: float


class HorizonAnswer(Answer):
    """What is forecast over one horizon, as shares of the capacity; `needs` says what is lacking, "" = nothing."""

    name: str
    step_seconds: float
    needs: str
    methods: list[str]
    start_ms: int | None
    mean: list[float]
    lo80: list[float]
    hi80: list[float]
    lo95: list[float]
    hi95: list[float]
    history: list[tuple[int, float]]
    accuracy: AccuracyAnswer | None


class ForecastAnswer(Answer):
    """One resource. `unit` is that of `capacity`; used up is what has less than `floor_ratio` of it free."""

    resource: str
    kind: str
    unit: str
    capacity: float
    floor_ratio: float
    used_ratio: float
    made_ms: int
    exhaustion: ExhaustionAnswer
    explanation: list[str]
    horizons: list[HorizonAnswer]


class ForecastsAnswer(Answer):
    """`GET /api/v1/forecasts`: the most endangered within 30 days first."""

    forecasts: list[ForecastAnswer]
    problem: str
    next: str | None = None


class FieldProblem(Answer):
    """What is wrong with one field of the query or the body; "" is all of it."""

    field: str
    detail: str


class ProblemAnswer(Answer):
    """What went wrong, as RFC 9457 has it; `errors` is there where fields are wrong."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: tuple[FieldProblem, ...] = ()
