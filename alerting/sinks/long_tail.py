"""E-mail and about a hundred other services, through the library Apprise, in a process of its own.

Enters: a notification. Leaves: a plain text message, or DeliveryError. The library never enters the daemon: it
loads a hundred modules, and what it does with sockets, threads and logs is its own affair. The URL is a secret: it
goes to the child through a pipe, never in its arguments or environment, and comes back in no error.
"""

import asyncio
import contextlib
import json
import os
import re
import sys

from alerting.errors import DeliveryError
from alerting.redact import mask, plain
from alerting.sinks.apprise_child import secrets_of
from alerting.sinks.base import Notification
from alerting.sinks.reading import Reading, clipped, listed, other_lines, read, still_firing

_ANSWER_BYTES = 64 * 1024
_QUOTED_LETTERS = 300
_TITLE_LETTERS = 250
_LISTED = 10
_LINE_LETTERS = 5_000
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9.+-]*://\S")
# What a program that opens connections needs to know of where it runs; no credentials and no service manager.
_ENVIRONMENT = (
    "PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
)  # fmt: skip
_TYPES = {"critical": "failure", "warning": "warning", "info": "info"}
_LINKS = {"ack": "Acknowledge", "real": "It is real", "false": "False alarm", "expected": "Expected"}


class AppriseSink:
    """Sends to one Apprise URL. Raises ValueError for a text that is no URL at all; Apprise judges the rest."""

    takes_digests = True

    def __init__(self, name: str, url: str, *, timeout_seconds: float = 10.0) -> None:
        self.name = name
        if not (url.isprintable() and _SCHEME.match(url)):
            raise ValueError(f'sink {name}: the url must be one line like "mailto://..."')
        self._url = url
        self._secrets = secrets_of(url)
        self._timeout_seconds = timeout_seconds

    async def send(self, notification: Notification) -> None:
        """Let a child send the notification, and end it when it takes too long. Raises DeliveryError."""
        reading = read(notification)
        spec = {"url": self._url, "title": title(reading), "body": body(reading), "type": _type(reading)}
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "alerting.sinks.apprise_child",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # the words of a hundred services may hold anything
                env={key: os.environ[key] for key in _ENVIRONMENT if key in os.environ},
            )
        except OSError as error:
            raise DeliveryError(f"Apprise's process cannot be started: {error.strerror}") from None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await _converse(process, json.dumps(spec).encode("ascii"))
                code = await process.wait()
        except TimeoutError:
            raise DeliveryError(f"Apprise did not end within {self._timeout_seconds:g} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._judge(answer, code)

    def _judge(self, answer: bytes, code: int) -> None:
        try:
            words = json.loads(answer)
            taken, error, permanent = words["ok"] is True, str(words["error"]), words.get("permanent") is True
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise DeliveryError(f"Apprise's process ended with code {code} and no answer") from None
        if not taken:
            # The child has masked it already; whatever it missed stays here.
            said = plain(mask(error, self._secrets))[:_QUOTED_LETTERS]
            raise DeliveryError(said or "Apprise could not deliver it", permanent=permanent)


def title(reading: Reading) -> str:
    """Return the title, of an e-mail the subject."""
    return clipped(reading.summary or "presaged", _TITLE_LETTERS)


def body(reading: Reading) -> str:
    """Return the message as plain text: the sentence, the other alerts, the signals, and what can be done."""
    links = [f"{text}: {reading.links[name]}" for name, text in _LINKS.items() if name in reading.links]
    commands = [command for name, command in reading.commands.items() if name not in reading.links]
    paragraphs = (
        [reading.sentence],
        other_lines(reading, 2 * _LISTED),
        [still_firing(reading)],
        listed(reading.contributors, _LISTED),
        commands,
        links,
    )
    texts = ("\n".join(clipped(line, _LINE_LETTERS) for line in lines if line) for lines in paragraphs)
    return "\n\n".join(text for text in texts if text)


def _type(reading: Reading) -> str:
    """Return Apprise's word for how bad it is."""
    if reading.event == "resolved":
        return "success"
    return _TYPES.get(reading.severity, "info") if reading.event == "firing" else "info"


async def _converse(process: asyncio.subprocess.Process, spec: bytes) -> bytes:
    """Hand over `spec` and return the answer, of which no more is read than an answer can be."""
    assert process.stdin and process.stdout  # noqa: S101, PT018 - pipes were asked for
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it is gone: its answer or its code says why
        process.stdin.write(spec)
        await process.stdin.drain()
    process.stdin.close()
    parts: list[bytes] = []
    left = _ANSWER_BYTES
    while left > 0 and (part := await process.stdout.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
