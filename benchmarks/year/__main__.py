"""A year in minutes: what the daemon would have sent in a simulated year, against the truth, beside simple methods.

Ours: the real tick with all that stands behind it, on a fake clock. Beside it, on the same samples: the static rules
of the node mixin, and max|z| with as many notifications as ours. docs/year.md says what is simulated, and what is not.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from math import isfinite
from pathlib import Path

import structlog

from benchmarks.report import Row, write
from benchmarks.year import plot
from benchmarks.year.beside import Sent, robust, static_rules
from benchmarks.year.events import Plan, play
from benchmarks.year.figures import (
    MONTH_DAYS,
    Judged,
    judge,
    median,
    monthly_episodes,
    ours,
    poisson,
    together,
    wilson,
)
from benchmarks.year.host import local_time
from benchmarks.year.life import live, peak_bytes
from benchmarks.year.lived import Lived
from daemon.config import Config

SEEDS = (1, 2, 3)
INTERVAL = 600.0
DAYS = 365
METHODS = ("ours", "node mixin", "max|z|")
_MIB = 2.0**20


@dataclass(frozen=True, slots=True)
class Year:
    """One host's year: the truth, what each method sent, how that is judged, and what the daemon's state came to."""

    seed: int
    interval: float
    rows: int
    plan: Plan
    sent: dict[str, list[Sent]]
    judged: dict[str, Judged]
    lived: Lived
    episodes: list[int]


def year_of(seed: int, days: int, interval: float, crowding: float = 1.0) -> Year:
    """Live through one year."""
    config = Config()
    learning = min(float(config.anomaly.learning_days), days / 2)
    with local_time(), tempfile.TemporaryDirectory(prefix="presaged-year-") as folder:
        world, plan = play(seed, days, interval, crowding)

        def progress(row: int) -> None:
            print(f"seed {seed}: day {row * interval / 86_400:.0f} of {days}", file=sys.stderr, flush=True)

        with redirect_stdout(StringIO()):  # the child's work is done here, and tells its progress as a child does
            lived = asyncio.run(live(world, Path(folder), config, progress))
        mine = ours(lived)
        sent = {
            "ours": mine,
            "node mixin": static_rules(world, plan.incidents, learning),
            "max|z|": robust(world, max(len(mine), 1), learning),
        }
        judged = {name: judge(sent[name], plan, world, learning) for name in METHODS}
        return Year(seed, interval, len(world.time_ms), plan, sent, judged, lived, monthly_episodes(lived, world))


def rows_of(years: list[Year]) -> list[Row]:
    """Return the figures of all years together, and of each."""
    pooled = {name: together([year.judged[name] for year in years]) for name in METHODS}
    case = f"{len(years)} years" if len(years) != 1 else f"seed {years[0].seed}"
    rows = _beside(case, pooled)
    if len(years) > 1:
        for year in years:
            rows += _beside(f"seed {year.seed}", year.judged)
    mine = pooled["ours"]
    for metric, interval in (
        ("real, 95 %", wilson(mine.real, mine.real + mine.false)),
        ("notified, 95 %", wilson(mine.notified, len(mine.told))),
        ("false a month, 95 %", tuple(one / mine.days * MONTH_DAYS for one in poisson(mine.false))),
        ("right unit first, 95 %", wilson(*mine.named())),
    ):
        rows += [Row(case, f"{metric} {end}", "", one) for end, one in zip(("from", "to"), interval, strict=True)]
    for year in years:
        rows += _cost(year)
    return rows


def _beside(case: str, judged: dict[str, Judged]) -> list[Row]:
    rows = []
    for metric, unit, figure, more in (
        ("real", "share", lambda one: _share(one.real, one.real + one.false), True),
        ("incidents notified", "share", lambda one: _share(one.notified, len(one.told)), True),
        ("notified before harm", "share", lambda one: _share(one.before, len(one.told)), True),
        ("false", "a month", lambda one: one.false / one.days * MONTH_DAYS, False),
        ("sent", "a month", lambda one: (one.real + one.false) / one.days * MONTH_DAYS, False),
        ("median lead", "min", lambda one: median(one.leads), True),
    ):
        mine = figure(judged["ours"])
        for name in METHODS[1:]:
            theirs = figure(judged[name])
            if not isfinite(mine + theirs):  # a lead where nothing was sent
                continue
            best, worst = (mine, theirs) if more else (theirs, mine)
            rows.append(Row(case, metric, unit, mine, name, theirs, best / worst if worst > 0 else None))
    for metric, ever in (("right unit first", False), ("right unit first, any notification", True)):
        rows.append(Row(case, metric, "share", _share(*judged["ours"].named(ever=ever))))
    return rows


def _share(hits: int, number: int) -> float:
    return hits / number if number else 1.0


def _cost(year: Year) -> list[Row]:
    case, lived = f"seed {year.seed}", year.lived
    fired = [one.alertname for one in lived.occurrences]
    told = [
        Row(case, "episodes a month, at most", "", max(year.episodes)),
        Row(case, "episodes a month, mean", "", sum(year.episodes) / len(year.episodes)),
        Row(case, "starts of the daemon", "", lived.starts),
        Row(case, "cloned disk refused", "", float(lived.clone_refused)),
        Row(case, "promotions", "", fired.count("ModelPromoted")),
        Row(case, "rollbacks", "", fired.count("ModelRolledBack")),
    ]
    told += [Row(case, f"trainings, {key}", "", count) for key, count in sorted(lived.retrains.items())]
    if lived.retention:
        told.append(Row(case, "retention at the end", "share", lived.retention[-1][1]))
    told += [Row(case, f"file {name}", "MiB", size / _MIB) for name, size in sorted(lived.files.items())]
    if lived.resident:
        first = lived.resident[min(30, len(lived.resident) - 1)][1]
        told.append(Row(case, "memory, day 30", "MiB", first / _MIB))
        told.append(Row(case, "memory, last day", "MiB", lived.resident[-1][1] / _MIB))
    return told


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, action="append", help="a host; may be given again (default: 1, 2 and 3)")
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--interval", type=float, default=INTERVAL, help="seconds between two samples")
    parser.add_argument("--crowding", type=float, default=1.0, help="how many times as much happens in the same time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="the years as SVG")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    years = [year_of(seed, arguments.days, arguments.interval, arguments.crowding) for seed in arguments.seed or SEEDS]
    report(years, arguments.json, arguments.plot)


def report(years: list[Year], json_file: Path | None, plot_file: Path | None) -> None:
    """Print the figures, and write what was asked for."""
    rows = [*rows_of(years), Row("this process", "memory at most", "MiB", peak_bytes() / _MIB)]
    write("year", rows, ("numpy", "scipy"), as_json=False)
    if json_file is not None:
        with json_file.open("w", encoding="utf-8") as file, redirect_stdout(file):
            write("year", rows, ("numpy", "scipy"), as_json=True)
    if plot_file is not None:
        plot_file.write_text(plot.drawn(years), encoding="utf-8")


if __name__ == "__main__":
    main()
