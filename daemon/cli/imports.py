"""`presage import`: history from a Prometheus or a file, so that presaged knows this host from its first hour.

Enters: where the history is. Leaves: rows of history.db, and a summary. It opens the databases beside the running
daemon, each time for a moment; what was interrupted goes on where it stopped when the same command is given again.
"""

import asyncio
import os
import pwd
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer
from rich.text import Text

from daemon.cli.configuration import ConfigOption
from daemon.cli.import_progress import progress_of_import
from daemon.cli.owner import give_to_owner, no_folder
from daemon.cli.terminal import complain, console, print_json, print_rows
from daemon.config import Loaded, load
from daemon.continuity import GAP_INTERVALS
from daemon.errors import DaemonError, StateError

if TYPE_CHECKING:  # NumPy and aiohttp are loaded when they are needed: `presage --help` is quick
    from daemon.imports.pages import Imported
    from daemon.imports.table import Table
    from daemon.imports.writer import ImportWriter

_INTERRUPTED = 130
_LABEL = 10
_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
_DATABASES = ("history.db", "state.db")


@dataclass(frozen=True, slots=True)
class Source:
    """Which Prometheus, and what of it."""

    url: str
    token: str | None
    instances: tuple[str, ...]
    days: int


class Conversion(TypedDict):
    """How `node_exporter.convert` is asked."""

    gap_seconds: float
    names: Mapping[str, str]
    exclude_mounts: Sequence[str]
    exclude_disks: Sequence[str]
    exclude_interfaces: Sequence[str]


def import_history(
    *,
    prometheus: Annotated[
        str | None, typer.Option(metavar="URL", help="A Prometheus, Thanos, Mimir or VictoriaMetrics.")
    ] = None,
    instance: Annotated[
        list[str] | None,
        typer.Option(metavar="I", help="The node_exporter of this host (default: by its name); may be repeated."),
    ] = None,
    days: Annotated[int, typer.Option(metavar="N", min=1, max=365, help="How many days back from now.")] = 30,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Bearer token for the Prometheus.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", exists=True, dir_okay=False, help="A table of our signals.")
    ] = None,
    openmetrics: Annotated[
        Path | None,
        typer.Option("--openmetrics", metavar="FILE", exists=True, dir_okay=False, help="Series of node_exporter."),
    ] = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
) -> None:
    """Import what others have measured of this host before presaged did.

    It may run beside the daemon, be interrupted, and be given again: nothing is written twice.
    """
    if sum(source is not None for source in (prometheus, csv, openmetrics)) != 1:
        raise typer.BadParameter("give one of --prometheus URL, --csv FILE and --openmetrics FILE")
    source = None
    if prometheus is not None:
        source = Source(_checked_url(prometheus), _token(token_file), tuple(instance or ()), days)
    elif token_file is not None:
        raise typer.BadParameter("--token-file goes with --prometheus")
    elif instance and (csv is not None or len(instance) > 1):
        raise typer.BadParameter("--instance goes with --prometheus, and once with --openmetrics")
    loaded = load(config)
    try:
        check_folder(loaded)
        if source is not None:
            imported = asyncio.run(_from_prometheus(loaded, source))
        else:
            file = csv or openmetrics or Path()
            imported = _from_file(loaded, file, _tables(loaded, csv, file, instance[0] if instance else None))
    except KeyboardInterrupt:
        complain("stopped; the same command goes on from here")
        raise typer.Exit(_INTERRUPTED) from None
    except (StateError, sqlite3.Error) as error:
        raise DaemonError(str(error)) from error
    _show(imported, as_json=as_json)


def _checked_url(url: str) -> str:
    from daemon.imports.prometheus import base_url  # noqa: PLC0415 - see above

    try:
        return base_url(url)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--prometheus") from None


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not plain text"
        raise typer.BadParameter(f"{path} cannot be read: {reason}", param_hint="--token-file") from None
    if not token or not token.isprintable():
        raise typer.BadParameter(f"{path} must hold the token alone, on one line", param_hint="--token-file")
    return token


def check_folder(loaded: Loaded) -> None:
    """Check that the state folder can be written by us. Raises DaemonError with the remedy."""
    folder = loaded.state_directory
    try:
        status = folder.stat()
        if not folder.is_dir():
            raise DaemonError(f"{folder} is a file: name a folder in [storage] directory")
    except FileNotFoundError:
        raise DaemonError(no_folder(loaded)) from None
    except OSError as error:
        raise DaemonError(f"{folder}: {error.strerror}: run `sudo presage import ...`") from None
    paths = [folder, *(path for name in _DATABASES if (path := folder / name).exists())]
    for path in paths:
        if not os.access(path, os.R_OK | os.W_OK):
            raise DaemonError(
                f"{path} may not be written by {_user(os.geteuid())}: run it as its owner,"
                f" `sudo -u {_user(status.st_uid)} presage import ...`, or as root"
            )
    _refuse_damaged(folder / _DATABASES[0])


def _refuse_damaged(path: Path) -> None:
    """A damaged history is set aside by who opens it: that is left to the daemon, which may have it open."""
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            database.execute("SELECT max(seq) FROM samples").fetchone()
    except sqlite3.OperationalError:
        return  # busy, or of no table yet: opening it tells
    except sqlite3.DatabaseError as error:
        raise DaemonError(f"{path} is damaged ({error}): restart presaged, which sets it aside, then import") from error


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


@contextmanager
def _opened(loaded: Loaded) -> "Iterator[ImportWriter]":
    """Open both databases for a writer, which finishes unless something is raised.

    What root creates in the folder of another is given to that one.
    """
    from daemon.history import History  # noqa: PLC0415 - see above
    from daemon.imports.pages import patiently  # noqa: PLC0415 - see above
    from daemon.imports.writer import ImportWriter  # noqa: PLC0415 - see above
    from daemon.state import StateDatabase  # noqa: PLC0415 - see above

    folder = loaded.state_directory
    interval = float(loaded.config.sampling.interval_seconds)
    try:
        with (
            closing(patiently(lambda: History(folder / "history.db"))) as history,
            closing(patiently(lambda: StateDatabase(folder / "state.db"))) as state,
        ):
            give_to_owner(folder)
            writer = patiently(lambda: ImportWriter(history, state, interval_seconds=interval, now_ms=_now_ms()))
            yield writer
            patiently(writer.finish)
    finally:
        give_to_owner(folder)


async def _from_prometheus(loaded: Loaded, source: Source) -> "Imported":
    """Find this host's series, then import page after page."""
    from daemon.imports import pages, targets  # noqa: PLC0415 - see above
    from daemon.imports.node_exporter import METRICS, convert  # noqa: PLC0415 - see above
    from daemon.imports.prometheus import Prometheus  # noqa: PLC0415 - see above

    interval = float(loaded.config.sampling.interval_seconds)
    now_ms = _now_ms()
    first_ms = now_ms - source.days * _DAY_MS
    with progress_of_import() as progress:
        async with Prometheus(source.url, token=source.token, told=progress.say) as server:
            ours = await targets.find_targets(server, loaded.config.host.name, source.instances, first_ms, now_ms)
            if warning := targets.doubt(ours):
                progress.say(warning)
            scrape = await targets.find_interval(server, ours, first_ms, now_ms)
            if warning := targets.judge_interval(scrape, interval, server.where):
                progress.say(warning)
            gap = GAP_INTERVALS * max(scrape, interval)
            with _opened(loaded) as writer:
                if writer.before_ms <= first_ms:
                    raise DaemonError(
                        f"there are samples of this host since {_day(writer.before_ms)} already, and only what is"
                        f" earlier is imported: give more than --days {source.days}"
                    )
                progress.begin(first_ms, writer.before_ms)
                work = pages.PagedImport(
                    server,
                    ours,
                    writer,
                    names=METRICS,
                    convert=partial(convert, **_conversion(loaded, gap)),
                    source=" ".join(("prometheus", server.where, *ours.instances)),
                    scrape_seconds=scrape,
                    gap_seconds=gap,
                    span_ms=(first_ms, writer.before_ms),
                    progress=progress.show,
                )
                return await work.run()


def _conversion(loaded: Loaded, gap_seconds: float) -> Conversion:
    """Return how series of node_exporter become signals, by the rules that the collectors have here."""
    from daemon.collectors.base import HostPaths  # noqa: PLC0415 - see above
    from daemon.imports.node_exporter import names_of_disks  # noqa: PLC0415 - see above

    collectors = loaded.config.collectors
    return {
        "gap_seconds": gap_seconds,
        "names": names_of_disks(HostPaths().sys),
        "exclude_mounts": collectors.exclude_mounts,
        "exclude_disks": collectors.exclude_disks,
        "exclude_interfaces": collectors.exclude_interfaces,
    }


def _from_file(loaded: Loaded, path: Path, tables: "Iterator[Table]") -> "Imported":
    """Import every table of a file; the databases are opened when the first of them could be read."""
    from daemon.imports import pages, targets  # noqa: PLC0415 - see above

    interval = float(loaded.config.sampling.interval_seconds)
    gap_ms = round(GAP_INTERVALS * interval * 1000)
    imported: Imported | None = None
    with progress_of_import() as progress, ExitStack() as stack:
        for table in tables:
            if imported is None:
                if warning := targets.judge_interval(targets.pause_seconds(table, interval), interval, str(path)):
                    progress.say(warning)
                writer = stack.enter_context(_opened(loaded))
                imported = pages.Imported(int(table.time_ms[0]), int(table.time_ms[0]))
                progress.begin(imported.first_ms, writer.before_ms)
            pages.import_table(table, writer, imported, gap_ms, progress.show)
        if imported is None or not imported.new + imported.known:
            raise DaemonError(f"{path}: no sample of it is from before presaged took its own")
    return imported


def _tables(loaded: Loaded, csv: Path | None, openmetrics: Path, instance: str | None) -> "Iterator[Table]":
    """Read the file that was given; nothing of it is read yet when this returns."""
    from daemon.imports.text import read_csv, read_openmetrics  # noqa: PLC0415 - see above

    if csv is not None:
        return read_csv(csv)
    gap = GAP_INTERVALS * loaded.config.sampling.interval_seconds
    return read_openmetrics(openmetrics, instance=instance, **_conversion(loaded, gap))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _show(imported: "Imported", *, as_json: bool) -> None:
    """Print what came of it, and what comes next."""
    if as_json:
        print_json(
            console(),
            {
                "first_at": _iso(imported.first_ms),
                "end_at": _iso(imported.end_ms),
                "rows_new": imported.new,
                "rows_known": imported.known,
                "signals": len(imported.signals),
                "unseen_hours": round(imported.unseen_ms / _HOUR_MS, 2),
                "done_before_hours": round(imported.skipped_ms / _HOUR_MS, 2),
            },
        )
        return
    rows = [
        ("span", Text(f"{_minute(imported.first_ms)} to {_minute(imported.end_ms)}")),
        ("rows", Text(f"{imported.new:,} new, {imported.known:,} known")),
        ("signals", Text(f"{len(imported.signals)}")),
    ]
    if imported.skipped_ms:
        rows.append(("skipped", Text(f"{_length(imported.skipped_ms)} that were imported before")))
    if imported.unseen_ms:
        rows.append(("unseen", Text(f"{_length(imported.unseen_ms)} without a sample", "yellow")))
    after = "presaged takes it up within five minutes; `presage backtest` shows what it would have sent"
    rows.append(("next", Text(after if imported.new else "nothing new to take up")))
    print_rows(console(), rows, _LABEL)


def _length(ms: int) -> str:
    return f"{ms / _HOUR_MS:.1f} h" if ms < 2 * _DAY_MS else f"{ms / _DAY_MS:.1f} days"


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _minute(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def _day(ms: int) -> str:
    return _minute(ms).partition(" ")[0]
