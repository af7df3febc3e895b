"""A backtest of 30 days of 100 signals: how long it takes, and what scoring hours at once is worth.

Ours: the whole replay, with its learning, trainings and thresholds, then the report and its page. Beside it, on
the first days alone and in the same run: the same replay that scores each sample by itself, as the daemon does.
The host is invented: causes that wander with a daily rhythm, every signal a mix of them.
"""

import argparse
import asyncio
import logging
import resource
import time
from dataclasses import replace

import numpy as np
import structlog

from benchmarks.report import Row, smaller_is_better, write
from daemon.backtest import page, report
from daemon.backtest.replay import replay
from daemon.backtest.result import Backtest, Samples
from daemon.config import Config
from daemon.continuity import hour_of_week
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

DAY = 2880
START_MS = 1_772_344_800_000


def host(days: int, signals: int, seed: int = 0) -> Samples:
    """Return invented samples, one in 30 s."""
    rng = np.random.default_rng(seed)
    rows = days * DAY
    causes = np.cumsum(rng.normal(size=(rows, 4)), axis=0)
    causes -= np.stack([np.convolve(column, np.full(240, 1 / 240), "same") for column in causes.T], axis=1)
    rhythm = np.sin(np.arange(rows) / DAY * 2 * np.pi)[:, None]
    mixing = rng.normal(size=(4, signals)) * 0.02
    values = 0.4 + causes @ mixing + 0.1 * rhythm * rng.uniform(0, 1, signals) + 0.02 * rng.normal(size=(rows, signals))
    time_ms = START_MS + 30_000 * np.arange(rows, dtype=np.int64)
    return Samples(
        specs=tuple(SignalSpec(f"test.s{one:03d}", Unit.RATIO, Kind.GAUGE, "test") for one in range(signals)),
        signal_ids=tuple(range(1, signals + 1)),
        values=values.astype(np.float32),
        seq=np.arange(1, rows + 1),
        time_ms=time_ms,
        monotonic_ns=time_ms * 1_000_000,
        boot=np.ones(rows, np.int64),
        hours=np.array([hour_of_week(int(at)) for at in time_ms], np.int64),
        flags=np.zeros(rows, np.int64),
    )


def _first(samples: Samples, rows: int) -> Samples:
    return replace(
        samples,
        **{
            name: getattr(samples, name)[:rows]
            for name in ("values", "seq", "time_ms", "monotonic_ns", "boot", "hours", "flags")
        },
    )


def _replayed(samples: Samples, *, live: bool = False) -> tuple[Backtest, float]:
    began = time.perf_counter()
    result = asyncio.run(replay(samples, (), Config(), name="benchmark", host="web1", live=live))
    return result, time.perf_counter() - began


def _measure(days: int, signals: int) -> list[Row]:
    samples = host(days, signals)
    case = f"{days} days of {signals} signals"
    result, seconds = _replayed(samples)
    began = time.perf_counter()
    made = report.make_report(result)
    text = page.render(made, result)
    told = time.perf_counter() - began
    few = _first(samples, min(3, days) * DAY)
    _, alone = _replayed(few, live=True)
    _, ahead = _replayed(few)
    return [
        Row(case, "replay", "s", seconds),
        Row(case, "a sample", "ms", 1000 * seconds / len(samples.seq)),
        Row(case, "report and page", "s", told),
        Row(case, "page", "KiB", len(text.encode()) / 1024),
        Row(case, "memory at most", "MiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        smaller_is_better(f"{min(3, days)} days of {signals} signals", "replay", "s", ahead, ("one by one", alone)),
    ]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--signals", type=int, default=100)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    write("backtest", _measure(arguments.days, arguments.signals), ("numpy",), as_json=arguments.json)


if __name__ == "__main__":
    main()
