"""What an upgrade costs: the same days of a host, with and without a stop in their midst, by one program and by two.

Ours: the whole daemon on a clock that jumps (benchmarks/accelerated). It is stopped after a day and taken up within an
interval, as an upgrade does; with `--older TREE` the days before the stop are lived by the program of that source
tree, whose state the present one migrates. Beside it: the present program without a stop. Compared are the alerts
(name, resource, when they fired and ended), what served, the thresholds, and what was learned once more.
"""

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import accelerated
from benchmarks.accelerated import write_rows
from benchmarks.process import free_port
from benchmarks.report import Row, write
from benchmarks.year import events
from daemon.state import StateDatabase

HERE = Path(__file__).resolve().parent.parent
SEED, CROWDING = 3, 12.0


@dataclass(frozen=True, slots=True)
class Told:
    """One alert: when it fired and when it ended, in samples from the first; None = it has not."""

    alertname: str
    resource: str
    severity: str
    fired: float | None
    ended: float | None


@dataclass(frozen=True, slots=True)
class Lived:
    """What came of the days: alerts, and of each sample (T,) the model that judged it, its score and threshold."""

    told: tuple[Told, ...]
    model: NDArray[np.int64]
    score: NDArray[np.float64]
    threshold: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Case:
    """The days of a host: `rows` is the folder of its signals."""

    rows: Path
    start_ms: int
    interval: float
    ticks: int
    more: str = ""

    def live(self, folder: Path, first: int, ticks: int, tree: Path = HERE) -> None:
        """Let the program of `tree` live through some ticks, on the state in `folder`."""
        config = folder / "config.toml"
        if not config.exists():
            folder.mkdir(parents=True, exist_ok=True)
            config.write_text(
                f'[storage]\ndirectory = "state"\n[http]\nlisten = "127.0.0.1:{free_port()}"\n'
                f'[log]\nlevel = "warning"\n[compute]\nbackend = "numpy"\n{self.more}',
                encoding="utf-8",
            )
        asked = ("--start-ms", self.start_ms, "--interval", self.interval, "--first", first, "--ticks", ticks)
        with (folder / "log.jsonl").open("ab") as told:
            subprocess.run(
                [sys.executable, "-P", accelerated.__file__, str(config), str(self.rows), *map(str, asked)],
                env={**os.environ, "PYTHONPATH": str(tree), "TZ": "UTC"},
                stderr=told,
                check=True,
            )

    def read(self, folder: Path) -> Lived:
        """Return what came of it."""
        with closing(StateDatabase(folder / "state" / "state.db")) as state:
            found = state.recent_occurrences(100_000)[::-1]

        def at(time_ms: int | None) -> float | None:
            return None if time_ms is None else round((time_ms - self.start_ms) / 1000 / self.interval, 2)

        told = [
            Told(one.alertname, one.resource, one.severity.value, at(one.fired_ms), at(one.resolved_ms))
            for one in found
        ]
        with closing(sqlite3.connect(folder / "state" / "history.db")) as history:
            rows = history.execute("SELECT model, raw_score, raw_threshold FROM samples ORDER BY seq").fetchall()
        model, score, threshold = np.array(rows, np.float64).T
        return Lived(tuple(told), model.astype(np.int64), score, threshold)


def make_case(
    folder: Path, *, days: int, interval: float, seed: int = SEED, crowding: float = CROWDING, more: str = ""
) -> Case:
    """Record a host's days into `folder`."""
    world, _ = events.play(seed, days + 1, interval, crowding)
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(world, folder)
    return Case(folder, int(world.time_ms[0]), interval, round(days * 86_400 / interval), more)


def unlike(ours: Lived, other: Lived, begins: float = 1.0, ends: float = 2.0) -> list[str]:
    """Return in words which alerts are in one of two runs only, or begin or end at another time, by more samples.

    The first sample after a start has no rates: what was unusual seems less so for as long as one looks back on it.
    """

    def near(one: float | None, two: float | None, most: float) -> bool:
        return one == two if one is None or two is None else abs(one - two) <= most

    def same(one: Told, two: Told) -> bool:
        named = (one.alertname, one.resource, one.severity) == (two.alertname, two.resource, two.severity)
        return named and near(one.fired, two.fired, begins) and near(one.ended, two.ended, ends)

    left = list(other.told)
    found = []
    for one in ours.told:
        match = next((two for two in left if same(one, two)), None)
        if match is None:
            found.append(f"only with the stop: {one}")
        else:
            left.remove(match)
    return found + [f"only without: {one}" for one in left]


def unmatched(ours: Lived, other: Lived, since: int) -> int:
    """Return how many alerts of either run that go on beyond `since` have none alike at that time in the other."""

    def at(one: Told) -> tuple[float, float]:
        return one.fired or 0.0, float("inf") if one.ended is None else one.ended

    def alike(one: Told, two: Told) -> bool:
        named = (one.alertname, one.resource) == (two.alertname, two.resource)
        return named and at(one)[0] <= at(two)[1] and at(two)[0] <= at(one)[1]

    mine, theirs = ([one for one in lived.told if at(one)[1] > since] for lived in (ours, other))
    return sum(
        not any(alike(one, two) for two in others) for some, others in ((mine, theirs), (theirs, mine)) for one in some
    )


def figures(case: str, stopped: Lived, whole: Lived, stop: int, log: str) -> list[Row]:
    """Return the rows of one comparison."""
    after = slice(stop, None)
    differ = unlike(stopped, whole)
    score = np.nanmax(np.abs(stopped.score[after] - whole.score[after]))
    threshold = np.nanmax(np.abs(stopped.threshold[after] / whole.threshold[after] - 1))
    for line in differ:
        print(f"{case}: {line}", file=sys.stderr)
    return [
        Row(case, "alerts", "", len(stopped.told), "without a stop", len(whole.told)),
        Row(case, "alerts that differ", "", len(differ)),
        Row(case, "alerts after the stop with none alike", "", unmatched(stopped, whole, stop)),
        Row(case, "alerts after the stop", "", sum(1 for one in stopped.told if (one.fired or 0) >= stop)),
        Row(case, "samples under another model", "", int((stopped.model[after] != whole.model[after]).sum())),
        Row(case, "samples without a score", "", int(np.isnan(stopped.score[after]).sum())),
        Row(case, "largest difference of a score", "", float(score)),
        Row(case, "of a threshold", "ratio", float(threshold)),
        Row(case, "models refused", "", log.count("model_refused")),
    ]


def main() -> None:
    """Run it and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upgrade", description=__doc__)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument(
        "--stop", type=float, default=4.32, help="day of the stop; better not on the hour, when jobs are due"
    )
    parser.add_argument("--interval", type=float, default=30.0)
    parser.add_argument("--older", type=Path, action="append", default=[], help="source tree of an older presaged")
    parser.add_argument("--keep", type=Path, help="folder that keeps the state of every run")
    parser.add_argument("--json", action="store_true")
    given: Any = parser.parse_args()
    os.environ["TZ"] = "UTC"
    with tempfile.TemporaryDirectory(prefix="presaged-upgrade-") as name:
        folder = given.keep or Path(name)
        case = make_case(
            folder / "rows",
            days=given.days,
            interval=given.interval,
            more='[anomaly]\nlearning_days = 1\nnotify = "always"\n'
            f"network_after_samples = {round(86_400 / given.interval)}\n",
        )
        stop = round(given.stop * 86_400 / given.interval)
        shutil.rmtree(folder / "whole", ignore_errors=True)
        case.live(folder / "whole", 0, case.ticks)
        whole = case.read(folder / "whole")
        rows: list[Row] = []
        for tree in (HERE, *given.older):
            here = folder / tree.name
            shutil.rmtree(here, ignore_errors=True)
            case.live(here, 0, stop, tree)
            case.live(here, stop, case.ticks - stop)
            log = (here / "log.jsonl").read_text(encoding="utf-8")
            label = "stopped" if tree == HERE else f"taken over from {tree.name}"
            rows += figures(label, case.read(here), whole, stop, log)
    write("upgrade", rows, ("numpy",), as_json=given.json)


if __name__ == "__main__":
    main()
