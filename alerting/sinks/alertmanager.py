"""Alertmanager, API v2: it groups, silences, repeats and routes; we tell it what fires, again and again.

Enters: a notification, and at every reminder what fires now. Leaves: requests, or DeliveryError. Labels are the
identity of an alert, so they never hold what changes; an alert of which it hears no more ends there by itself after
its lifetime. Reminders and ends go one at a time, and a reminder says what fires at that moment: none can overtake
an end. API: github.com/prometheus/alertmanager, api/v2/openapi.yaml.
"""

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import structlog

from alerting.errors import DeliveryError
from alerting.occurrence import Occurrence
from alerting.policy import DRILL
from alerting.render import one_line, rfc3339
from alerting.sinks.base import Notification
from alerting.sinks.post import Post, split_url
from alerting.sinks.reading import Told, read

_PATH = "/api/v2/alerts"
_MOST_AT_ONCE = 500
_MOST_ENDS = 250
_TEST_SECONDS = 60.0
_LIFETIMES = 3

Labels = tuple[tuple[str, str], ...]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Alert:
    """One element of a request; `over` = it is told because it ended."""

    labels: Labels
    annotations: tuple[tuple[str, str], ...]
    starts_at: str
    ends_at: str
    over: bool = False


class AlertmanagerSink:
    """Posts to one Alertmanager; `url` is its base, with a path where it has one.

    What fires is told again every `resend_seconds` and ends there `lifetime_seconds` (three times as long, unless
    given) after it was told last. `reminders_sent` and `reminders_failed` count rounds.
    """

    takes_digests = False

    def __init__(
        self,
        name: str,
        url: str,
        *,
        host: str,
        user_agent: str,
        timeout_seconds: float = 10.0,
        bearer_token: str | None = None,
        resend_seconds: float = 60.0,
        lifetime_seconds: float | None = None,
        wall_seconds: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._host = host
        parts = split_url(f"sink {name}", url)
        path = parts.path.rstrip("/").removesuffix(_PATH) + _PATH
        self._post = Post(
            f"sink {name}",
            parts._replace(path=path).geturl(),
            user_agent=user_agent,
            timeout_seconds=timeout_seconds,
            bearer_token=bearer_token,
            wall_seconds=wall_seconds,
        )
        self._resend_seconds = resend_seconds
        self._lifetime_seconds = _LIFETIMES * resend_seconds if lifetime_seconds is None else lifetime_seconds
        self._wall_seconds = wall_seconds
        self._lock = asyncio.Lock()
        # Ends are told again for a lifetime: one that is dated after the receiver's clock is passed over by it.
        self._ends: dict[Labels, tuple[_Alert, int]] = {}
        self.reminders_sent = 0
        self.reminders_failed = 0

    async def send(self, notification: Notification) -> None:
        """Post all alerts of a notification. Raises DeliveryError; on 400 those that are valid were stored."""
        reading = read(notification)
        if reading.event == "digest":
            raise DeliveryError("an Alertmanager is for alerts, not for digests", permanent=True)
        async with self._lock:
            if reading.event == "test":
                await self._tell([self._test(reading.sentence)])
                return
            alerts = [alert for told in reading.told for alert in self._alerts(told)]
            self._note(alerts)
            for start in range(0, len(alerts), _MOST_AT_ONCE):
                await self._tell(alerts[start : start + _MOST_AT_ONCE])

    async def keep_alive(
        self, current: Callable[[], Sequence[Occurrence]], alive: Callable[[], bool] = lambda: True
    ) -> None:
        """Tell again what fires, until cancelled; `current` returns what this sink was told of and still fires.

        With it goes the alert Heartbeat, as long as `alive`: who expects it notices when it ends. A failure is
        counted and logged; the next round says it all again.
        """
        began_seconds = self._wall_seconds()
        while True:
            try:
                await self._remind(current, began_seconds if alive() else None)
            except DeliveryError as error:
                self.reminders_failed += 1
                _log.warning("alertmanager_not_reminded", sink=self.name, error=str(error))
            else:
                self.reminders_sent += 1
            await asyncio.sleep(self._resend_seconds)

    async def _remind(self, current: Callable[[], Sequence[Occurrence]], began_seconds: float | None) -> None:
        """Post one round, so many at once that a notification waits for one request at most."""
        told: set[str] = set()
        first = True
        while True:
            async with self._lock:
                left = [one for one in current() if one.id not in told]
                firing = [self._firing(one) for one in left]
                self._note(firing)
                alerts = self._ends_again() if first else []
                if first and began_seconds is not None:
                    alerts.append(self._heartbeat(began_seconds))
                room = _MOST_AT_ONCE - len(alerts)
                told.update(one.id for one in left[:room])
                alerts += firing[:room]
                if alerts:
                    await self._tell(alerts)
            first = False
            if len(firing) <= room:
                return

    def _note(self, alerts: Iterable[_Alert]) -> None:
        """Keep what ended, and forget the end of what fires again."""
        rounds = math.ceil(self._lifetime_seconds / self._resend_seconds)
        for alert in alerts:
            self._ends.pop(alert.labels, None)
            if alert.over:
                self._ends[alert.labels] = (alert, rounds)
        while len(self._ends) > _MOST_ENDS:
            del self._ends[next(iter(self._ends))]

    def _ends_again(self) -> list[_Alert]:
        ends = self._ends
        self._ends = {labels: (alert, left - 1) for labels, (alert, left) in ends.items() if left > 1}
        return [alert for alert, _ in ends.values()]

    def _alerts(self, told: Told) -> list[_Alert]:
        """Return the alert, and before it the end of the one that it was under another severity."""
        now = self._time(0.0)
        over = told.event == "resolved"
        ends_at = min(told.resolved_at or now, now) if over else self._time(self._lifetime_seconds)
        alert = self._alert(
            told.alertname,
            told.severity,
            told.network,
            told.resource,
            sentence=told.sentence,
            occurrence=told.occurrence,
            starts_at=told.fired_at or told.started_at or now,
            ends_at=ends_at,
        )
        if over:
            return [replace(alert, over=True)]
        if told.previous_severity in {"", told.severity}:
            return [alert]
        before = dict(alert.labels) | {"severity": told.previous_severity}
        return [replace(alert, labels=tuple(sorted(before.items())), ends_at=now, over=True), alert]

    def _firing(self, one: Occurrence) -> _Alert:
        return self._alert(
            one.alertname,
            one.severity.value,
            one.network,
            one_line(one.resource),
            sentence=one.sentence,
            occurrence=one.id,
            starts_at=rfc3339(one.fired_ms or one.started_ms),
            ends_at=self._time(self._lifetime_seconds),
        )

    def _heartbeat(self, began_seconds: float) -> _Alert:
        """Return the alert that always fires."""
        return self._alert(
            "Heartbeat",
            "none",
            "presaged",
            "",
            sentence=f"{self._host}: presaged runs; that this alert fires is how it should be",
            occurrence="",
            starts_at=rfc3339(int(began_seconds * 1000)),
            ends_at=self._time(self._lifetime_seconds),
        )

    def _test(self, sentence: str) -> _Alert:
        now, end = self._time(0.0), self._time(_TEST_SECONDS)
        return self._alert(
            "PresagedTest", "none", "presaged", "", sentence=sentence, occurrence="", starts_at=now, ends_at=end
        )

    def _alert(
        self,
        alertname: str,
        severity: str,
        network: str,
        resource: str,
        *,
        sentence: str,
        occurrence: str,
        starts_at: str,
        ends_at: str,
    ) -> _Alert:
        labels = {
            "alertname": alertname,
            "severity": severity,
            "network": network,
            "resource": resource,
            "instance": self._host,
            "job": "presaged",
        }
        drill = "DRILL: " if alertname == DRILL else ""
        annotations = {
            "summary": f"{drill}{self._host}: {alertname}" + (f" {resource}" if resource else ""),
            "description": drill + sentence.removeprefix("DRILL: "),
        }
        if occurrence:
            annotations["occurrence"] = occurrence
            annotations["commands"] = f"presage explain {occurrence}; presage feedback {occurrence} real|false|expected"
        # A wall clock that was set back must not let an alert end before it starts: that would be refused.
        starts_at = min(starts_at, ends_at, self._time(0.0))
        filled = tuple(sorted((name, value) for name, value in labels.items() if value))
        return _Alert(filled, tuple(annotations.items()), starts_at, ends_at)

    def _time(self, from_now_seconds: float) -> str:
        return rfc3339(int((self._wall_seconds() + from_now_seconds) * 1000))

    async def _tell(self, alerts: Sequence[_Alert]) -> None:
        document = [
            {
                "labels": dict(alert.labels),
                "annotations": dict(alert.annotations),
                "startsAt": alert.starts_at,
                "endsAt": alert.ends_at,
            }
            for alert in alerts
        ]
        await self._post(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))
