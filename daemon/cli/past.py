"""`presage plot`: the past of a signal, or of the anomaly score, as a picture in the terminal.

Enters: the daemon's answer. Leaves: one line of figures and a picture, or JSON. A signal is told by its name or any
part of it that only one signal has; the picture is as wide as the terminal.
"""

import difflib
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from alerting.render import amount
from daemon.cli import client, completion
from daemon.cli.chart import Past, chart, known
from daemon.cli.configuration import ConfigOption
from daemon.cli.explain import unit_of
from daemon.cli.silences import seconds_of
from daemon.cli.terminal import is_ascii, print_json, printable
from daemon.cli.watching import SELDOM, WatchOption, shown
from daemon.config import Loaded, load
from daemon.errors import DaemonError
from daemon.web.series_answers import HistoryAnswer, SeriesAnswer

SCORE = "anomaly.score"
_ROWS, _LEAST_COLUMNS, _MOST_COLUMNS, _PIPE_COLUMNS = 14, 40, 200, 80
_SIGNALS = 1000  # most in a page of the API
_NAMED = 5


def plot(
    signal: Annotated[
        str,
        typer.Argument(
            metavar="SIGNAL",
            help='Such as cpu.busy, or a part of a name; "score" is the anomaly score.',
            autocompletion=completion.signals,
        ),
    ] = "score",
    last: Annotated[str, typer.Option(metavar="TIME", help='How far back, like "30m", "24h" or "90d".')] = "24h",
    config: ConfigOption = None,
    watch: WatchOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="The daemon's answer as JSON.")] = False,
) -> None:
    """Draw the past of a signal."""
    seconds = seconds_of(last, "--last")
    loaded = load(config)
    name = SCORE if signal in {"score", SCORE} else _named(loaded, signal)

    def show(out: Console) -> None:
        columns = min(_MOST_COLUMNS, max(_LEAST_COLUMNS, out.width)) if out.is_terminal else _PIPE_COLUMNS
        answer = client.fetch_history(loaded, [name], float(seconds), 2 * columns)
        if as_json:
            print_json(out, answer.model_dump(mode="json"))
            return
        _print(out, answer, name, last, columns)

    shown(show, watch=watch, seconds=SELDOM)


def _named(loaded: Loaded, wanted: str) -> str:
    """Return the signal that is meant. Raises DaemonError that names those it could be, or the nearest."""
    names = [one.name for one in client.fetch_signals(loaded, _SIGNALS).signals]
    if wanted in names or wanted.startswith("anomaly."):
        return wanted
    found = [name for name in names if wanted.casefold() in name.casefold()]
    if len(found) == 1:
        return found[0]
    if found:
        more = f" or {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise DaemonError(printable(f'"{wanted}" may be {", ".join(found[:_NAMED])}{more}'))
    if not names:
        raise DaemonError("there is no signal yet: the first sample brings them")
    near = max(names, key=lambda name: difflib.SequenceMatcher(None, wanted, name).ratio())
    raise DaemonError(printable(f'there is no signal "{wanted}"; the nearest is {near}'))


def _print(out: Console, answer: HistoryAnswer, name: str, last: str, columns: int) -> None:
    series = next((one for one in answer.series if one.signal == name), None)
    if series is None or not known(series.mean):
        out.print(f"nothing is stored of {printable(name)} in the last {last}", soft_wrap=not out.is_terminal)
        return
    out.print(Text(printable(_figures(series, last)), "bold"), soft_wrap=not out.is_terminal)
    past = Past(
        times_ms=answer.times_ms,
        mean=series.mean,
        least=series.min,
        most=series.max,
        unit=unit_of(series.unit),
        from_ms=answer.from_ms,
        to_ms=answer.to_ms,
        step_ms=answer.step_seconds * 1000,
        threshold=series.threshold,
    )
    for line in chart(past, columns, _ROWS, plain=is_ascii(out)):
        out.print(line, soft_wrap=True)


def _figures(series: SeriesAnswer, last: str) -> str:
    unit, mean = unit_of(series.unit), known(series.mean)
    low, high = (amount(value, unit) for value in (min(known(series.min)), max(known(series.max))))
    limit = "" if series.threshold is None else f"; it is one from {amount(series.threshold, unit)} on"
    return f"{series.signal}, the last {last}: {amount(mean[-1], unit)} at the end, {low} to {high}{limit}"
