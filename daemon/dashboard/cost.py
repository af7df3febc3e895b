"""What the daemon itself costs: processor, memory, time a tick, room on the disk.

Enters: the last snapshot, the counted ticks, the state folder. Leaves: one answer.
"""

import os
import time
from contextlib import suppress
from math import isfinite
from pathlib import Path

from prometheus_client import Histogram

from alerting.render import rfc3339
from daemon.collectors.itself import RESIDENT, THREADS
from daemon.dashboard.answers import SelfAnswer
from daemon.snapshot import Snapshot


class OwnCost:
    """Measured from when it is made, which is the daemon's start."""

    def __init__(self, directory: Path, ticks: Histogram) -> None:
        self._directory = directory
        self._ticks = ticks
        self._began, self._used = time.monotonic(), time.process_time()

    def tell(self, snapshot: Snapshot | None, first_ms: int | None) -> SelfAnswer:
        """Return the cost up to now; it reads the folder's sizes and blocks as long."""
        elapsed = time.monotonic() - self._began
        known = {spec.name: value for spec, value in snapshot.values if spec in {RESIDENT, THREADS}} if snapshot else {}
        count, total = _summed(self._ticks)
        return SelfAnswer(
            cpu_ratio=round((time.process_time() - self._used) / elapsed, 5) if elapsed > 1.0 else None,
            resident_bytes=_whole(known.get(RESIDENT.name)),
            threads=_whole(known.get(THREADS.name)),
            ticks=count,
            tick_mean_seconds=total / count if count else None,
            history_bytes=_size(self._directory, "history.db*"),
            state_bytes=_size(self._directory, "state.db*"),
            models_bytes=_size(self._directory / "models", "**/*"),
            first_sample_at=None if first_ms is None else rfc3339(first_ms),
        )


def _whole(value: float | None) -> int | None:
    return None if value is None or not isfinite(value) else round(value)


def _summed(histogram: Histogram) -> tuple[int, float]:
    found = {sample.name: sample.value for metric in histogram.collect() for sample in metric.samples}
    count = next((value for name, value in found.items() if name.endswith("_count")), 0.0)
    return round(count), next((value for name, value in found.items() if name.endswith("_sum")), 0.0)


def _size(folder: Path, pattern: str) -> int:
    """Return what the files of a folder take on the disk: the reserve of a database counts, a hole does not."""
    total = 0
    for path in folder.glob(pattern):
        with suppress(OSError):  # it was deleted meanwhile
            found = os.lstat(path)
            total += found.st_blocks * 512
    return total
