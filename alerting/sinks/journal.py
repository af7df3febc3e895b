"""The systemd journal, by its native protocol: each alert an entry with fields that `journalctl` can select by.

Enters: a notification. Leaves: datagrams to journald's socket, or DeliveryError. It never waits for long: journald
takes an entry at once or is not well. Protocol: systemd.io/JOURNAL_NATIVE_PROTOCOL.
"""

import asyncio
import os
import socket
from collections.abc import Mapping

from alerting.errors import DeliveryError
from alerting.sinks.base import Notification
from alerting.sinks.reading import Reading, Told, clipped, read

SOCKET = "/run/systemd/journal/socket"

# Never changed: `journalctl MESSAGE_ID=...` and catalogs select by them.
MESSAGE_IDS: Mapping[str, str] = {
    "firing": "cca1dc33299846cb9f03848abea1c98b",
    "resolved": "2095d1371ce94e61af6fa787296081b4",
    "digest": "55c82931c27441e3a01192467b8d7cda",
    "test": "30b760cc4a3544ba9437ecdf1c5010b3",
}

_MOST_BYTES = 48 * 1024
_MOST_OTHERS = 50
_MESSAGE_LETTERS = 8_000
_FIELD_LETTERS = 1_000
_PRIORITIES = {"critical": "2", "warning": "4", "info": "6"}
_NOTICE = "5"


class JournalSink:
    """Writes to journald's socket at `path`."""

    takes_digests = True

    def __init__(self, name: str, *, timeout_seconds: float = 10.0, path: str = SOCKET) -> None:
        self.name = name
        self._timeout_seconds = timeout_seconds
        self._path = path

    async def send(self, notification: Notification) -> None:
        """Write one entry an alert. Raises DeliveryError."""
        loop = asyncio.get_running_loop()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
                journal.setblocking(False)
                async with asyncio.timeout(self._timeout_seconds):
                    await loop.sock_connect(journal, self._path)
                    for entry in entries(notification):
                        await loop.sock_sendall(journal, entry)
        except TimeoutError:
            raise DeliveryError(f"the journal took nothing within {self._timeout_seconds:g} s") from None
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else type(error).__name__
            raise DeliveryError(f"the journal cannot be reached: {reason}") from None


def entries(notification: Notification) -> list[bytes]:
    """Return the datagrams of a notification: its own, with the document, and one for each further alert."""
    reading = read(notification)
    lead = reading.told[0] if reading.told and reading.event != "digest" else None
    fields = _fields(reading, lead)
    whole = _encoded(fields | {"PRESAGED_DOCUMENT": notification.payload})
    first = whole if len(whole) <= _MOST_BYTES else _encoded(fields)
    others = () if reading.event == "digest" else reading.others[:_MOST_OTHERS]
    return [first, *(_encoded(_fields(reading, one)) for one in others)]


def _fields(reading: Reading, one: Told | None) -> dict[str, str]:
    """Return the fields of the entry about `one`, or about the notification itself."""
    leads = one is None or one is reading.told[0]
    event = one.event if one else reading.event
    severity = one.severity if one else reading.severity
    fields = {
        "MESSAGE": reading.sentence if one is None or leads else one.sentence,
        "PRIORITY": _NOTICE if event == "resolved" else _PRIORITIES.get(severity, "6"),
        "MESSAGE_ID": MESSAGE_IDS.get(event, MESSAGE_IDS["test"]),
        "SYSLOG_IDENTIFIER": "presaged",
        "PRESAGED_EVENT": event,
        "PRESAGED_SEVERITY": severity,
        "PRESAGED_NOTIFICATION": reading.id,
    }
    if one is not None:
        fields |= {
            "PRESAGED_ALERTNAME": one.alertname,
            "PRESAGED_RESOURCE": one.resource,
            "PRESAGED_OCCURRENCE": one.occurrence,
            "PRESAGED_GROUP": reading.group,
        }
    most = {"MESSAGE": _MESSAGE_LETTERS}
    return {name: clipped(value, most.get(name, _FIELD_LETTERS)) for name, value in fields.items() if value}


def _encoded(fields: Mapping[str, str]) -> bytes:
    """Return `fields` in the protocol's text form, and in its binary form where a value has more lines."""
    parts = []
    for name, value in fields.items():
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            parts.append(name.encode("ascii") + b"\n" + len(data).to_bytes(8, "little") + data + b"\n")
        else:
            parts.append(name.encode("ascii") + b"=" + data + b"\n")
    return b"".join(parts)
