"""What the HTTP interface says of drift, as typed models; `presage` reads them too, and loads nothing for it."""

from typing import TYPE_CHECKING

from alerting.render import rfc3339
from daemon.web.api import Answer

if TYPE_CHECKING:
    from daemon.drift.state import DriftState

_PLACES = 4


class SignalDriftAnswer(Answer):
    """A signal that drifted: how far (0 to 1), how probable that is by chance, of how many independent samples."""

    signal: str
    distance: float
    probability: float
    effective: float


class NetworkDriftAnswer(Answer):
    """What drifted of the signals that a network is made of; `inputs` is null where too few are judged.

    `outputs`: the same of what it answers.
    """

    network: str
    inputs: float | None
    judged: int
    drifted: int
    outputs: float | None
    outputs_judged: int
    outputs_drifted: int


class DriftAnswer(Answer):
    """`GET /api/v1/drift`. Where too little is known `score` is null, and `missing` says what is lacking.

    `drifted` of `judged` signals do not follow the days from `reference_from` to `reference_until`; `examples` are the
    farthest. `earlier`: those are days of a model before, for the host runs again as it did then.
    """

    at: str | None
    state: str
    score: float | None
    warning: float
    critical: float
    missing: str
    signals: int
    judged: int
    drifted: int
    reference_from: str | None
    reference_until: str | None
    earlier: bool
    examples: list[SignalDriftAnswer]
    networks: list[NetworkDriftAnswer]


def drift_answer(state: "DriftState", warning: float, critical: float) -> DriftAnswer:
    """Return the state as the interface tells it, with the scores from which it warns."""
    return DriftAnswer(
        at=_time(state.time_ms),
        state=state.level.value,
        score=_rounded(state.score),
        warning=warning,
        critical=critical,
        missing=state.missing,
        signals=state.signals,
        judged=state.judged,
        drifted=state.drifted,
        reference_from=_time(state.first_ms),
        reference_until=_time(state.end_ms),
        earlier=state.earlier,
        examples=[
            SignalDriftAnswer(
                signal=one.signal, distance=one.distance, probability=one.probability, effective=one.effective
            )
            for one in state.examples
        ],
        networks=[
            NetworkDriftAnswer(
                network=one.network,
                inputs=_rounded(one.inputs),
                judged=one.judged,
                drifted=one.drifted,
                outputs=_rounded(one.outputs),
                outputs_judged=one.outputs_judged,
                outputs_drifted=one.outputs_drifted,
            )
            for one in state.networks
        ],
    )


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else rfc3339(time_ms)


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, _PLACES)
