"""The child: `python -m daemon.worker JOB`, for what is too big or too slow for the daemon's own process.

Enters: one JSON object on standard input. Leaves: one JSON object a line on standard output
({"progress", "text"}, at last {"result"} or {"error"}), and files in `models/incoming/` or the kernel
cache. It opens history.db read-only, moves no pointer, and may be killed at any line.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from daemon.capacity import refinement
from daemon.errors import PresagedError, WorkerError
from daemon.history import History
from daemon.models import unfinished
from daemon.models.judging import judge_models
from daemon.risk.refinement import refine_network
from daemon.samples import (
    FLAG_ALARMED,
    FLAG_DOUBTFUL,
    FLAG_EXPECTED,
    FLAG_GAP,
    FLAG_INCIDENT,
    FLAG_OWN_WORK,
    FLAG_SPARED,
    Rows,
    left_out,
)
from detectors import continual, kernels, registry
from detectors.anomaly import MINIMUM_ROWS, fit_model
from detectors.features import FLOORS
from detectors.findings import Unit
from detectors.learner import Progress, TrainingError
from detectors.model_file import ModelError
from detectors.validation import validate

Spec = Mapping[str, object]

_LEARNING = 0.7  # of a training's time: the rest is validation

# Why a sample is left out, the gravest first: each is counted once.
_LEFT_OUT = {"incident": FLAG_INCIDENT, "alarmed": FLAG_ALARMED, "spared": FLAG_SPARED, "expected": FLAG_EXPECTED}


def compile_kernels(spec: Spec) -> dict[str, object]:
    """Compile every kernel into the cache folder `cache`."""
    started = time.monotonic()
    kernels.compile_all(Path(str(spec["cache"])), _report)
    return {"seconds": round(time.monotonic() - started, 2)}


def _report(share: float, text: str) -> None:
    _say(progress=share, text=text)


def train(spec: Spec, progress: Progress = _report) -> dict[str, object]:
    """Learn a model from `history` and write it into `incoming`; `units` maps signal ids to unit suffixes.

    Killed at any moment, it goes on the next time: the same samples, and the same bits in the end.
    """
    history = History(Path(str(spec["history"])), read_only=True)
    units = spec["units"]
    assert isinstance(units, Mapping)  # noqa: S101 - the daemon wrote it
    rows, checkpoints = unfinished.samples(history, spec), unfinished.checkpoints(Path(str(spec["incoming"])))
    columns = [place for place, signal in enumerate(rows.signal_ids) if str(signal) in units]
    values, hours = learnable(rows)
    if len(columns) < len(rows.signal_ids):
        values = values[:, columns]
    if len(values) < MINIMUM_ROWS:
        raise WorkerError(f"{len(values)} samples are too few to learn from: {MINIMUM_ROWS} are needed")
    ids = [rows.signal_ids[place] for place in columns]
    floor = np.array([FLOORS[Unit(units[str(signal)])] for signal in ids])
    number = int(rows.seq[-1])
    backend = _backend(spec)
    # the same rows are learnable whatever is in them: so each tells its number
    numbered = replace(rows, values=rows.seq[:, None].astype(np.float64))  # float32 holds no number above 16 million
    stamps = np.nan_to_num(learnable(numbered)[0][:, 0], nan=-1).astype(np.int64)
    known, dropped = _known(spec, rows, stamps)
    model = fit_model(
        values,
        hours,
        ids,
        floor,
        with_network=bool(spec.get("with_network", True)),
        seed=number,
        progress=lambda share, text: progress(_LEARNING * share, text),
        backend=backend,
        learn=partial(continual.learn, known=known, checkpoints=checkpoints),
        stamps=stamps,
    )
    name = f"{number:012d}"
    learned = model.learned
    figures: dict[str, float] = {}
    if learned is not None:
        figures = {**learned.figures, "replay_dropped": float(dropped)}
        figures |= validate(
            values,
            hours,
            floor,
            interval_seconds=float(str(spec["interval_seconds"])),
            episodes_per_week=float(str(spec["episodes_per_week"])),
            progress=lambda share, text: progress(_LEARNING + (1 - _LEARNING) * share, text),
        )
    folder = registry.save(
        Path(str(spec["incoming"])),
        model,
        {
            "name": name,
            "number": number,
            "trained_ms": time.time_ns() // 1_000_000,
            "interval_seconds": float(str(spec["interval_seconds"])),
            "samples": len(rows.seq),
            "first_seq": int(rows.seq[0]),
            "last_seq": number,
            "parent": Path(str(spec.get("champion", ""))).name,
            "trigger": str(spec.get("trigger", "")),
            "first_ms": int(rows.time_ms[0]),
            "last_ms": int(rows.time_ms[-1]),
            "exclusions": exclusions(rows),
            "metrics": figures,
        },
    )
    if learned is not None:
        continual.save(folder, learned.knowledge)
    checkpoints.forget()
    return {"name": name, "samples": len(rows.seq), "signals": len(ids)}


def _known(spec: Spec, rows: Rows, stamps: NDArray[np.int64]) -> tuple[continual.Knowledge | None, int]:
    """Return what the champion knows, None where nothing usable is kept, without rows that are learnable no more.

    A row can be: an operator called its time an incident after it was learned from. Also returns how many those were.
    """
    champion = str(spec.get("champion", ""))
    if not champion:
        return None, 0
    try:
        known = continual.load(Path(champion))
    except ModelError as error:
        _say(text=f"learned anew, for nothing is kept to go on from: {error}")
        return None, 0
    return known, known.memory.forget(int(rows.seq[0]), int(rows.seq[-1]), stamps)


def _backend(spec: Spec) -> kernels.Backend:
    """Return the best back end that serves here; NumPy trains the same where none does."""
    preference = spec.get("backend", "numpy")
    assert preference in ("auto", "compiled", "jit", "numpy")  # noqa: S101 - the daemon wrote it
    backend, _ = kernels.load(preference, Path(str(spec.get("cache", ""))))
    return backend


def learnable(rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return values (T, S) and hours (T,) to learn from: a NaN row at each gap and for each sample of own work.

    Runs of what `left_out` names are left out as a gap.
    """
    out = left_out(rows.flags)
    hours = np.where((rows.flags & FLAG_DOUBTFUL) != 0, -1, rows.hours)
    cut = ((rows.flags & FLAG_GAP) != 0) | np.r_[False, out[:-1]]
    keep = np.flatnonzero(~out)
    gaps = np.flatnonzero(cut[keep] & (np.arange(len(keep)) > 0))
    values = rows.values[keep]
    values[(rows.flags[keep] & FLAG_OWN_WORK) != 0] = np.nan
    if len(gaps) == 0:
        return values, hours[keep]
    return np.insert(values, gaps, np.nan, axis=0), np.insert(hours[keep], gaps, -1)


def exclusions(rows: Rows) -> dict[str, int]:
    """Return how many samples `learnable` leaves out, by reason; gaps are counted, not what would have been in them."""
    left = left_out(rows.flags)
    own_work = ((rows.flags & FLAG_OWN_WORK) != 0) & ~left
    by_reason = {}
    for name, flag in _LEFT_OUT.items():
        here = left & ((rows.flags & flag) != 0)
        by_reason[name] = int(here.sum())
        left &= ~here
    return {
        **by_reason,
        "own_work": int(own_work.sum()),
        "doubtful_hours": int(((rows.flags & FLAG_DOUBTFUL) != 0).sum()),
        "gaps": int(((rows.flags & FLAG_GAP) != 0).sum()),
    }


def judge(spec: Spec, progress: Progress = _report) -> dict[str, object]:
    """Judge challengers against the champion, and measure what serves."""
    return judge_models(spec, progress)


def refine(spec: Spec) -> dict[str, object]:
    """Refine the failure network by the failures of this host."""
    return refine_network(spec, _report)


def refine_capacity(spec: Spec) -> dict[str, object]:
    """Refine the capacity network by the past of this host."""
    return refinement.refine_network(spec, _report)


JOBS: Mapping[str, Callable[[Spec], dict[str, object]]] = {
    "compile": compile_kernels,
    "train": train,
    "judge": judge,
    "refine": refine,
    "refine_capacity": refine_capacity,
}


def _say(**words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def _step_back(memory_bytes: int) -> None:
    """Take what is left over: lowest priority, bounded memory, first to be killed when memory runs out.

    A sandbox may refuse the first (the shipped unit does, and puts the daemon above its child instead).
    """
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    for what, step in (
        ("the priority", lambda: os.nice(19)),
        ("the priority at disks", lambda: psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)),
        ("oom_score_adj", lambda: Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")),
    ):
        try:
            step()
        except (OSError, psutil.AccessDenied) as error:
            _say(text=f"{what} stays as it is: {error}")


def main() -> int:
    """Run one job; the exit code is 0 on success."""
    job = JOBS.get(sys.argv[1] if len(sys.argv) > 1 else "")
    if job is None:
        sys.stderr.write(f"usage: python -m daemon.worker {'|'.join(JOBS)} <SPEC.json\n")
        return 2
    spec = json.load(sys.stdin)
    _step_back(int(spec["memory_bytes"]))
    try:
        result = job(spec)
    except (PresagedError, TrainingError, kernels.BackendError, OSError, MemoryError) as error:
        _say(error=f"{type(error).__name__}: {error}")
        return 1
    _say(result=result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
