"""The running daemon as `presage` sees it: one question over HTTP, one typed answer.

Enters: the configuration, and what is asked or ordered. Leaves: the daemon's answer, or one sentence on why there is
none. It asks this host only, follows no redirect and no proxy, and shows the token to nobody but the daemon's own user.
"""

import contextlib
import http.client
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from daemon.alert_answers import (
    AlertDetail,
    AlertsAnswer,
    DrillAnswer,
    FeedbackAnswer,
    SilenceAnswer,
    SilencesAnswer,
    SinkTestAnswer,
    VerdictsAnswer,
)
from daemon.api import AlertAnswer, ChangeAnswer, ChangesAnswer, StatusAnswer
from daemon.config import Loaded, split_address
from daemon.drift.answers import DriftAnswer
from daemon.errors import DaemonError, NotRunning
from daemon.failures.answers import FailureAnswer, FailuresAnswer
from daemon.forecast_answers import ForecastsAnswer, ProblemAnswer
from daemon.models.answers import ModelAnswer, ModelMetricsAnswer, ModelsAnswer, TrainingAnswer
from daemon.risk.answers import RiskAnswer

_SECONDS = 5.0
_MODEL_SECONDS = 15.0  # a model file is read and written
_SINK_SECONDS = 20.0  # a sink is waited for longer than the daemon
_LARGEST = 8 * 1024 * 1024
_LISTENING = "0A"
_DONE = (http.client.OK, http.client.CREATED, http.client.ACCEPTED)
_REFUSED = (http.client.BAD_REQUEST, http.client.SERVICE_UNAVAILABLE)
_NOT_TO_BE_HAD = (http.client.NOT_FOUND, http.client.CONFLICT)

Method = Literal["GET", "POST", "DELETE"]
T = TypeVar("T", bound=BaseModel)


def fetch_status(loaded: Loaded) -> tuple[StatusAnswer, bytes]:
    """Return the daemon's status, and the same as the JSON it sent. Raises DaemonError."""
    return _ask(loaded, "/api/v1/status", StatusAnswer)


def fetch_changes(loaded: Loaded, limit: int) -> tuple[ChangesAnswer, bytes]:
    """Return the newest changes of the host, and the same as the JSON. Raises DaemonError."""
    return _ask(loaded, f"/api/v1/changes?limit={limit}", ChangesAnswer)


def fetch_forecasts(loaded: Loaded, resource: str | None = None) -> tuple[ForecastsAnswer, bytes]:
    """Return the forecasts of all resources, or of one with its past, and the same as the JSON. Raises DaemonError."""
    asked = "" if resource is None else f"?resource={quote(resource.encode('utf-8', 'surrogateescape'), safe='')}"
    return _ask(loaded, f"/api/v1/forecasts{asked}", ForecastsAnswer)


def mark_change(loaded: Loaded, text: str) -> ChangeAnswer:
    """Tell the daemon of a change. Raises DaemonError."""
    return _ask(loaded, "/api/v1/changes", ChangeAnswer, "POST", {"text": text})[0]


def fetch_risk(loaded: Loaded) -> tuple[RiskAnswer, bytes]:
    """Return how likely the host fails and why, and the same as the JSON. Raises DaemonError."""
    return _ask(loaded, "/api/v1/risk", RiskAnswer)


def fetch_drift(loaded: Loaded) -> tuple[DriftAnswer, bytes]:
    """Return which signals drifted, and the same as the JSON. Raises DaemonError."""
    return _ask(loaded, "/api/v1/drift", DriftAnswer)


def fetch_failures(loaded: Loaded, limit: int) -> tuple[FailuresAnswer, bytes]:
    """Return the newest failures of the host, and the same as the JSON. Raises DaemonError."""
    return _ask(loaded, f"/api/v1/failures?limit={limit}", FailuresAnswer)


def mark_failure(loaded: Loaded, what: str, at: datetime | None) -> FailureAnswer:
    """Tell the daemon of a failure, now where `at` is None. Raises DaemonError."""
    sent = {"what": what, "at": None if at is None else at.isoformat()}
    return _ask(loaded, "/api/v1/failures", FailureAnswer, "POST", sent)[0]


def fetch_alerts(loaded: Loaded, limit: int) -> AlertsAnswer:
    """Return the newest alerts, those that are over too. Raises DaemonError."""
    return _ask(loaded, f"/api/v1/alerts?limit={limit}", AlertsAnswer)[0]


def fetch_alert(loaded: Loaded, alert: str) -> tuple[AlertDetail, bytes]:
    """Return all about an alert, and the same as the JSON. Raises DaemonError."""
    return _ask(loaded, f"/api/v1/alerts/{_part(alert)}", AlertDetail)


def acknowledge(loaded: Loaded, alert: str, author: str) -> AlertAnswer:
    """Take an alert in hand. Raises DaemonError."""
    return _ask(loaded, f"/api/v1/alerts/{_part(alert)}/ack", AlertAnswer, "POST", {"author": author})[0]


def give_feedback(loaded: Loaded, alert: str, verdict: str, author: str, *, comment: str, every: str) -> FeedbackAnswer:
    """Say what an alert was. Raises DaemonError."""
    sent = {"verdict": verdict, "author": author, "comment": comment, "every": every}
    return _ask(loaded, f"/api/v1/alerts/{_part(alert)}/feedback", FeedbackAnswer, "POST", sent)[0]


def undo_feedback(loaded: Loaded, alert: str, author: str) -> FeedbackAnswer:
    """Take back the newest verdict on an alert. Raises DaemonError."""
    return _ask(loaded, f"/api/v1/alerts/{_part(alert)}/feedback", FeedbackAnswer, "DELETE", {"author": author})[0]


def fetch_verdicts(loaded: Loaded) -> tuple[VerdictsAnswer, bytes]:
    """Return what verdicts change now, and the same as the JSON. Raises DaemonError."""
    return _ask(loaded, "/api/v1/verdicts", VerdictsAnswer)


def fetch_silences(loaded: Loaded) -> tuple[SilencesAnswer, bytes]:
    """Return the silences that are not over, and the same as the JSON. Raises DaemonError."""
    return _ask(loaded, "/api/v1/silences", SilencesAnswer)


def add_silence(loaded: Loaded, wanted: Mapping[str, object]) -> SilenceAnswer:
    """Add a silence, as `SilenceRequest` has it. Raises DaemonError."""
    return _ask(loaded, "/api/v1/silences", SilenceAnswer, "POST", wanted)[0]


def expire_silence(loaded: Loaded, silence: str, author: str) -> SilenceAnswer:
    """End a silence now. Raises DaemonError."""
    return _ask(loaded, f"/api/v1/silences/{_part(silence)}", SilenceAnswer, "DELETE", {"author": author})[0]


def fetch_models(loaded: Loaded) -> tuple[ModelsAnswer, bytes]:
    """Return all models, and the same as the JSON. Raises DaemonError."""
    return _ask(loaded, "/api/v1/neural/models", ModelsAnswer)


def fetch_model(loaded: Loaded, model: str) -> tuple[ModelAnswer, ModelMetricsAnswer]:
    """Return one model and what was measured of it. Raises DaemonError."""
    path = f"/api/v1/neural/models/{_part(model)}"
    return _ask(loaded, path, ModelAnswer)[0], _ask(loaded, f"{path}/metrics", ModelMetricsAnswer)[0]


def order_model(loaded: Loaded, model: str, order: Literal["promote", "pin"], *, undo: bool = False) -> ModelAnswer:
    """Promote or pin a model, or undo the latter. Raises DaemonError."""
    path = f"/api/v1/neural/models/{_part(model)}/{order}"
    return _ask(loaded, path, ModelAnswer, "DELETE" if undo else "POST", {}, seconds=_MODEL_SECONDS)[0]


def roll_back(loaded: Loaded) -> ModelAnswer:
    """Let the predecessor serve again. Raises DaemonError."""
    return _ask(loaded, "/api/v1/neural/rollback", ModelAnswer, "POST", {}, seconds=_MODEL_SECONDS)[0]


def start_training(loaded: Loaded) -> TrainingAnswer:
    """Train as soon as the child is free. Raises DaemonError."""
    return _ask(loaded, "/api/v1/neural/train", TrainingAnswer, "POST", {})[0]


def fetch_training(loaded: Loaded, number: str) -> tuple[TrainingAnswer, bytes]:
    """Return how far a training is and what it said, and the same as the JSON. Raises DaemonError."""
    return _ask(loaded, f"/api/v1/neural/train/{_part(number)}", TrainingAnswer)


def cancel_training(loaded: Loaded, number: str) -> TrainingAnswer:
    """Stop a training. Raises DaemonError."""
    return _ask(loaded, f"/api/v1/neural/train/{_part(number)}", TrainingAnswer, "DELETE")[0]


def start_drill(loaded: Loaded, author: str) -> DrillAnswer:
    """Let the next sample carry a drill. Raises DaemonError."""
    return _ask(loaded, "/api/v1/drill", DrillAnswer, "POST", {"author": author})[0]


def try_sink(loaded: Loaded, sink: str) -> SinkTestAnswer:
    """Send a test to a sink and return how that went. Raises DaemonError."""
    return _ask(loaded, f"/api/v1/sinks/{_part(sink)}/test", SinkTestAnswer, "POST", {}, seconds=_SINK_SECONDS)[0]


def _part(name: str) -> str:
    """Return what an operator typed as one part of a path, which is never empty nor "..": both would lead elsewhere."""
    part = quote(name.encode("utf-8", "surrogateescape"), safe="")
    return part if part.strip(".") else "%20"


def _ask(
    loaded: Loaded,
    path: str,
    model: type[T],
    method: Method = "GET",
    sent: Mapping[str, object] | None = None,
    *,
    seconds: float | None = None,
) -> tuple[T, bytes]:
    """Return the daemon's answer; `sent` goes as JSON, `seconds` is the longest wait."""
    host, port = _address(loaded.config.http.listen)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    token, lacking = _token(loaded.state_directory / "token", port)
    text = None if sent is None else json.dumps(sent, ensure_ascii=False).encode("utf-8", "replace")
    status, kind, body = _exchange(
        (host, port), where, method=method, path=path, token=token, sent=text, seconds=seconds or _SECONDS
    )
    said = " ".join((_detail(body) if kind.startswith(_PROBLEM) else body.decode("utf-8", "replace")).split())[:300]
    if status == http.client.UNAUTHORIZED:
        raise DaemonError(f"presaged on {where} does not let us in: {lacking}")
    if status in _REFUSED:
        raise DaemonError(f"presaged on {where} refused: {said}")
    if status in _NOT_TO_BE_HAD and kind.startswith(("text/plain", _PROBLEM)) and said:
        raise DaemonError(said)
    if status not in _DONE:
        raise DaemonError(f"what answers on {where} is not presaged (HTTP status {status}); {_OTHER_PORT}")
    try:
        return model.model_validate_json(body), body
    except ValidationError as error:
        raise DaemonError(f"what answers on {where} is not this presaged; {_OTHER_PORT}") from error


_OTHER_PORT = "see [http] listen"
_PROBLEM = "application/problem+json"


def _detail(body: bytes) -> str:
    """Return what went wrong, "" where the answer does not say it in our form."""
    try:
        return ProblemAnswer.model_validate_json(body).detail
    except ValidationError:
        return ""


def _address(listen: str) -> tuple[str, int]:
    """Where to ask: the numeric address that the daemon binds, loopback where it binds every one."""
    host, port = split_address(listen)
    if port == 0:
        raise DaemonError("[http] listen has the port 0, which is another at every start: give a fixed one")
    try:
        numeric = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
        address = ipaddress.ip_address(numeric)
    except (OSError, ValueError) as error:
        raise DaemonError(f"[http] listen: {listen} is not an address of this host") from error
    if address.is_unspecified:
        numeric = "127.0.0.1" if address.version == 4 else "::1"  # noqa: PLR2004 - the IP version
    return numeric, port


def _token(path: Path, port: int) -> tuple[str | None, str]:
    """Return the token, None when it cannot or may not be shown, and what to do if that is not enough.

    Whoever takes the port while the daemon is down must not be handed it.
    """
    try:
        owner, token = path.stat().st_uid, path.read_text(encoding="ascii").strip()
    except PermissionError:
        return None, f"{path} holds the token and is not ours to read; try as root"
    except (OSError, ValueError):
        return None, f"there is no token in {path}; name the daemon's configuration with --config"
    if not _listeners(port) or not _listeners(port) <= {0, owner}:
        return None, "the port belongs to another user than the token, which was not shown"
    return token or None, f"it refused the token of {path}; name the daemon's configuration with --config"


def _listeners(port: int) -> set[int]:
    """User ids of all that listen on `port` in this network namespace."""
    users = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:  # no IPv6 here
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                users.add(int(fields[7]))
    return users


def _exchange(
    address: tuple[str, int],
    where: str,
    *,
    method: Method,
    path: str,
    token: str | None,
    sent: bytes | None,
    seconds: float,
) -> tuple[int, str, bytes]:
    """Return status, content type and body of the answer."""
    deadline = time.monotonic() + seconds
    connection = http.client.HTTPConnection(*address, timeout=seconds)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if sent is not None:
        headers["Content-Type"] = "application/json"
    limit = threading.Timer(seconds, _cut, (connection,))  # the timeout is for one read: headers may come drop by drop
    limit.daemon = True
    limit.start()
    late = f"{where} gave no answer within {seconds:g} s; see `journalctl -u presaged`"
    try:
        connection.request(method, path, body=sent, headers=headers)
        response = connection.getresponse()
        body = b""
        while chunk := response.read1(65_536):
            body += chunk
            if len(body) > _LARGEST or time.monotonic() > deadline:
                raise DaemonError(f"what answers on {where} does not end; {_OTHER_PORT}")
        return response.status, response.getheader("Content-Type", ""), body
    except ConnectionRefusedError as error:
        raise NotRunning(f"nothing runs on {where}; `systemctl start presaged` or `make run`") from error
    except TimeoutError as error:
        raise DaemonError(late) from error
    except OSError as error:
        if time.monotonic() > deadline:
            raise DaemonError(late) from error
        raise DaemonError(f"{where}: {error.strerror or 'the connection was lost'}; {_OTHER_PORT}") from error
    except (http.client.HTTPException, ValueError) as error:
        if time.monotonic() > deadline:
            raise DaemonError(late) from error
        raise DaemonError(f"what answers on {where} does not speak HTTP; {_OTHER_PORT}") from error
    finally:
        limit.cancel()
        connection.close()


def _cut(connection: http.client.HTTPConnection) -> None:
    if connection.sock is not None:
        with contextlib.suppress(OSError):  # it has just ended by itself
            connection.sock.shutdown(socket.SHUT_RDWR)
