"""The child of `long_tail`: the only place where the library Apprise is loaded.

`python -m alerting.sinks.apprise_child`. Enters, on standard input: {"url", "title", "body", "type"}. Leaves, on
standard output, one line: {"ok", "error", "permanent"}. It never says anything of the URL: what Apprise logs is read
here and masked.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from urllib.parse import unquote

from alerting.redact import mask, plain, redacted

_PIECE_LETTERS = 4  # a shorter piece of the URL is in many a word
_NOT_DELIVERED = "Apprise could not deliver it"


class _LastWords(logging.Handler):
    """Keeps the last thing that Apprise complained of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def main() -> int:
    """Send one message and say how it went."""
    answer_descriptor = os.dup(1)
    os.dup2(2, 1)  # what a service prints is no answer of ours
    spec = json.load(sys.stdin)
    answer = send(spec["url"], spec["title"], spec["body"], spec["type"])
    os.write(answer_descriptor, json.dumps(answer).encode("ascii") + b"\n")
    return 0


def send(url: str, title: str, body: str, kind: str) -> Mapping[str, object]:
    """Send through Apprise; return whether it went, why not, and whether another try is in vain."""
    try:
        import apprise  # noqa: PLC0415 - without it there is a sentence to say
    except ImportError:
        return _failed("the library Apprise is not installed; install it beside presaged", permanent=True)
    said = _LastWords()
    log = logging.getLogger("apprise")
    log.handlers[:] = [said]
    log.propagate = False
    try:
        service = apprise.Apprise(
            asset=apprise.AppriseAsset(app_id="presaged", app_desc="presaged", secure_logging=True, async_mode=False)
        )
        if not service.add(url):
            return _failed("Apprise does not understand the url, or lacks what this service needs", permanent=True)
        sent = service.notify(
            body=body,
            title=title,
            notify_type=getattr(apprise.NotifyType, kind.upper()),
            body_format=apprise.NotifyFormat.TEXT,
        )
    except Exception as error:  # noqa: BLE001 - of a hundred services; the text of an error may hold the url
        return _failed(f"{_NOT_DELIVERED}: {type(error).__name__}")
    if sent:
        return {"ok": True, "error": "", "permanent": False}
    reason = redacted(plain(mask(said.text, secrets_of(url))))
    return _failed(f"{_NOT_DELIVERED}: {reason}" if reason else _NOT_DELIVERED)


def secrets_of(url: str) -> list[str]:
    """Return every piece of an Apprise URL, the longest first: which of them is the token differs by service."""
    rest = url.partition("://")[2]
    userinfo, mark, _ = rest.rpartition("@")
    passwords = [piece for piece in (userinfo, *userinfo.split(":")) if piece] if mark else []
    pieces = {rest, *re.split(r"[/:@?&=#,;]+", rest)}
    kept = {piece for piece in pieces if len(piece) >= _PIECE_LETTERS} | set(passwords)
    return sorted({form for piece in kept for form in (piece, unquote(piece))} - {""}, key=len, reverse=True)


def _failed(error: str, *, permanent: bool = False) -> Mapping[str, object]:
    return {"ok": False, "error": error, "permanent": permanent}


if __name__ == "__main__":
    sys.exit(main())
