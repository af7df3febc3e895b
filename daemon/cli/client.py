# ruff: noqa: PLC0415 - an answer's types are loaded when they are asked for: `presage` answers at once
"""What `presage` asks the running daemon: a function for each question.

Enters: the configuration, and what is asked or ordered. Leaves: the daemon's answer, and where programs may want it
the same as the JSON it sent; or DaemonError, one sentence on why there is none.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlencode

from daemon.cli.wire import ask, part
from daemon.config import Loaded

if TYPE_CHECKING:
    from daemon.dashboard.answers import SelfAnswer
    from daemon.drift.answers import DriftAnswer
    from daemon.failures.answers import FailureAnswer, FailuresAnswer
    from daemon.models.answers import ModelAnswer, ModelMetricsAnswer, ModelsAnswer, TrainingAnswer
    from daemon.risk.answers import RiskAnswer
    from daemon.web.alert_answers import (
        AlertDetail,
        AlertsAnswer,
        DrillAnswer,
        FeedbackAnswer,
        SilenceAnswer,
        SilencesAnswer,
        SinkTestAnswer,
        VerdictsAnswer,
    )
    from daemon.web.api import AlertAnswer, ChangeAnswer, ChangesAnswer, StatusAnswer
    from daemon.web.forecast_answers import ForecastsAnswer
    from daemon.web.series_answers import FindingsAnswer, HistoryAnswer, SignalsAnswer

_MODEL_SECONDS = 15.0  # a model file is read and written
_SINK_SECONDS = 20.0  # a sink is waited for longer than the daemon


def fetch_status(loaded: Loaded, *, seconds: float | None = None) -> "tuple[StatusAnswer, bytes]":
    """Return the daemon's status, and the same as the JSON it sent. Raises DaemonError."""
    from daemon.web.api import StatusAnswer

    return ask(loaded, "/api/v1/status", StatusAnswer, seconds=seconds)


def fetch_cost(loaded: Loaded) -> "SelfAnswer":
    """Return what the daemon itself takes. Raises DaemonError."""
    from daemon.dashboard.answers import SelfAnswer

    return ask(loaded, "/api/v1/self", SelfAnswer)[0]


def fetch_changes(loaded: Loaded, limit: int) -> "tuple[ChangesAnswer, bytes]":
    """Return the newest changes of the host, and the same as the JSON. Raises DaemonError."""
    from daemon.web.api import ChangesAnswer

    return ask(loaded, f"/api/v1/changes?limit={limit}", ChangesAnswer)


def fetch_forecasts(
    loaded: Loaded, resource: str | None = None, *, seconds: float | None = None
) -> "tuple[ForecastsAnswer, bytes]":
    """Return the forecasts of all resources, or of one with its past, and the same as the JSON. Raises DaemonError."""
    from daemon.web.forecast_answers import ForecastsAnswer

    asked = "" if resource is None else f"?resource={quote(resource.encode('utf-8', 'surrogateescape'), safe='')}"
    return ask(loaded, f"/api/v1/forecasts{asked}", ForecastsAnswer, seconds=seconds)


def fetch_history(loaded: Loaded, signals: Sequence[str], seconds_back: float, points: int) -> "HistoryAnswer":
    """Return the past of signals up to now, in `points` buckets at most. Raises DaemonError."""
    from daemon.web.series_answers import HistoryAnswer

    to_ms = time.time_ns() // 1_000_000
    asked = [("signal", one) for one in signals]
    span = [("from", to_ms - round(seconds_back * 1000)), ("to", to_ms), ("points", points)]
    return ask(loaded, f"/api/v1/series?{urlencode([*asked, *span])}", HistoryAnswer)[0]


def fetch_findings(loaded: Loaded) -> "FindingsAnswer":
    """Return what the detectors say of the last sample. Raises DaemonError."""
    from daemon.web.series_answers import FindingsAnswer

    return ask(loaded, "/api/v1/findings", FindingsAnswer)[0]


def fetch_signals(loaded: Loaded, limit: int, *, seconds: float | None = None) -> "SignalsAnswer":
    """Return the signals with their newest values. Raises DaemonError."""
    from daemon.web.series_answers import SignalsAnswer

    return ask(loaded, f"/api/v1/signals?limit={limit}", SignalsAnswer, seconds=seconds)[0]


def mark_change(loaded: Loaded, text: str) -> "ChangeAnswer":
    """Tell the daemon of a change. Raises DaemonError."""
    from daemon.web.api import ChangeAnswer

    return ask(loaded, "/api/v1/changes", ChangeAnswer, "POST", {"text": text})[0]


def fetch_risk(loaded: Loaded) -> "tuple[RiskAnswer, bytes]":
    """Return how likely the host fails and why, and the same as the JSON. Raises DaemonError."""
    from daemon.risk.answers import RiskAnswer

    return ask(loaded, "/api/v1/risk", RiskAnswer)


def fetch_drift(loaded: Loaded) -> "tuple[DriftAnswer, bytes]":
    """Return which signals drifted, and the same as the JSON. Raises DaemonError."""
    from daemon.drift.answers import DriftAnswer

    return ask(loaded, "/api/v1/drift", DriftAnswer)


def fetch_failures(loaded: Loaded, limit: int) -> "tuple[FailuresAnswer, bytes]":
    """Return the newest failures of the host, and the same as the JSON. Raises DaemonError."""
    from daemon.failures.answers import FailuresAnswer

    return ask(loaded, f"/api/v1/failures?limit={limit}", FailuresAnswer)


def mark_failure(loaded: Loaded, what: str, at: datetime | None) -> "FailureAnswer":
    """Tell the daemon of a failure, now where `at` is None. Raises DaemonError."""
    from daemon.failures.answers import FailureAnswer

    sent = {"what": what, "at": None if at is None else at.isoformat()}
    return ask(loaded, "/api/v1/failures", FailureAnswer, "POST", sent)[0]


def fetch_alerts(loaded: Loaded, limit: int, *, seconds: float | None = None) -> "AlertsAnswer":
    """Return the newest alerts, those that are over too. Raises DaemonError."""
    from daemon.web.alert_answers import AlertsAnswer

    return ask(loaded, f"/api/v1/alerts?limit={limit}", AlertsAnswer, seconds=seconds)[0]


def fetch_alert(loaded: Loaded, alert: str) -> "tuple[AlertDetail, bytes]":
    """Return all about an alert, and the same as the JSON. Raises DaemonError."""
    from daemon.web.alert_answers import AlertDetail

    return ask(loaded, f"/api/v1/alerts/{part(alert)}", AlertDetail)


def acknowledge(loaded: Loaded, alert: str, author: str) -> "AlertAnswer":
    """Take an alert in hand. Raises DaemonError."""
    from daemon.web.api import AlertAnswer

    return ask(loaded, f"/api/v1/alerts/{part(alert)}/ack", AlertAnswer, "POST", {"author": author})[0]


def give_feedback(
    loaded: Loaded, alert: str, verdict: str, author: str, *, comment: str, every: str
) -> "FeedbackAnswer":
    """Say what an alert was. Raises DaemonError."""
    from daemon.web.alert_answers import FeedbackAnswer

    sent = {"verdict": verdict, "author": author, "comment": comment, "every": every}
    return ask(loaded, f"/api/v1/alerts/{part(alert)}/feedback", FeedbackAnswer, "POST", sent)[0]


def undo_feedback(loaded: Loaded, alert: str, author: str) -> "FeedbackAnswer":
    """Take back the newest verdict on an alert. Raises DaemonError."""
    from daemon.web.alert_answers import FeedbackAnswer

    return ask(loaded, f"/api/v1/alerts/{part(alert)}/feedback", FeedbackAnswer, "DELETE", {"author": author})[0]


def fetch_verdicts(loaded: Loaded) -> "tuple[VerdictsAnswer, bytes]":
    """Return what verdicts change now, and the same as the JSON. Raises DaemonError."""
    from daemon.web.alert_answers import VerdictsAnswer

    return ask(loaded, "/api/v1/verdicts", VerdictsAnswer)


def fetch_silences(loaded: Loaded, *, seconds: float | None = None) -> "tuple[SilencesAnswer, bytes]":
    """Return the silences that are not over, and the same as the JSON. Raises DaemonError."""
    from daemon.web.alert_answers import SilencesAnswer

    return ask(loaded, "/api/v1/silences", SilencesAnswer, seconds=seconds)


def add_silence(loaded: Loaded, wanted: Mapping[str, object]) -> "SilenceAnswer":
    """Add a silence, as `SilenceRequest` has it. Raises DaemonError."""
    from daemon.web.alert_answers import SilenceAnswer

    return ask(loaded, "/api/v1/silences", SilenceAnswer, "POST", wanted)[0]


def expire_silence(loaded: Loaded, silence: str, author: str) -> "SilenceAnswer":
    """End a silence now. Raises DaemonError."""
    from daemon.web.alert_answers import SilenceAnswer

    return ask(loaded, f"/api/v1/silences/{part(silence)}", SilenceAnswer, "DELETE", {"author": author})[0]


def fetch_models(loaded: Loaded, *, seconds: float | None = None) -> "tuple[ModelsAnswer, bytes]":
    """Return all models, and the same as the JSON. Raises DaemonError."""
    from daemon.models.answers import ModelsAnswer

    return ask(loaded, "/api/v1/neural/models", ModelsAnswer, seconds=seconds)


def fetch_model(loaded: Loaded, model: str) -> "tuple[ModelAnswer, ModelMetricsAnswer]":
    """Return one model and what was measured of it. Raises DaemonError."""
    from daemon.models.answers import ModelAnswer, ModelMetricsAnswer

    path = f"/api/v1/neural/models/{part(model)}"
    return ask(loaded, path, ModelAnswer)[0], ask(loaded, f"{path}/metrics", ModelMetricsAnswer)[0]


def order_model(loaded: Loaded, model: str, order: Literal["promote", "pin"], *, undo: bool = False) -> "ModelAnswer":
    """Promote or pin a model, or undo the latter. Raises DaemonError."""
    from daemon.models.answers import ModelAnswer

    path = f"/api/v1/neural/models/{part(model)}/{order}"
    return ask(loaded, path, ModelAnswer, "DELETE" if undo else "POST", {}, seconds=_MODEL_SECONDS)[0]


def roll_back(loaded: Loaded) -> "ModelAnswer":
    """Let the predecessor serve again. Raises DaemonError."""
    from daemon.models.answers import ModelAnswer

    return ask(loaded, "/api/v1/neural/rollback", ModelAnswer, "POST", {}, seconds=_MODEL_SECONDS)[0]


def start_training(loaded: Loaded, network: str) -> "TrainingAnswer":
    """Train `network` as soon as the child is free. Raises DaemonError."""
    from daemon.models.answers import TrainingAnswer

    return ask(loaded, "/api/v1/neural/train", TrainingAnswer, "POST", {"network": network})[0]


def fetch_training(loaded: Loaded, number: str) -> "tuple[TrainingAnswer, bytes]":
    """Return how far a training is and what it said, and the same as the JSON. Raises DaemonError."""
    from daemon.models.answers import TrainingAnswer

    return ask(loaded, f"/api/v1/neural/train/{part(number)}", TrainingAnswer)


def cancel_training(loaded: Loaded, number: str) -> "TrainingAnswer":
    """Stop a training. Raises DaemonError."""
    from daemon.models.answers import TrainingAnswer

    return ask(loaded, f"/api/v1/neural/train/{part(number)}", TrainingAnswer, "DELETE")[0]


def start_drill(loaded: Loaded, author: str) -> "DrillAnswer":
    """Let the next sample carry a drill. Raises DaemonError."""
    from daemon.web.alert_answers import DrillAnswer

    return ask(loaded, "/api/v1/drill", DrillAnswer, "POST", {"author": author})[0]


def try_sink(loaded: Loaded, sink: str) -> "SinkTestAnswer":
    """Send a test to a sink and return how that went. Raises DaemonError."""
    from daemon.web.alert_answers import SinkTestAnswer

    return ask(loaded, f"/api/v1/sinks/{part(sink)}/test", SinkTestAnswer, "POST", {}, seconds=_SINK_SECONDS)[0]
