"""The child's job that judges: challengers against the champion, and what the champion notices today.

Enters: history, the folders of the models, their thresholds. Leaves: a verdict a challenger, the share of injected
faults that champion and predecessor notice, and whether a new champion would have been too loud in the week before it.
It moves no pointer and writes no file.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from daemon.errors import WorkerError
from daemon.history import History
from daemon.samples import FLAG_DOUBTFUL, FLAG_GAP, FLAG_OWN_WORK, FLAGS_LEFT_OUT, Rows
from detectors import registry
from detectors.anomaly import AnomalyModel
from detectors.features import FLOORS
from detectors.findings import Unit
from detectors.gate import REPLAY_SECONDS, Evidence, Stretch, judge, performance, relative
from detectors.learner import Progress
from detectors.model_file import ModelError
from detectors.probation import SHADOW_SECONDS, Probation

Spec = Mapping[str, object]

_EARLIER_ROWS = 700  # of one block
_EARLIER_BLOCKS = 5


def judge_models(spec: Spec, progress: Progress) -> dict[str, object]:
    """Return {"performance", "predecessor": share noticed or None, "loud", "verdicts": by name of the challenger}.

    "loud" tells of a champion that serves since "since_ms" what the week before says; None where that is not asked.
    """
    interval, challengers = float(str(spec["interval_seconds"])), spec["challengers"]
    assert isinstance(challengers, Sequence)  # noqa: S101 - the daemon wrote it
    day, asked_of_week = int(SHADOW_SECONDS / interval), spec["predecessor"] and spec["since_ms"]
    few = day + int(REPLAY_SECONDS / interval) if asked_of_week else day
    rows = History(Path(str(spec["history"])), read_only=True).last_rows(
        int(str(spec["most_samples"])) if challengers else few
    )
    champion, threshold = _loaded(spec["champion"])
    progress(0.1, "what the champion notices")
    today = _evidence(rows, len(rows.seq) - min(day, len(rows.seq)), spec)
    out: dict[str, object] = {
        "performance": _number(performance(champion, threshold, today)),
        "predecessor": None,
        "loud": None,
        "verdicts": {},
    }
    if spec["predecessor"]:
        before = _loaded(spec["predecessor"])
        out["predecessor"] = _number(performance(*before, today))
        if asked_of_week:
            earlier = _evidence(rows, int(np.count_nonzero(rows.time_ms < int(str(spec["since_ms"])))), spec)
            ours, theirs = (
                relative(model, level, earlier.signal_ids, earlier.week)
                for model, level in ((champion, threshold), before)
            )
            out["loud"] = Probation.compare_weeks(ours, theirs, interval, earlier.episodes_per_week) is not None
    verdicts = {}
    for place, folder in enumerate(challengers):
        progress(0.2 + 0.8 * place / len(challengers), f"judging {Path(str(folder)).name}")
        try:
            model, manifest = registry.load(Path(str(folder)))
        except ModelError as error:
            verdicts[Path(str(folder)).name] = {"passes": False, "reasons": [str(error)], "metrics": {}}
            continue
        since = int(np.searchsorted(rows.seq, manifest.last_seq, "right"))
        evidence = _evidence(rows, since, spec)
        verdicts[manifest.name] = asdict(judge(champion, threshold, model, evidence, manifest.number % 2**31))
    out["verdicts"] = verdicts
    return out


def _loaded(given: object) -> tuple[AnomalyModel, float]:
    """Return the model of a pair of folder and threshold."""
    assert isinstance(given, Sequence)  # noqa: S101 - the daemon wrote it
    folder, threshold = given
    try:
        return registry.load(Path(str(folder)))[0], float(str(threshold))
    except ModelError as error:
        raise WorkerError(str(error)) from error


def _evidence(rows: Rows, since: int, spec: Spec) -> Evidence:
    """Return the rows from place `since` on as the recent ones, the week before, and blocks of what lies before."""
    units = spec["units"]
    assert isinstance(units, Mapping)  # noqa: S101 - the daemon wrote it
    interval = float(str(spec["interval_seconds"]))
    columns = [place for place, signal in enumerate(rows.signal_ids) if str(signal) in units]
    ids = [rows.signal_ids[place] for place in columns]
    week = max(0, since - int(REPLAY_SECONDS / interval))
    starts = np.linspace(0, max(0, week - _EARLIER_ROWS), _EARLIER_BLOCKS).astype(int).tolist()
    blocks = [stretch(rows, columns, first, min(first + _EARLIER_ROWS, week)) for first in sorted(set(starts))]
    return Evidence(
        signal_ids=ids,
        floor=np.array([FLOORS[Unit(units[str(signal)])] for signal in ids]),
        recent=stretch(rows, columns, since, len(rows.seq)),
        week=stretch(rows, columns, week, since),
        earlier=_joined(blocks, len(columns)),
        interval_seconds=interval,
        episodes_per_week=float(str(spec["episodes_per_week"])),
    )


def stretch(rows: Rows, columns: Sequence[int], first: int, end: int) -> Stretch:
    """Return the rows `first` to `end`, a NaN row at each gap; what the daemon's own work shows in is NaN too."""
    flags = rows.flags[first:end]
    values = rows.values[first:end][:, columns]
    values[(flags & FLAG_OWN_WORK) != 0] = np.nan
    hours = np.where((flags & FLAG_DOUBTFUL) != 0, -1, rows.hours[first:end])
    alarmed = (flags & FLAGS_LEFT_OUT) != 0
    gaps = np.flatnonzero((flags & FLAG_GAP) != 0)
    if len(gaps):
        values = np.insert(values, gaps, np.nan, axis=0)
        hours, alarmed = np.insert(hours, gaps, -1), np.insert(alarmed, gaps, values=False)
    return Stretch(values, hours, alarmed)


def _joined(blocks: Sequence[Stretch], signals: int) -> Stretch:
    """Return blocks as one, a gap after each."""
    gap = np.full((1, signals), np.nan, np.float32)
    return Stretch(
        np.concatenate([gap, *(part for one in blocks for part in (one.values, gap))]),
        np.concatenate([[-1], *(np.r_[one.hours, -1] for one in blocks)]).astype(np.int64),
        np.concatenate([[False], *(np.r_[one.alarmed, False] for one in blocks)]).astype(np.bool_),
    )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
