"""The training that was cut off: from which samples it learned, so that the next one can go on and not begin again.

Enters: what the child was asked, the history. Leaves: the samples to learn from, those of the training before where it
was cut off less than a day ago and nothing that it rests on has changed since, and the newest ones otherwise.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from daemon import __version__
from daemon.history import History
from daemon.samples import Rows
from detectors.checkpoint import UNFINISHED, Checkpoint, Checkpoints

_PLAN = "plan"
_MOST_SECONDS = 86_400.0  # what is older is not worth its age
_BESIDE = ("memory_bytes", "trigger")  # of what was asked: they change nothing of the result


def checkpoints(incoming: Path) -> Checkpoints:
    """Return where the child keeps how far it is."""
    return Checkpoints(incoming / UNFINISHED)


def cut_off(incoming: Path, now_ms: int) -> str | None:
    """Return the trigger of the training that was cut off, None where there is none to go on with; blocks."""
    found = Checkpoint(incoming / UNFINISHED, _PLAN).load()
    if found is None or not _is_fresh(found[1], now_ms):
        return None
    return str(found[1].get("trigger", ""))


def samples(history: History, spec: Mapping[str, object], now_ms: int | None = None) -> Rows:
    """Return the samples to learn from; what is left of a training that learns from others is taken away."""
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    kept = checkpoints(Path(str(spec["incoming"])))
    plan = Checkpoint(kept.folder, _PLAN)
    asked, found = _asked(spec), plan.load()
    if found is not None and _is_fresh(found[1], now_ms) and found[1].get("asked") == asked:
        first, count = int(str(found[1]["first_seq"])), int(str(found[1]["samples"]))
        rows = history.following(first - 1, count)
        if _digest(rows) == found[1].get("digest"):
            return rows
    kept.forget()
    rows = history.last_rows(int(str(spec["most_samples"])))
    if len(rows.seq):
        told = {
            "asked": asked,
            "trigger": str(spec.get("trigger", "")),
            "begun_ms": now_ms,
            "first_seq": int(rows.seq[0]),
            "samples": len(rows.seq),
            "digest": _digest(rows),
        }
        plan.save({"seq": rows.seq[-1:]}, told)
    return rows


def _is_fresh(told: Mapping[str, object], now_ms: int) -> bool:
    return 0 <= now_ms - int(str(told.get("begun_ms", 0))) < _MOST_SECONDS * 1000


def _asked(spec: Mapping[str, object]) -> str:
    """Hash what was asked, and of which version."""
    told = {key: value for key, value in spec.items() if key not in _BESIDE}
    return hashlib.sha256(json.dumps([__version__, told], sort_keys=True).encode()).hexdigest()


def _digest(rows: Rows) -> str:
    """Hash samples and all that decides what is learned of them."""
    digest = hashlib.sha256(repr(rows.signal_ids).encode())
    for part in (rows.seq, rows.time_ms, rows.hours, rows.flags, rows.values):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
