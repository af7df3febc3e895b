"""Slack: an incoming webhook that is given one message of blocks, within every limit that Slack sets.

Enters: a notification. Leaves: a request, or DeliveryError. Nothing that a host says becomes a mention, a link or a
form of text: it is escaped, and Slack is told to leave it as it is. Limits: docs.slack.dev/reference/block-kit.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence

from alerting.errors import DeliveryError
from alerting.sinks.base import Notification
from alerting.sinks.post import Post
from alerting.sinks.reading import Reading, clipped, listed, other_lines, read, still_firing, width

_MOST_LETTERS = 13_000  # of the whole message, as JSON
_HEADER_LETTERS = 150
_TEXT_LETTERS = 3_000
_FALLBACK_LETTERS = 500
_LINE_LETTERS = 250
_URL_LETTERS = 3_000
_LISTED = 10
_PAUSE_SECONDS = 1.0  # Slack's own limit for one webhook

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# A header knows no escapes, so what could be read as markup is shown by letters that look alike.
_LOOKALIKES = str.maketrans({"<": "\u2039", ">": "\u203a"})
_BUTTONS = {"ack": "Acknowledge", "real": "It is real", "false": "False alarm", "expected": "Expected"}


class SlackSink:
    """Posts to one incoming webhook, whose URL is a secret; at most one message in `pause_seconds`."""

    takes_digests = True

    def __init__(
        self,
        name: str,
        url: str,
        *,
        user_agent: str,
        timeout_seconds: float = 10.0,
        pause_seconds: float = _PAUSE_SECONDS,
        wall_seconds: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._post = Post(
            f"sink {name}", url, user_agent=user_agent, timeout_seconds=timeout_seconds, wall_seconds=wall_seconds
        )
        self._pause_seconds = pause_seconds
        self._turn = asyncio.Lock()
        self._next_seconds = 0.0  # on the loop's clock

    async def send(self, notification: Notification) -> None:
        """Post the notification, after the pause that Slack asks for. Raises DeliveryError."""
        body = json.dumps(message(read(notification)), ensure_ascii=False, separators=(",", ":")).encode("utf-8")
        clock = asyncio.get_running_loop().time
        async with self._turn:
            await asyncio.sleep(max(0.0, self._next_seconds - clock()))
            self._next_seconds = clock() + self._pause_seconds
            answer = await self._post(body)
        if answer != "ok":  # a page of a proxy in between comes with 200 too
            raise DeliveryError(
                f"the answer is not Slack's: {answer}" if answer else "the answer is empty, not Slack's"
            )


def message(reading: Reading) -> dict[str, object]:
    """Return the body of the request: blocks, and the text for where blocks are not shown."""
    blocks: list[dict[str, object]] = [
        {"type": "header", "text": _plain_text(reading.summary, _HEADER_LETTERS)},
        _section([reading.sentence], _TEXT_LETTERS),
    ]
    lists = [
        _section([f"• {line}" for line in lines], _LINE_LETTERS)
        for lines in (other_lines(reading, _LISTED), listed(reading.contributors, _LISTED))
        if lines
    ]
    ending: list[dict[str, object]] = [_context(reading), *_buttons(reading.links)]
    body = _body(reading, [*blocks, *lists, *ending])
    while lists and width(json.dumps(body, ensure_ascii=False)) >= _MOST_LETTERS:
        lists.pop()  # the sentence names the foremost signals already
        body = _body(reading, [*blocks, *lists, *ending])
    return body


def _body(reading: Reading, blocks: Sequence[Mapping[str, object]]) -> dict[str, object]:
    text = reading.summary if reading.summary == reading.sentence else f"{reading.summary}: {reading.sentence}"
    return {
        "text": _escaped(text, _FALLBACK_LETTERS),
        "blocks": list(blocks),
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _section(lines: Sequence[str], most_of_a_line: int) -> dict[str, object]:
    return {"type": "section", "text": _mrkdwn("\n".join(_escaped(line, most_of_a_line) for line in lines))}


def _context(reading: Reading) -> dict[str, object]:
    """Say how grave it is and where, and what an operator can do about it."""
    words = " · ".join(filter(None, (reading.severity, reading.host, still_firing(reading))))
    commands = [f"`{_escaped(command, _LINE_LETTERS)}`" for command in _shown_commands(reading)]
    texts = filter(None, (_escaped(words, _LINE_LETTERS), " ".join(commands)))
    return {"type": "context", "elements": [_mrkdwn(text) for text in texts]}


def _shown_commands(reading: Reading) -> list[str]:
    """Return the commands to show: where there are buttons, only what no button does."""
    return [
        command.replace("`", "")
        for name, command in reading.commands.items()
        if name not in reading.links and (name != "status" or len(reading.commands) == 1)
    ]


def _buttons(links: Mapping[str, str]) -> list[dict[str, object]]:
    elements = [
        {"type": "button", "action_id": f"presaged_{name}", "text": _plain_text(label, 75), "url": links[name]}
        for name, label in _BUTTONS.items()
        if name in links and links[name].startswith(("https://", "http://")) and width(links[name]) <= _URL_LETTERS
    ]
    return [{"type": "actions", "elements": elements}] if elements else []


def _plain_text(text: str, most: int) -> dict[str, object]:
    return {"type": "plain_text", "text": clipped(text.translate(_LOOKALIKES), most) or "presaged", "emoji": False}


def _mrkdwn(text: str) -> dict[str, object]:
    return {"type": "mrkdwn", "text": text or "presaged", "verbatim": True}


def _escaped(text: str, most: int) -> str:
    """Return `text` in Slack's escapes and at most `most` letters; no escape and no letter is cut in two."""
    pieces, used, last = [], 0, most - 1
    for letter in text:
        piece = _ESCAPES.get(letter, letter)
        used += width(piece)
        if used > last:
            break
        pieces.append(piece)
    else:
        return "".join(pieces)
    return "".join(pieces).rstrip() + "…"
