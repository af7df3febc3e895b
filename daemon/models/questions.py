"""What may be asked of the three networks: one question, or several of one kind.

Enters: the body of a request. Leaves: a checked question; where it is none, the first mistake has a place and a reason.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, RootModel, Tag, model_validator

MOST_SAMPLES = 256
MOST_POINTS = 1000
MOST_ROWS = 2880  # a day at 30 s

_FARTHEST = 1e18  # an exabyte: the square of it is a number in float32 too

Finite = Annotated[float, Field(ge=-_FARTHEST, le=_FARTHEST, allow_inf_nan=False)]
Number = Finite | None
Values = dict[str, Number]
Points = Annotated[list[Number], Field(min_length=1, max_length=MOST_POINTS)]
Column = Annotated[list[Number], Field(min_length=1, max_length=MOST_ROWS)]
Columns = dict[str, Column]


class Question(BaseModel):
    """What all questions have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)  # or true is a number


class _Anomaly(Question):
    network: Literal["anomaly"] = "anomaly"


class _Capacity(Question):
    """`low` and `high` bound what can come, as 0 and the size of a disk do; `high` null = nothing does."""

    network: Literal["capacity"]
    horizon: Literal["hours", "days", "months"] = "hours"
    low: Finite = 0.0
    high: Number = None

    @model_validator(mode="after")
    def _is_ordered(self) -> "_Capacity":
        if self.high is not None and not self.low < self.high:
            raise ValueError("high is not above low")
        return self


class _Failure(Question):
    """`events`: how many failures the host has recorded itself."""

    network: Literal["failure"]
    events: int = Field(default=0, ge=0, le=10_000)


class AnomalyQuestion(_Anomaly):
    """One sample: values by the name of the signal, null = missing; all others are as they were last."""

    values: Values = {}


class CapacityQuestion(_Capacity):
    """Points of one resource, equally spaced, the newest last, null = missing."""

    points: Points


class FailureQuestion(_Failure):
    """Samples of the factors by their names, the newest last, null = missing; all are of one length."""

    factors: Columns


class AnomalyBatch(_Anomaly):
    """Several samples, each by itself the next one: not one after the other."""

    samples: list[Values] = Field(min_length=1, max_length=MOST_SAMPLES)


class CapacityBatch(_Capacity):
    """The points of several resources. Each teaches the others' bands how far forecasts err."""

    samples: list[Points] = Field(min_length=1, max_length=MOST_SAMPLES)


class FailureBatch(_Failure):
    """The factors of several hosts, or moments."""

    samples: list[Columns] = Field(min_length=1, max_length=MOST_SAMPLES)


def _network_of(given: object) -> str:
    """Return which network a body is for: the anomaly detector unless told."""
    found = given.get("network", "anomaly") if isinstance(given, dict) else getattr(given, "network", "anomaly")
    return found if isinstance(found, str) else ""


_CHOICE = Discriminator(
    _network_of,
    custom_error_type="network",
    custom_error_message='the network is "anomaly" (where none is named), "capacity" or "failure"',
)


_Question = Annotated[
    Annotated[AnomalyQuestion, Tag("anomaly")]
    | Annotated[CapacityQuestion, Tag("capacity")]
    | Annotated[FailureQuestion, Tag("failure")],
    _CHOICE,
]


class PredictRequest(RootModel[_Question]):
    """One question; without a body it is of the newest sample as it is."""

    root: _Question = AnomalyQuestion()


class PredictBatchRequest(
    RootModel[
        Annotated[
            Annotated[AnomalyBatch, Tag("anomaly")]
            | Annotated[CapacityBatch, Tag("capacity")]
            | Annotated[FailureBatch, Tag("failure")],
            _CHOICE,
        ]
    ]
):
    """Several questions of one kind."""


def as_batch(
    one: AnomalyQuestion | CapacityQuestion | FailureQuestion,
) -> AnomalyBatch | CapacityBatch | FailureBatch:
    """Return one question as a batch of one."""
    match one:
        case AnomalyQuestion():
            return AnomalyBatch(samples=[one.values])
        case CapacityQuestion():
            return CapacityBatch(
                network="capacity", horizon=one.horizon, low=one.low, high=one.high, samples=[one.points]
            )
        case FailureQuestion():
            return FailureBatch(network="failure", events=one.events, samples=[one.factors])
