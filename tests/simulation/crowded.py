"""A host on which all happens at once, as a daemon would tell it: long names, many digits, letters of other scripts.

Enters: nothing. Leaves: an answer for each question of `presage`, and a server that gives them and keeps what it is
told. Every answer is made by its own model, so that none can say what the daemon would not.
"""

import json
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from daemon.drift.answers import DriftAnswer
from daemon.failures.answers import FailuresAnswer
from daemon.models.answers import ModelAnswer, ModelMetricsAnswer, ModelsAnswer, TrainingAnswer
from daemon.risk.answers import RiskAnswer
from daemon.web.alert_answers import AlertDetail, AlertsAnswer, FeedbackAnswer, SilencesAnswer, VerdictsAnswer
from daemon.web.api import AlertAnswer, ChangesAnswer, StatusAnswer
from daemon.web.forecast_answers import ForecastsAnswer
from daemon.web.series_answers import FindingsAnswer, HistoryAnswer, SignalsAnswer

MOUNT = "/var/lib/kubernetes/pods/日本語-データ/volumes/" + "long-" * 14 + "end"
UNIT = "backup-of-the-customers-database-to-the-other-site@" + "0123456789abcdef" * 3 + ".service"
SIGNAL = "disk.nvme-Samsung_SSD_990_PRO_4TB_S7KGNJ0W912345.write_bytes_per_second"
PLAIN = "network.eth0.receive_bytes_per_second"
ALERTS = ("01K0000000000000000000FVWYJC", "01K0000000000000000000DCZSR5", "01K00000000000000000009XK2PQ")
MODELS = ("anomaly-20260301T060000Z-9222", "anomaly-20260228T060000Z-4711")
SENTENCE = (
    f"web-1: {MOUNT} is full in 3 h 20 min (80 %: 2 h 10 min to 5 h), usually never; {UNIT} writes 81 % of all that is "
    "written, usually 2 %; it began 4 min after nginx 1.24 -> 1.25"
)


def _at(**ago):
    return (datetime.now(UTC) - timedelta(**ago)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _alert(number, **more):
    return {
        "occurrence": ALERTS[number],
        "alertname": "ResourceExhaustionImminent",
        "severity": "critical",
        "state": "firing",
        "resource": MOUNT,
        "sentence": SENTENCE,
        "started_at": _at(minutes=14),
        "fired_at": _at(minutes=12),
        "sent_to": ["on-call-of-the-storage-team"],
        **more,
    }


def _alerts():
    return [
        _alert(0),
        _alert(1, severity="warning", alertname="AnomalyWithImpact", resource="", held="silenced by ann: disk swap"),
        _alert(2, severity="info", alertname="Anomaly", state="resolved", resolved_at=_at(minutes=3), resource=""),
    ]


def _contributor(signal, unit="bytes_per_second"):
    return {
        "signal": signal,
        "family": "disk",
        "resource": "",
        "value": 1.234e9,
        "unit": unit,
        "expected_low": 1.2e6,
        "expected_high": 3.4e6,
        "surprise": 9.0,
        "direction": "above",
        "recent_low": 1e6,
        "recent_high": 4e6,
        "network_share": 0.4,
    }


def _detail():
    culprit = {"resource": "writes", "share": 0.81, "usual_share": 0.02, "times_usual": 40.5}
    return {
        **_alert(0),
        "fingerprint": "f" * 32,
        "network": "capacity",
        "meaning": "A resource is nearly certainly full within four hours.",
        "score": 0.97,
        "threshold": 0.9,
        "acknowledged_at": None,
        "contributors": [_contributor(SIGNAL), _contributor(PLAIN)],
        "culprits": [{"unit": UNIT, "process": "pg_dump", **culprit}],
        "victims": [{"unit": UNIT, "waits_for": "disk", "share_of_time": 0.4, "usual_share_of_time": 0.01}],
        "change": {"at": _at(minutes=18), "kind": "package", "text": "nginx 1.24 -> 1.25"},
        "precedent": {"occurrence": ALERTS[2], "started_at": _at(days=9), "lasted_seconds": 812.0, "likeness": 0.9},
        "owed": True,
        "deliveries": [
            {
                "id": "1",
                "sink": "on-call-of-the-storage-team",
                "event": "firing",
                "reason": "",
                "state": "pending",
                "attempts": 7,
                "error": "connection failed: Connection refused",
            }
        ],
        "verdicts": [],
        "silences": [],
    }


def _status():
    contributions = [{"signal": one, "share": share} for one, share in ((SIGNAL, 0.61), (PLAIN, 0.21), ("cpu.busy", 1))]
    return {
        "version": "0.1.0",
        "backend": "compiled",
        "host": {
            "name": "web-1.prod.eu-central-1.example.org",
            "kind": "vm",
            "virtualization": "kvm",
            "cpus": 64,
            "memory_bytes": 2**38,
        },
        "started_at": _at(days=12),
        "interval_seconds": 30.0,
        "samples": 1_234_567,
        "seq": 1_234_567,
        "last_sample_at": _at(seconds=2),
        "signals": 1999,
        "signals_missing": 12,
        "anomaly": {
            "score": 0.91,
            "score_threshold": 0.8,
            "raw_score": 5.0,
            "raw_threshold": 3.0,
            "network": 0.9,
            "contributions": contributions,
            "episodes": 3,
            "learning": "learning: 3 of 7 days; anomalies are recorded, not sent",
            "model": MODELS[1],
            "trained_at": _at(days=1),
        },
        "collectors": [
            {"name": "filesystem", "seconds": 0.1, "problem": f"{MOUNT} does not answer", "absent": False},
            {"name": "temperature", "seconds": 0.0, "problem": "no sensors", "absent": True},
        ],
        "alerts": [one for one in _alerts() if one["state"] != "resolved"],
        "sinks": [
            {"name": "on-call-of-the-storage-team", "sent": 12345, "failed": 7, "dead": 1, "pending": 4, "dropped": 3}
        ],
        "job": {"name": "train", "share": 0.4, "text": "epoch 3 of 6"},
        "capacity": [{"resource": MOUNT, "used_ratio": 0.97, "text": "full in 3 h 20 min (80 %: 2 h 10 min to 5 h)"}],
        "risk": {"within_1h": 0.12, "within_24h": 0.62, "missing": "", "text": "memory headroom 6 %, steady"},
        "verdicts": ["threshold 2 -> 2.06 for anomalies of this host, until 2026-03-29 06:00 UTC"],
        "state_directory": "/var/lib/presaged",
        "config_files": ["/etc/presaged/config.toml"],
    }


def _horizon(name, seconds):
    now_ms = time.time_ns() // 1_000_000
    ahead = [min(0.93 + 0.01 * step, 1.1) for step in range(1, 13)]
    return {
        "name": name,
        "step_seconds": seconds,
        "needs": "",
        "methods": ["the network", "a straight line"],
        "start_ms": now_ms + round(seconds * 1000),
        "mean": ahead,
        "lo80": [one - 0.02 for one in ahead],
        "hi80": [one + 0.02 for one in ahead],
        "lo95": [one - 0.04 for one in ahead],
        "hi95": [one + 0.04 for one in ahead],
        "history": [(now_ms - round(ago * seconds * 1000), 0.93 - 0.005 * ago) for ago in range(40, -1, -1)],
        "accuracy": {"forecasts": 120, "mase": 0.71, "coverage80": 0.81, "coverage95": 0.94},
    }


def _forecast(resource, kind="filesystem"):
    return {
        "resource": resource,
        "kind": kind,
        "unit": "bytes",
        "capacity": 1e12,
        "floor_ratio": 0.02,
        "used_ratio": 0.93,
        "made_ms": 1,
        "exhaustion": {
            "probability": {"4h": 0.91, "24h": 0.996, "7d": 1.0, "30d": 1.0, "365d": 1.0},
            "lo80_ms": 1,
            "median_ms": 2,
            "hi80_ms": 3,
            "text": "full in 3 h 20 min (80 %: 2 h 10 min to 5 h)",
        },
        "explanation": [f"grows by 12.3 GiB an hour for 9 hours, since {UNIT} was started"],
        "horizons": [_horizon("hours", 3600.0), _horizon("days", 86_400.0)],
    }


def _model(number, state):
    return {
        "id": MODELS[number],
        "network": "anomaly",
        "state": state,
        "pinned": number == 1,
        "since": _at(days=1),
        "reason": "non-inferior on the fault suite (0.71 of 0.70), better on the last days (0.64 of 0.61)",
        "trained_at": _at(days=1),
        "trigger": "new samples",
        "parent": MODELS[1 - number],
        "samples": 86_400,
        "data_from": _at(days=30),
        "data_to": _at(days=1),
        "exclusions": {"incident": 12, "silence": 3},
        "problem": "",
        "health": ["ok"],
    }


def _silence():
    return {
        "id": ALERTS[1],
        "alertname": "",
        "resource": MOUNT,
        "severity": "",
        "network": "",
        "takes": f"on {MOUNT}",
        "starts_at": _at(minutes=1),
        "ends_at": _at(hours=-2),
        "author": "ann",
        "comment": "a disk is swapped by the people of the data centre, who know of it",
    }


def _verdict():
    return {
        "verdict": "false",
        "author": "ann",
        "comment": "the nightly copy",
        "at": _at(hours=1),
        "undone_at": None,
        "every": "",
        "effect": "threshold 2 -> 2.06 for anomalies of this host",
    }


def _history():
    now_ms = time.time_ns() // 1_000_000
    times = [now_ms - 60_000 * ago for ago in range(59, -1, -1)]
    values = [0.2 + 0.01 * place for place in range(60)]
    series = [
        {"signal": name, "unit": unit, "threshold": limit, "mean": values, "min": values, "max": values}
        for name, unit, limit in (("anomaly.score", "ratio", 0.8), (SIGNAL, "bytes_per_second", None))
    ]
    return {
        "from_ms": times[0],
        "to_ms": now_ms,
        "step_seconds": 60.0,
        "source_seconds": 0,
        "times_ms": times,
        "series": series,
        "missing": [],
    }


def _failure(kind, resource, detail):
    return {
        "at": _at(hours=3),
        "since": _at(hours=3),
        "last_at": _at(hours=3),
        "times": 7,
        "kind": kind,
        "resource": resource,
        "detail": detail,
        "source": "kernel log",
        "seen_by": ["journal"],
    }


def answers():
    """Return what is answered to each question, by path."""
    drift = {
        "at": _at(minutes=20),
        "state": "warning",
        "score": 0.12,
        "warning": 0.1,
        "critical": 0.2,
        "missing": "",
        "signals": 1999,
        "judged": 1800,
        "drifted": 212,
        "reference_from": _at(days=8),
        "reference_until": _at(days=1),
        "earlier": False,
        "examples": [{"signal": SIGNAL, "distance": 0.7, "probability": 1e-12, "effective": 61.0}],
        "networks": [
            {
                "network": "anomaly",
                "inputs": 0.12,
                "judged": 31,
                "drifted": 4,
                "outputs": None,
                "outputs_judged": 0,
                "outputs_drifted": 0,
            }
        ],
    }
    risk = {
        "at": _at(minutes=1),
        "within_1h": {"probability": 0.12, "lo80": 0.05, "hi80": 0.2},
        "within_24h": {"probability": 0.62, "lo80": 0.5, "hi80": 0.7},
        "missing": "",
        "basis": "calibrated on simulated hosts; this host: 2 events, not enough to check",
        "factors": 22,
        "of_factors": 32,
        "events": 2,
        "reasons": [
            {"factor": "x", "about": "x", "share": 0.61, "text": f"{MOUNT}: chance that it is full in a day 91 %"},
            {"factor": "y", "about": "y", "share": None, "text": "memory headroom 6 %, steady"},
        ],
        "errors": [
            {
                "at": _at(minutes=9),
                "speaker": UNIT,
                "family": "disk",
                "severity": "error",
                "times": 12,
                "text": "I/O error, dev <word>, sector <number> op <hex>:(READ) flags <hex>",
            }
        ],
    }
    models = {
        "models": [_model(0, "shadow"), _model(1, "champion")],
        "performance": 0.71,
        "baseline": 0.7,
        "retention": 0.97,
        "degraded": False,
        "latency_seconds": 0.0004,
        "health": ["ok"],
    }
    alert, base = AlertDetail.model_validate(_detail()), "/api/v1/neural/models/"
    metrics = ModelMetricsAnswer(id=MODELS[0], metrics={"faults found (share)": 0.7123456, "retention": 0.97})
    given = {
        "status": StatusAnswer.model_validate(_status()),
        "alerts": AlertsAnswer.model_validate({"alerts": _alerts()}),
        "silences": SilencesAnswer.model_validate({"silences": [_silence()]}),
        "verdicts": VerdictsAnswer.model_validate(
            {"threshold": "2 -> 2.06", "verdicts": [{**_verdict(), "occurrence": ALERTS[2], "until": None}]}
        ),
        "forecasts": ForecastsAnswer.model_validate(
            {"forecasts": [_forecast(MOUNT), _forecast("/srv"), _forecast("memory", "memory")], "problem": ""}
        ),
        "risk": RiskAnswer.model_validate(risk),
        "drift": DriftAnswer.model_validate(drift),
        "changes": ChangesAnswer.model_validate(
            {
                "changes": [
                    {"at": _at(hours=2), "kind": "interface", "text": f"{MOUNT} was mounted by {UNIT}"},
                    {"at": _at(hours=3), "kind": "package", "text": "nginx 1.24 -> 1.25"},
                ]
            }
        ),
        "failures": FailuresAnswer.model_validate(
            {
                "failures": [
                    _failure("filesystem_read_only", MOUNT, "became read-only"),
                    _failure("unit_failed", UNIT, "exit code 1"),
                ],
                "sources": [{"name": "journal", "problem": "it takes the group systemd-journal to read it"}],
            }
        ),
        "findings": FindingsAnswer(at=_at(seconds=2), findings=[], next=None),
        "signals": SignalsAnswer.model_validate(
            {
                "signals": [
                    {
                        "id": number,
                        "name": name,
                        "unit": unit,
                        "kind": "rate",
                        "family": "disk",
                        "resource": "",
                        "value": value,
                        "first_seen_at": _at(days=3),
                        "last_seen_at": _at(seconds=2),
                    }
                    for number, name, unit, value in (
                        (1, SIGNAL, "bytes_per_second", 1.234e9),
                        (2, PLAIN, "bytes_per_second", 4.2e7),
                        (3, "cpu.busy", "ratio", 0.993),
                    )
                ],
                "total": 3,
                "next": None,
            }
        ),
        "series": HistoryAnswer.model_validate(_history()),
        "neural/models": ModelsAnswer.model_validate(models),
    }
    found = {f"/api/v1/{name}": answer for name, answer in given.items()}
    for one in ALERTS:
        for name in (one, one[-6:], "latest"):
            found[f"/api/v1/alerts/{name}"] = alert
            found[f"/api/v1/alerts/{name}/ack"] = AlertAnswer.model_validate({**_alert(0), "acknowledged_by": "ann"})
            found[f"/api/v1/alerts/{name}/feedback"] = FeedbackAnswer.model_validate(
                {"occurrence": one, "verdict": _verdict(), "changed": ["threshold 2 -> 2.06"]}
            )
    for number, name in enumerate(("9222", "4711")):
        found[base + name] = ModelAnswer.model_validate(_model(number, "shadow"))
        found[f"{base}{name}/metrics"] = metrics
        found[f"{base}{name}/pin"] = found[base + name]
    found["/api/v1/neural/train"] = TrainingAnswer.model_construct(id="3-1", outcome="waiting")
    return {path: answer.model_dump_json().encode() for path, answer in found.items()}


class Crowded:
    """A server on 127.0.0.1 that gives the answers; `told` keeps what is to change something: method, path, body."""

    def __init__(self, port=0):
        self.told = []
        self.given = answers()
        crowded, given = self, self.given
        silence = json.dumps(_silence()).encode()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = urlsplit(self.path).path
                if self.command != "GET":
                    crowded.told.append((self.command, path, json.loads(body or b"{}")))
                found = silence if (self.command, path) == ("POST", "/api/v1/silences") else given.get(path)
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "application/json" if found else "application/problem+json")
                found = found or b'{"detail": "there is no such thing"}'
                self.send_header("Content-Length", str(len(found)))
                self.end_headers()
                self.wfile.write(found)

            def log_message(self, *_arguments):
                pass

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the names of http.server

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            address_family = socket.AF_INET

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_port
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self):
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()
