"""What the HTTP interface says of the risk, as typed models; `presage` reads them too, and loads nothing for it."""

from math import isfinite
from typing import TYPE_CHECKING

from alerting.render import rfc3339
from daemon.web.api import Answer, RiskInBrief

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daemon.failures.families import ErrorPattern
    from daemon.risk.refining import Attempt
    from daemon.risk.state import RiskState
    from detectors.failure import Estimate

MOST_ERRORS = 5
_PLACES = 4


class ProbabilityAnswer(Answer):
    """A probability, and the bounds within which it stands at 80 %."""

    probability: float
    lo80: float
    hi80: float


class ReasonAnswer(Answer):
    """What raises the risk: a factor, or "history", the host's own failures. `share` is null where capacity says it."""

    factor: str
    about: str
    share: float | None
    text: str


class ErrorAnswer(Answer):
    """The newest message of a family of errors, redacted by [privacy] log_text."""

    at: str
    speaker: str
    family: str
    severity: str
    times: int
    text: str


class RefinementAnswer(Answer):
    """When it was last tried to refine the failure network by this host's own failures, and what came of it."""

    at: str
    text: str


class GradeAnswer(Answer):
    """How well what was told came true: 1 / (1 + Brier score / that of the base rate); null where it is not known."""

    performance: float | None
    baseline: float | None
    degraded: bool
    text: str


class RiskAnswer(Answer):
    """`GET /api/v1/risk`. Without enough evidence both probabilities are null, and `missing` says what is lacking.

    `factors` of `of_factors` are there; `events`: failures that the host has recorded itself.
    """

    at: str | None
    within_1h: ProbabilityAnswer | None
    within_24h: ProbabilityAnswer | None
    missing: str
    basis: str
    factors: int
    of_factors: int
    events: int
    reasons: list[ReasonAnswer]
    errors: list[ErrorAnswer]
    refinement: RefinementAnswer | None = None
    grade: GradeAnswer | None = None


def risk_answer(
    state: "RiskState", of_factors: int, patterns: "Iterable[ErrorPattern]", refinement: "Attempt | None" = None
) -> RiskAnswer:
    """Return the risk as the interface tells it, with the newest `patterns` of errors and the last `refinement`."""
    return RiskAnswer(
        at=None if state.time_ms is None else rfc3339(state.time_ms),
        within_1h=None if state.hour is None else probability_answer(state.hour),
        within_24h=None if state.day is None else probability_answer(state.day),
        missing=state.missing,
        basis=state.basis,
        factors=state.factors,
        of_factors=of_factors,
        events=state.events,
        reasons=[
            ReasonAnswer(
                factor=one.factor,
                about=one.about,
                share=round(one.share, _PLACES) if isfinite(one.share) else None,
                text=one.text,
            )
            for one in state.reasons
        ],
        errors=[_error(one) for one, _ in zip(patterns, range(MOST_ERRORS), strict=False)],
        refinement=RefinementAnswer(at=rfc3339(refinement.time_ms), text=refinement.text) if refinement else None,
        grade=GradeAnswer(
            performance=_rounded(state.grade.performance),
            baseline=_rounded(state.grade.baseline),
            degraded=state.grade.degraded,
            text=state.grade.text,
        ),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _PLACES)


def risk_in_brief(state: "RiskState") -> RiskInBrief:
    """Return the risk as the status tells it."""
    return RiskInBrief(
        within_1h=None if state.hour is None else round(state.hour.probability, _PLACES),
        within_24h=None if state.day is None else round(state.day.probability, _PLACES),
        missing=state.missing,
        text=state.reasons[0].text if state.reasons else "",
    )


def probability_answer(one: "Estimate") -> ProbabilityAnswer:
    """Return a probability as the interface tells it."""
    return ProbabilityAnswer(
        probability=round(one.probability, _PLACES), lo80=round(one.lo, _PLACES), hi80=round(one.hi, _PLACES)
    )


def _error(one: "ErrorPattern") -> ErrorAnswer:
    return ErrorAnswer(
        at=rfc3339(one.last_ms),
        speaker=str(one.belongs.speaker),
        family=str(one.belongs.family),
        severity=str(one.belongs.severity),
        times=one.count,
        text=one.text,
    )
