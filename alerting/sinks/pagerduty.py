"""PagerDuty, Events API v2: one incident a group of alerts.

Enters: a notification. Leaves: an event that triggers or resolves the group's incident, or DeliveryError. The end
of one alert of several sends nothing: an incident lasts until the last one is over, and to trigger it again would
open anew what a person has resolved. Limits: developer.pagerduty.com/docs/events-api-v2.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping

from alerting.errors import DeliveryError
from alerting.sinks.base import Notification
from alerting.sinks.post import Post
from alerting.sinks.reading import Reading, clipped, listed, other_lines, read

EVENTS_URL = "https://events.pagerduty.com/v2/enqueue"

_MOST_BYTES = 500 * 1024  # of 512 kB: the rest is the routing key's
_SUMMARY_LETTERS = 1_024
_KEY_LETTERS = 255
_SENTENCE_LETTERS = 5_000
_LINE_LETTERS = 500
_OTHERS = 50
_CONTRIBUTORS = 10
_SEVERITIES = frozenset({"critical", "warning", "info"})
_LINKS = {"ack": "Acknowledge", "real": "It is real", "false": "False alarm", "expected": "Expected"}


class PagerDutySink:
    """Posts events to one service, which `routing_key` names."""

    takes_digests = False

    def __init__(
        self,
        name: str,
        routing_key: str,
        *,
        user_agent: str,
        url: str = EVENTS_URL,
        timeout_seconds: float = 10.0,
        wall_seconds: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._routing_key = routing_key
        self._post = Post(
            f"sink {name}",
            url,
            user_agent=user_agent,
            timeout_seconds=timeout_seconds,
            secrets=(routing_key,),
            wall_seconds=wall_seconds,
        )

    async def send(self, notification: Notification) -> None:
        """Send the event of a notification; a test triggers an incident and resolves it. Raises DeliveryError."""
        reading = read(notification)
        if reading.event == "digest":
            raise DeliveryError("PagerDuty is for alerts, not for digests", permanent=True)
        if reading.event != "resolved":
            await self._enqueue(trigger(reading))
        if reading.event == "test" or (reading.event == "resolved" and not reading.group_firing):
            await self._enqueue(resolve(reading))

    async def _enqueue(self, event: Mapping[str, object]) -> None:
        await self._post(_bytes({"routing_key": self._routing_key, **event}))


def trigger(reading: Reading) -> dict[str, object]:
    """Return the event, without its routing key, that opens the group's incident or adds to it."""
    lead = reading.told[0] if reading.told else None
    severity = lead.severity if lead and lead.severity in _SEVERITIES else "info"
    payload: dict[str, object] = {
        "summary": clipped(reading.summary or "presaged", _SUMMARY_LETTERS),
        "source": reading.host or "unknown",
        "severity": severity,
        "group": lead.network if lead else "presaged",
        "class": lead.alertname if lead else "PresagedTest",
        "custom_details": _details(reading),
    }
    if lead and (moment := lead.fired_at or lead.started_at):
        payload["timestamp"] = moment
    if lead and lead.resource:
        payload["component"] = clipped(lead.resource, _SUMMARY_LETTERS)
    event: dict[str, object] = {
        "event_action": "trigger",
        "dedup_key": dedup_key(reading),
        "client": "presaged",
        "payload": payload,
    }
    links = [{"href": reading.links[name], "text": text} for name, text in _LINKS.items() if name in reading.links]
    if links:
        event["links"] = links
    if len(_bytes(event)) > _MOST_BYTES:
        payload["custom_details"] = {"sentence": clipped(reading.sentence, _SENTENCE_LETTERS)}
        event.pop("links", None)
    return event


def resolve(reading: Reading) -> dict[str, object]:
    """Return the event, without its routing key, that ends the group's incident."""
    return {"event_action": "resolve", "dedup_key": dedup_key(reading)}


def dedup_key(reading: Reading) -> str:
    """Return what names the incident: the same for all of a group, over restarts too."""
    key = f"presaged/{reading.host}/{reading.group}"
    if len(key.encode("utf-8")) <= _KEY_LETTERS:
        return key
    return f"presaged/{hashlib.sha256(key.encode('utf-8')).hexdigest()}"


def _details(reading: Reading) -> dict[str, object]:
    details: dict[str, object] = {
        "sentence": clipped(reading.sentence, _SENTENCE_LETTERS),
        "also": [clipped(line, _LINE_LETTERS) for line in other_lines(reading, _OTHERS)],
        "contributors": [clipped(line, _LINE_LETTERS) for line in listed(reading.contributors, _CONTRIBUTORS)],
        "culprits": [clipped(line, _LINE_LETTERS) for line in listed(reading.culprits, _CONTRIBUTORS)],
        "change": clipped(reading.change, _LINE_LETTERS),
        "commands": dict(reading.commands),
    }
    return {name: value for name, value in details.items() if value}


def _bytes(event: Mapping[str, object]) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
