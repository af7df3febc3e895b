"""`presage failures` and `presage mark-failure`: what of this host failed, seen or told.

Enters: the daemon's answer, or one line of an operator. Leaves: a table of 80 columns, JSON, or a word that it is kept.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from daemon.cli.client import fetch_failures, mark_failure
from daemon.cli.configuration import ConfigOption
from daemon.cli.terminal import print_json, print_table, printable, say
from daemon.cli.watching import SELDOM, WatchOption, shown
from daemon.config import load
from daemon.failures.answers import FailureAnswer, FailuresAnswer

_KINDS = {
    "oom_kill": "OOM kill",
    "unit_failed": "unit failed",
    "filesystem_full": "disk full",
    "filesystem_read_only": "read-only",
    "unclean_reboot": "reboot",
    "io_error": "I/O error",
    "machine_check": "machine",
    "hung_task": "hung task",
    "smart": "SMART",
    "operator": "marked",
}


def show_failures(
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most failures shown, the newest first.")] = 30,
    watch: WatchOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="The daemon's answer as JSON.")] = False,
) -> None:
    """Show what of this host failed, as far as the host itself tells, and what was marked."""
    loaded = load(config)

    def show(out: Console) -> None:
        answer, body = fetch_failures(loaded, limit)
        if as_json:
            print_json(out, json.loads(body))
            return
        print_table(
            out,
            ("when", "what", "source", "of which"),
            [
                (Text(_when(one)), Text(_kind(one), "bold"), Text(one.source), Text(printable(_what(one))))
                for one in answer.failures
            ],
        )
        if not answer.failures:
            out.print("none seen yet")
        for line in _lacking(answer):
            out.print(Text(line, "yellow"), soft_wrap=not out.is_terminal)

    shown(show, watch=watch, seconds=SELDOM)


def _lacking(answer: FailuresAnswer) -> Iterator[str]:
    for source in answer.sources:
        if source.problem:
            yield printable(f"{source.name} is not read: {source.problem}")


def _when(one: FailureAnswer) -> str:
    return datetime.fromisoformat(one.at).astimezone().strftime("%Y-%m-%d %H:%M")


def _kind(one: FailureAnswer) -> str:
    return _KINDS.get(one.kind, one.kind)


def _what(one: FailureAnswer) -> str:
    named = one.detail if not one.resource or one.resource in one.detail else f"{one.resource}: {one.detail}"
    return named if one.times == 1 else f"{named} ({one.times} times)"


def mark(
    what: Annotated[str, typer.Option("--what", metavar="TEXT", help="What failed, in one line.")],
    at: Annotated[
        str, typer.Option(metavar="TIME", help='When: "14:05", "2026-03-01 14:05" or "10m" ago; else now.')
    ] = "",
    config: ConfigOption = None,
) -> None:
    """Tell presaged of a failure that it cannot see: its risk learns from it."""
    kept = mark_failure(load(config), what, moment(at, datetime.now().astimezone()) if at else None)
    say(f"marked at {_when(kept)}: {kept.detail}")


def moment(text: str, now: datetime) -> datetime:
    """Return the moment that `text` names, as of `now`. Raises BadParameter, which says what would be one."""
    text = text.strip()
    units = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
    try:
        if text[:-1].isdecimal() and text[-1:] in units and len(text) <= len("999999s"):
            return now - timedelta(seconds=int(text[:-1]) * units[text[-1]])
        if len(text) <= len("14:05:00") and ":" in text:
            today = datetime.combine(now.date(), datetime.strptime(f"{text}:00"[:8], "%H:%M:%S").time())  # noqa: DTZ007
            at = today.astimezone()
            return at if at <= now else (today - timedelta(days=1)).astimezone()
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError) as error:
        raise typer.BadParameter(
            'give a time like "14:05", "2026-03-01 14:05" or "10m" for ten minutes ago', param_hint="'--at'"
        ) from error
