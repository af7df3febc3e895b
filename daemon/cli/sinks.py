"""`presage sinks`, `presage sinks test` and `presage drill`: whether notifications arrive.

Enters: the daemon's word on each sink. Leaves: one line a sink; exit code 1 when one of them has not taken what it
was to take. A test goes to one sink, beside the queue; a drill takes the way of every alert, from finding to delivery.
"""

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.status import Status
from rich.text import Text

from alerting.policy import DRILL
from daemon.cli import client, completion
from daemon.cli.alerts import login_name
from daemon.cli.configuration import ConfigOption
from daemon.cli.status import counts
from daemon.cli.terminal import complain, print_json, print_table, printable, say
from daemon.cli.watching import SELDOM, WatchOption, shown
from daemon.config import Loaded, load
from daemon.errors import DaemonError
from daemon.web.alert_answers import AlertDetail, DrillAnswer

_LEAST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 1.0  # between two looks at the drill
_GRACE_SECONDS = 30.0  # beyond the two samples in which a drill begins and ends
_LISTED = 200
_EVENTS = ("firing", "resolved")


def show(
    context: typer.Context,
    config: ConfigOption = None,
    watch: WatchOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="The daemon's answer as JSON.")] = False,
) -> None:
    """List the sinks and what each did since the start; `test` tries one."""
    if context.invoked_subcommand is not None:
        return
    loaded = load(config)

    def show_once(out: Console) -> None:
        sinks = client.fetch_status(loaded)[0].sinks
        if as_json:
            print_json(out, {"sinks": [sink.model_dump(mode="json") for sink in sinks]})
            return
        print_table(out, ("sink", "since the start"), [(Text(one.name, "bold"), Text(counts(one))) for one in sinks])
        if not sinks:
            out.print(
                "none: alerts are kept and shown, not sent; see [[alerting.sinks]]", soft_wrap=not out.is_terminal
            )

    shown(show_once, watch=watch, seconds=SELDOM)


def try_one(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the sink.", autocompletion=completion.sinks)],
    config: ConfigOption = None,
) -> None:
    """Send a test notification.

    It says that it is one; what is told is whether the sink took it, and how long that took.
    """
    tried = client.try_sink(load(config), name)
    if tried.error is not None:
        raise DaemonError(printable(f"{tried.sink} did not take it ({tried.seconds:.2f} s): {tried.error}"))
    say(f"{tried.sink} took it in {tried.seconds:.2f} s")


@dataclass(slots=True)
class Progress:
    """How far the drill is: `seconds` holds after how many a sink has taken the firing, and the end, by both."""

    alert: AlertDetail | None = None
    held: str = ""
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def told(self) -> list[str]:
        """The sinks that the drill was given to."""
        return [] if self.alert is None else self.alert.sent_to

    def note(self, alert: AlertDetail, now: datetime) -> None:
        """Take in how the drill's alert stands at `now`."""
        self.alert = alert
        self.held = alert.held or self.held
        since = {"firing": alert.fired_at, "resolved": alert.resolved_at}
        for one in alert.deliveries:
            moment = since.get(one.event)
            if one.state == "delivered" and moment is not None:
                seconds = max(0.0, (now - datetime.fromisoformat(moment)).total_seconds())
                self.seconds.setdefault((one.sink, one.event), seconds)

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to wait for any more."""
        if self.alert is None or self.alert.state != "resolved":
            return False
        return not self.alert.owed and all((sink, event) in self.seconds for sink in self.told for event in _EVENTS)

    def words(self) -> str:
        """Return what is waited for."""
        if self.alert is None:
            return "waiting for the next sample"
        taken = sum((sink, "firing") in self.seconds for sink in self.told)
        if self.alert.state != "resolved":
            return f"it fires; {taken} of {len(self.told)} sinks have taken that; it ends with the next sample"
        ended = sum((sink, "resolved") in self.seconds for sink in self.told)
        return f"it is over; {ended} of {len(self.told)} sinks have taken that"


def drill(config: ConfigOption = None) -> None:
    """Let a false alarm, marked as a drill, take the way of every alert, and wait until each sink has taken it."""
    loaded = load(config)
    if not client.fetch_status(loaded)[0].sinks:
        raise DaemonError("no sink is configured, so nobody would be told; see [[alerting.sinks]]")
    answer = client.start_drill(loaded, login_name())
    with _waiting(f"a drill fires with the next sample, within {answer.interval_seconds:g} s") as say:
        progress = _follow(loaded, answer, say)
    failed = _report(answer, progress)
    raise typer.Exit(int(failed))


def _waiting(words: str) -> AbstractContextManager[Callable[[str], None]]:
    """Return what shows progress on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        return nullcontext(lambda _words: None)
    return _Spinner(words)


class _Spinner:
    def __init__(self, words: str) -> None:
        self._status = Status(words, console=Console(stderr=True, markup=False, highlight=False, emoji=False))

    def __enter__(self) -> Callable[[str], None]:
        self._status.start()
        return self._status.update

    def __exit__(self, *_error: object) -> None:
        self._status.stop()


def _follow(loaded: Loaded, answer: DrillAnswer, say: Callable[[str], None]) -> Progress:
    """Ask for the drill's alert until all is done, or two samples and some grace have passed."""
    progress = Progress()
    pause = min(max(answer.interval_seconds / 60, _LEAST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
    give_up = time.monotonic() + 2 * answer.interval_seconds + _GRACE_SECONDS
    number = ""
    while not progress.is_done and time.monotonic() < give_up:
        number = number or _number_of(loaded, answer.after)
        if number:
            progress.note(client.fetch_alert(loaded, number)[0], datetime.now(UTC))
        say(progress.words())
        if not progress.is_done:
            time.sleep(pause)
    return progress


def _number_of(loaded: Loaded, after: str) -> str:
    """Return the id of the drill's alert, "" before it fires; one that still fired when this was asked for counts."""
    for one in client.fetch_alerts(loaded, _LISTED).alerts:
        if one.alertname == DRILL and one.state != "pending" and (one.occurrence > after or one.state == "firing"):
            return one.occurrence
    return ""


def _report(answer: DrillAnswer, progress: Progress) -> bool:
    """Say how it went, one line a sink; return whether one of those that were told has not taken all."""
    if progress.alert is None:
        complain("the drill has not fired: see `presage status` for when the last sample was")
        return True
    if progress.held.startswith("left to "):  # our part is done: it fired, was exported, and is over
        sys.stdout.write(
            printable(f"it fired and is over, {progress.held}: look whether you are told of it there") + "\n"
        )
        return False
    if not progress.told:
        why = (
            f"held: {progress.held.removeprefix('not sent: ')}" if progress.held else "no route leads a drill anywhere"
        )
        complain(printable(f"nobody was told of the drill; {why}"))
        return True
    failed = False
    for sink in dict.fromkeys([*answer.sinks, *progress.told]):
        if sink not in progress.told:
            say(f"{sink}: not told: it is kept for other alerts; try `presage sinks test {sink}`")
            continue
        parts = [_taken(progress, sink, event) for event in _EVENTS]
        failed = failed or any((sink, event) not in progress.seconds for event in _EVENTS)
        say(f"{sink}: {'; '.join(parts)}")
    return failed


def _taken(progress: Progress, sink: str, event: str) -> str:
    seconds = progress.seconds.get((sink, event))
    if seconds is not None:
        return f"{event} taken within {seconds:.1f} s"
    deliveries = [] if progress.alert is None else progress.alert.deliveries
    error = next((one.error for one in deliveries if (one.sink, one.event) == (sink, event) and one.error), None)
    return f"{event} not taken" + (f": {error}" if error else "")
