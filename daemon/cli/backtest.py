"""`presage backtest`: what would have been sent, before anybody is told anything.

Enters: the stored history, and a configuration or two. Leaves: a report on the terminal, as JSON, as one page. It
needs no running daemon and sends nothing; the alerts it finds are kept in state.db, so that they can be judged.
"""

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.configuration import ConfigOption
from daemon.cli.owner import owner_kept
from daemon.cli.terminal import complain, console, print_json, print_rows
from daemon.config import Config, Loaded, load
from daemon.errors import DaemonError, StateError

if TYPE_CHECKING:  # NumPy and the rest of the daemon: half a second that `presage --help` need not wait for
    from daemon.backtest.replay import FixedModel, Progress
    from daemon.backtest.result import Backtest, Samples

_EVERY_SECONDS = 5.0


def backtest(
    *,
    first: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="First sample, like 2026-11-01 or 2026-11-01T06:00.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="TIME", help="End, in the same form.")] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Judge with this model of models/ all the time, instead of learning."),
    ] = None,
    compare: Annotated[
        str | None, typer.Option(metavar="FILE|NAME", help="Do it again with another configuration, or another model.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", dir_okay=False, help="Write one page with plots.")
    ] = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
) -> None:
    """Show what would have been sent.

    Replays the stored history as if presaged began with its first sample: the first week is learned from, and what
    comes after it is judged.
    """
    import structlog  # noqa: PLC0415 - see above

    from daemon.backtest.source import read_verdicts  # noqa: PLC0415

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # of a replay: no news
    span = (_moment(first, "--from"), _moment(to, "--to"))
    if None not in span and span[0] >= span[1]:  # type: ignore[operator]
        raise typer.BadParameter("must be later than --from", param_hint="--to")
    loaded = load(config)
    plan = [(_name(loaded, model), loaded.config, model)]
    if compare is not None:
        other = Path(compare)
        if other.suffix == ".toml":
            plan.append((compare, load(other).config, model))
        else:
            plan.append((f"model {compare}", loaded.config, compare))
    with owner_kept(loaded):
        results = _replayed(loaded, span, plan)
        _keep(loaded, results[0])
        verdicts = read_verdicts(loaded.state_directory)
    results = [replace(one, verdicts=verdicts) for one in results]
    _show(results, html, as_json=as_json)


def _moment(text: str | None, option: str) -> int | None:
    """Return a time as UTC milliseconds; one without a zone is of this host's."""
    if text is None:
        return None
    try:
        return round(datetime.fromisoformat(text).astimezone().timestamp() * 1000)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f'"{text}" is not a time like 2026-11-01, 2026-11-01T06:00 or 2026-11-01T06:00:00Z', param_hint=option
        ) from None


def _name(loaded: Loaded, model: str | None) -> str:
    if model is not None:
        return f"model {model}"
    return str(loaded.files[0]) if loaded.files else "the default configuration"


def _replayed(
    loaded: Loaded, span: tuple[int | None, int | None], plan: list[tuple[str, Config, str | None]]
) -> "list[Backtest]":
    from daemon.backtest.replay import replay  # noqa: PLC0415
    from daemon.backtest.source import read_changes, read_judged, read_samples  # noqa: PLC0415

    samples = read_samples(loaded.state_directory, *span)
    _check(samples, loaded)
    changes, judged = read_changes(loaded.state_directory), read_judged(loaded.state_directory)
    results = []
    for name, config, model in plan:
        fixed = None if model is None else _model(loaded, model)
        with _bar(name) as progress:
            host = config.host.name or socket.gethostname()
            results.append(
                asyncio.run(
                    replay(
                        samples, changes, config, name=name, host=host, fixed=fixed, judged=judged, progress=progress
                    )
                )
            )
    return results


def _check(samples: "Samples", loaded: Loaded) -> None:
    """Raise DaemonError where there is nothing to replay, or where it was taken at another interval."""
    import numpy as np  # noqa: PLC0415

    if len(samples.seq) == 0:
        raise DaemonError(f"{loaded.state_directory}: there is no sample in that time; see `presage status --data`")
    interval = loaded.config.sampling.interval_seconds
    found = float(np.median(np.diff(samples.time_ms))) / 1000 if len(samples.seq) > 1 else interval
    if not interval / 3 <= found <= interval * 3:
        raise DaemonError(
            f"{loaded.state_directory}: the samples are {found:g} s apart, and the configuration says {interval} s;"
            " name the right one with --config"
        )


def _model(loaded: Loaded, name: str) -> "FixedModel":
    from daemon.backtest.replay import FixedModel  # noqa: PLC0415
    from detectors.registry import ModelError, Registry  # noqa: PLC0415
    from detectors.registry import load as load_model  # noqa: PLC0415

    try:
        folders = {folder.name: folder for folder in Registry(loaded.state_directory / "models").versions()}
    except OSError:
        folders = {}
    if name not in folders:
        there = f"there are {', '.join(sorted(folders)[-5:])}" if folders else "none has been trained yet"
        raise DaemonError(f'there is no model "{name}": {there}')
    try:
        return FixedModel(name, load_model(folders[name])[0])
    except ModelError as error:
        raise DaemonError(str(error)) from error


def _keep(loaded: Loaded, result: "Backtest") -> None:
    """Keep the alerts, so that `presage feedback` finds them; where that cannot be, say so and go on."""
    from daemon.state import StateDatabase  # noqa: PLC0415

    try:
        state = StateDatabase(loaded.state_directory / "state.db")
        try:  # nobody was told of them
            state.record_backtest([replace(one, told=(), ended=(), group="", owed=False) for one in result.occurrences])
        finally:
            state.close()
    except StateError as error:
        complain(f"the alerts cannot be judged with `presage feedback`: {error}")


def _show(results: "list[Backtest]", html: Path | None, *, as_json: bool) -> None:
    from daemon.backtest import page, report  # noqa: PLC0415

    made = report.make_report(*results)
    if html is not None:
        try:
            html.write_text(page.render(made, results[0]), encoding="utf-8")
        except OSError as error:
            raise DaemonError(f"{html} cannot be written: {error.strerror}") from error
    out = console()
    if as_json:
        print_json(out, report.to_json(made))
        return
    print_rows(out, report.rows(made, plain=not out.is_terminal), report.LABEL)
    if html is not None:
        out.print(f"the page is {html}", soft_wrap=True)


@contextmanager
def _bar(name: str) -> "Iterator[Progress]":
    """Show on stderr how far a replay is: a bar on a terminal, a line every few seconds elsewhere."""
    if not sys.stderr.isatty():
        yield _lines(name)
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("replaying"), BarColumn(), TextColumn("{task.percentage:3.0f} %"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name)
        yield lambda done, count: progress.update(task, completed=done, total=count)


def _lines(name: str) -> "Progress":
    told = time.monotonic()

    def tell(done: int, count: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _EVERY_SECONDS:
            told = time.monotonic()
            sys.stderr.write(f"presage: {name}: {done / max(count, 1):.0%} of {count:,} samples\n")

    return tell
