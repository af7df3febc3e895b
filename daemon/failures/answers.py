"""What the HTTP interface says of failures, as typed models; `presage` reads them too, and loads nothing for it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from alerting.render import rfc3339
from daemon.web.api import Answer, one_line_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daemon.failures.record import FailureEvent
    from daemon.failures.watch import SourceState

MAX_WHAT = 200  # letters
OLDEST = datetime(2000, 1, 1, tzinfo=UTC)


class FailureAnswer(Answer):
    """One failure. It happened between `since` and `at`, which are equal where that is known.

    `times` and `last_at` tell how it went on; `seen_by` is every source, `source` the one whose words these are.
    """

    at: str
    since: str
    last_at: str
    times: int
    kind: str
    resource: str
    detail: str
    source: str
    seen_by: list[str]


class SourceAnswer(Answer):
    """A source of failures; `problem` says why it cannot be read, "" = it can."""

    name: str
    problem: str


class FailuresAnswer(Answer):
    """`GET /api/v1/failures`: the newest first."""

    failures: list[FailureAnswer]
    sources: list[SourceAnswer]
    next: str | None = None


class FailureMark(BaseModel):
    """`POST /api/v1/failures`: what failed by an operator's word, in one line, and when; now where nothing is said."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    what: str = Field(min_length=1, max_length=MAX_WHAT)
    at: AwareDatetime | None = None

    @field_validator("what", mode="after")
    @classmethod
    def _one_line(cls, what: str) -> str:
        what = one_line_text(what)
        if not what:
            raise ValueError("the text must be one line that can be printed")
        return what

    @field_validator("at", mode="after")
    @classmethod
    def _after_2000(cls, at: datetime | None) -> datetime | None:
        if at is not None and at < OLDEST:
            raise ValueError("before the year 2000 nothing was watched")
        return at


def failure_answer(event: "FailureEvent") -> FailureAnswer:
    """Return a failure as the interface tells it."""
    return FailureAnswer(
        at=rfc3339(event.time_ms),
        since=rfc3339(event.since_ms),
        last_at=rfc3339(event.last_ms),
        times=event.times,
        kind=event.kind.value,
        resource=event.resource,
        detail=event.detail,
        source=event.source.value,
        seen_by=[source.value for source in event.marks],
    )


def source_answers(states: "Iterable[SourceState]") -> list[SourceAnswer]:
    """Return every source as the interface tells it."""
    return [SourceAnswer(name=state.name, problem=state.problem) for state in states]
