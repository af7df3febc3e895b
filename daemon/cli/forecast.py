"""`presage forecast`: when each resource is full, and one of them with its past, its bands and its limit.

Enters: the daemon's answer. Leaves: a table of 80 columns, or a picture with what explains it, or JSON. It forecasts
nothing itself; which resource is meant is told by its name, the beginning of it, or a path on a file system.
"""

import difflib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from alerting.render import amount
from daemon.cli import completion
from daemon.cli.client import fetch_forecasts
from daemon.cli.configuration import ConfigOption
from daemon.cli.explain import unit_of
from daemon.cli.plot import Picture, draw
from daemon.cli.terminal import is_ascii, print_json, print_rows, printable
from daemon.cli.watching import SELDOM, WatchOption, shown
from daemon.config import load
from daemon.errors import DaemonError
from daemon.web.forecast_answers import AccuracyAnswer, ForecastAnswer, ForecastsAnswer, HorizonAnswer
from detectors.findings import Unit

Row = tuple[str, Text]

_LABEL = 10
_PLOT_ROWS = 14
_LEAST_COLUMNS, _MOST_COLUMNS = 80, 200
REACH = 3  # times its twelve steps: so far the farthest forecast is continued, as in `detectors.exhaustion`
_SECONDS = {"h": 3600.0, "d": 86_400.0}
_WITHIN = ("24h", "7d", "30d")  # of the table; a single resource shows all
_LIKELY, _POSSIBLE = 0.6, 0.2
_SURE = 0.995
_WORDS = frozenset((0, 2))  # columns of the table; the others hold numbers
_LEAST_NAME, _OTHER_COLUMNS = 12, 60  # of the table: a long name is folded before the outlook is


def _spaced(within: str) -> str:
    return f"{within[:-1]} {within[-1:]}"


_HEADINGS = ("resource", "used", "full", *map(_spaced, _WITHIN))


class Ahead(StrEnum):
    """Which horizon is drawn."""

    HOURS = "hours"
    DAYS = "days"
    MONTHS = "months"
    ALL = "all"


def show_forecasts(
    resource: Annotated[
        str | None,
        typer.Argument(
            metavar="RESOURCE",
            help='Such as /var, memory, "eth0 receive"; the beginning of it, or a path.',
            autocompletion=completion.resources,
        ),
    ] = None,
    horizon: Annotated[
        Ahead | None, typer.Option(help="What is drawn (default: where it becomes full, else days).")
    ] = None,
    config: ConfigOption = None,
    watch: WatchOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="The daemon's answer as JSON.")] = False,
) -> None:
    """Show when resources run out.

    Without RESOURCE all of them, the most endangered first.
    """
    loaded = load(config)
    name = None
    if resource is not None:
        name = named(resource, [one.resource for one in fetch_forecasts(loaded)[0].forecasts])

    def show(out: Console) -> None:
        answer, body = fetch_forecasts(loaded, name)
        if as_json:
            print_json(out, json.loads(body))
            return
        if name is None:
            print_forecasts(out, answer)
        else:
            for one in answer.forecasts:
                _print_one(out, one, horizon)
        if answer.problem:
            out.print(Text(printable(answer.problem), "yellow"), soft_wrap=not out.is_terminal)

    shown(show, watch=watch, seconds=SELDOM)


def named(wanted: str, names: Sequence[str]) -> str:
    """Return the resource that is meant. Raises DaemonError that names the nearest, or those that it could be."""
    if wanted in names:
        return wanted
    plain = wanted.casefold().rstrip("/") or wanted
    bare = {name: name.casefold() for name in names}
    found = [name for name in names if bare[name] in {plain, f"/{plain}"}]
    found = found or [name for name in names if bare[name].startswith((plain, f"/{plain}"))]
    if len(found) == 1:
        return found[0]
    if found:
        raise DaemonError(f'"{wanted}" may be {" or ".join(map(_quoted, found))}')
    if (mount := _mount_of(wanted, names)) is not None:
        return mount
    if not names:
        raise DaemonError("there is no resource yet: the first forecasts follow the first samples")
    near = max(names, key=lambda name: difflib.SequenceMatcher(None, plain, bare[name]).ratio())
    raise DaemonError(f'there is no resource "{wanted}"; the nearest is {_quoted(near)}')


def _mount_of(wanted: str, names: Sequence[str]) -> str | None:
    """Return the innermost file system that holds a path of this host."""
    if os.sep not in wanted or not os.path.lexists(wanted):
        return None
    path = os.path.realpath(wanted)
    holding = [name for name in names if name.startswith(os.sep) and os.path.commonpath([name, path]) == name]
    return max(holding, key=len, default=None)


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name


def print_forecasts(out: Console, answer: ForecastsAnswer) -> None:
    """Print a line for each resource: wrapped into its columns on a terminal, whole elsewhere."""
    lines = [_line(one) for one in answer.forecasts]
    if not lines:
        out.print("no resource is known yet")
        return
    if out.is_terminal and out.width < _LEAST_NAME + _OTHER_COLUMNS:
        for name, used, full, *chances in lines:
            out.print(Text.assemble(name, "  ", used), overflow="fold")
            told = [f"{cell.plain} in {_spaced(within)}" for cell, within in zip(chances, _WITHIN, strict=True) if cell]
            out.print(Padding(Text.assemble(full, f"; {', '.join(told)}" if told else ""), (0, 0, 0, 2)))
        return
    if out.is_terminal:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for place, heading in enumerate(_HEADINGS):
            number = place not in _WORDS
            most = None if number or place else max(_LEAST_NAME, out.width - _OTHER_COLUMNS)
            table.add_column(
                heading, no_wrap=number, overflow="fold", justify="right" if number else "left", max_width=most
            )
        for line in lines:
            table.add_row(*line)
        out.print(table)
        return
    texts = [list(_HEADINGS), *([cell.plain for cell in line] for line in lines)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for text in texts:
        cells = [
            f"{cell:<{width}}" if place in _WORDS else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(text, widths, strict=True))
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _line(one: ForecastAnswer) -> list[Text]:
    chances = [_chance(one, within) for within in _WITHIN]
    full = Text(printable(when_full(one).removeprefix("full ")), grave(one))
    return [Text(printable(one.resource), "bold"), Text(percent_used(one.used_ratio)), full, *chances]


def _chance(one: ForecastAnswer, within: str) -> Text:
    """Return a probability, nothing where no forecast reaches so far."""
    if within not in (told := told_chances(one)):
        return Text("")
    probability = told[within]
    return Text(percent_used(probability), "bold red" if probability >= _LIKELY else "" if probability else "dim")


def told_chances(one: ForecastAnswer) -> dict[str, float]:
    """Return the probabilities of which something is known: 0 beyond the end of all forecasts is no answer."""
    reach = max((len(each.mean) * each.step_seconds * REACH for each in one.horizons), default=0.0)
    return {
        within: chance
        for within, chance in one.exhaustion.probability.items()
        if chance > 0 or int(within[:-1]) * _SECONDS[within[-1:]] <= reach
    }


def percent_used(share: float) -> str:
    """Return a share as percent; only what is nothing, or all, is said to be."""
    if 0.0 < share < 1.0 - _SURE:
        return "<1 %"
    if _SURE < share < 1.0:
        return ">99 %"
    return f"{share * 100:.0f} %"


def when_full(one: ForecastAnswer) -> str:
    """Return the daemon's words, or what is lacking for a forecast."""
    if told_chances(one):
        return one.exhaustion.text
    return next((each.needs for each in one.horizons if each.needs), one.exhaustion.text)


def grave(one: ForecastAnswer) -> str:
    """Return the style of what is told of a resource, by how soon it is likely full."""
    chances = one.exhaustion.probability
    if chances.get("24h", 0.0) >= _LIKELY:
        return "bold red"
    if chances.get("7d", 0.0) >= _LIKELY or chances.get("30d", 0.0) >= _LIKELY:
        return "yellow"
    return "" if chances.get("365d", 0.0) >= _POSSIBLE else "dim"


def _print_one(out: Console, one: ForecastAnswer, wanted: Ahead | None) -> None:
    print_rows(out, rows(one), _LABEL)
    plain = is_ascii(out)
    columns = min(_MOST_COLUMNS, max(_LEAST_COLUMNS, out.width)) if out.is_terminal else _LEAST_COLUMNS
    for horizon in chosen(one, wanted):
        out.print()
        if horizon.needs or not horizon.mean:
            print_rows(out, [(horizon.name, Text(horizon.needs or "not forecast yet", "cyan"))], _LABEL)
            continue
        out.print(Text(_title(horizon), "bold"), soft_wrap=True)
        for line in draw(_picture(one, horizon), columns, _PLOT_ROWS, plain=plain):
            out.print(line, soft_wrap=True)
        if horizon.accuracy is not None and horizon.accuracy.forecasts:
            print_rows(out, [("accuracy", Text(_accuracy(horizon.name, horizon.accuracy), "dim"))], _LABEL)


def rows(one: ForecastAnswer) -> Iterator[Row]:
    """Yield what is known of a resource, and why."""
    said = amount_of(one)
    of = f" of {said(1.0)}" if said(1.0) else ""
    yield "resource", Text(printable(f"{one.resource} ({one.kind}): {percent_used(one.used_ratio)}{of} used"), "bold")
    free = f"; less than {one.floor_ratio * 100:.3g} % free counts as full" if one.floor_ratio else ""
    yield "outlook", Text(printable(when_full(one)), grave(one)).append(free, "not bold default")
    if told := told_chances(one):
        chances = [f"{percent_used(share)} in {_spaced(within)}" for within, share in told.items()]
        yield "chance", Text(printable(", ".join(chances)))
    for number, text in enumerate(one.explanation):
        yield "" if number else "because", Text(printable(text))
    lacking = [f"{each.name} ({each.needs})" for each in one.horizons if each.needs]
    if lacking:
        yield "lacking", Text(printable(", ".join(lacking)), "cyan")


def chosen(one: ForecastAnswer, wanted: Ahead | None) -> list[HorizonAnswer]:
    """Return the horizons to draw: the nearest in which it becomes full, else days, hours, months."""
    there = {each.name: each for each in one.horizons}
    if wanted is Ahead.ALL:
        return [each for each in one.horizons if each.mean]
    if wanted is not None:
        return [there[wanted.value]] if wanted.value in there else []
    full_ms = one.exhaustion.median_ms
    drawn = [each for each in one.horizons if each.mean and each.start_ms is not None]
    if full_ms is not None:
        for each in drawn:
            if (each.start_ms or 0) + (len(each.mean) - 1) * each.step_seconds * 1000 >= full_ms:
                return [each]
    order = [Ahead.DAYS, Ahead.HOURS, Ahead.MONTHS]
    return sorted(drawn, key=lambda each: order.index(Ahead(each.name)))[:1]


def _title(horizon: HorizonAnswer) -> str:
    by = f", by {'; '.join(horizon.methods)}" if horizon.methods else ""
    return printable(f"{len(horizon.mean)} {horizon.name} ahead{by}")


def _picture(one: ForecastAnswer, horizon: HorizonAnswer) -> Picture:
    full = one.exhaustion
    return Picture(
        history=horizon.history,
        start_ms=horizon.start_ms or 0,
        step_ms=round(horizon.step_seconds * 1000),
        median=horizon.mean,
        lo80=horizon.lo80,
        hi80=horizon.hi80,
        lo95=horizon.lo95,
        hi95=horizon.hi95,
        limit=1.0 - one.floor_ratio,
        full_ms=(full.lo80_ms, full.median_ms, full.hi80_ms),
        amount=amount_of(one),
    )


def amount_of(one: ForecastAnswer) -> Callable[[float], str]:
    """Return what says a share of the capacity in its unit, "" where percent say all."""
    unit, capacity = unit_of(one.unit), one.capacity
    if unit is Unit.RATIO:
        return lambda _: ""
    return lambda share: amount(share * capacity, unit)


def _accuracy(name: str, accuracy: AccuracyAnswer) -> str:
    said = [f"MASE {accuracy.mase:.2f}"] if accuracy.mase is not None else []
    for band, coverage in ((80, accuracy.coverage80), (95, accuracy.coverage95)):
        said.append(f"{coverage * 100:.0f} % inside the {band} % band")
    return f"of its forecasts of the last {accuracy.forecasts} {name} here: {', '.join(said)}"
