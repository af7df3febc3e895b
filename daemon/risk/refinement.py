"""The job of the child that refines the failure network by the failures of this host.

Enters: what the daemon says (paths, signals, when the host failed), history.db read-only. Leaves: the refined
forecaster in `models/incoming/failure`, or the reason why it is refused. It moves nothing among the models that serve.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from daemon.errors import WorkerError
from daemon.history import History
from daemon.risk.moments import OwnMoments, own_moments
from daemon.signals import Kind, SignalRegistry, SignalSpec
from detectors.factor_features import INPUTS
from detectors.failure import FailureForecaster, load_forecaster, save, shipped
from detectors.failure_refinement import REFINING, Lived, refine
from detectors.findings import Unit
from detectors.learner import Progress
from detectors.model_file import ModelError
from detectors.replay import Memory, load_memory

_READ, _REPLAYED = 0.2, 0.8  # shares of the time after which each is done
_MEMORY = "memory"
_ANSWERS = 3  # failed within an hour, within a day, and how much time the moment stands for
_BYTES, _REGIMES = 2_000_000, 4


def refine_network(spec: Mapping[str, Any], progress: Progress) -> dict[str, object]:
    """Refine the forecaster in the folder `served`, "" = the shipped one; `until_ms`: whose failures it knows.

    Returns `refused` ("" = it is refined), of how many `events` it knows, and its error at the newest moments.
    """
    began = _forecaster(str(spec["served"]))
    history = History(Path(spec["history"]), read_only=True)
    own = own_moments(
        history,
        _registry(spec["signals"]),
        float(spec["interval_seconds"]),
        [int(one) for one in spec["failed_ms"]],
        int(spec["now_ms"]),
        since_ms=int(spec["since_ms"]),
        most=int(spec["moments"]),
        score_threshold=float(spec["score_threshold"]),
        progress=lambda share, text: progress(_READ * share, text),
    )
    events = began.taught + int((own.failed_ms > int(spec["until_ms"])).sum())
    progress(_READ, "replaying simulated hosts")
    memory = _memory(str(spec["served"]))
    few, calibrated, judged = spec["replayed"]
    found = refine(
        began,
        own.inputs,
        own.targets,
        events,
        replace(REFINING, epochs=int(spec["epochs"])),
        weights=own.weights,
        anchor=shipped(),
        replayed=(few, calibrated, judged),
        earlier=_earlier(memory, own),
        progress=lambda epoch: progress(
            _REPLAYED + (1 - _REPLAYED) * epoch.number / epoch.epochs, "learning from both"
        ),
    )
    error = {name: value for name in ("before", "after") if isfinite(value := getattr(found, name))}
    if not found.refused:
        folder = Path(spec["incoming"])
        save(folder, found.forecaster, error)
        answers = np.concatenate([own.targets, own.weights[:, None]], axis=1)
        memory.keep(own.inputs, answers, own.time_ms, np.random.default_rng(events))
        memory.save(folder, _MEMORY)
    return {"refused": found.refused, "events": events, "moments": len(own.inputs), **error}


def _memory(folder: str) -> Memory:
    """Return the moments that the forecaster in `folder` learned from; an empty one where none are kept."""
    if folder and (Path(folder) / _MEMORY).exists():
        try:
            memory = load_memory(Path(folder) / _MEMORY)
        except ModelError:  # what it has forgotten costs no refinement
            pass
        else:
            if (memory.width, memory.outputs) == (INPUTS, _ANSWERS):
                return memory
    return Memory(INPUTS, _ANSWERS, bytes_=_BYTES, most=_REGIMES)


def _earlier(memory: Memory, own: OwnMoments) -> Lived:
    """Return what is kept from before history begins: all that came later is there itself."""
    inputs, answers, _ = memory.rows()
    stamps = np.concatenate([np.zeros(0, np.int64), *(regime.stamps for regime in memory.regimes)])
    older = stamps < own.time_ms.min(initial=2**62)
    return Lived(inputs[older], answers[older, :2], answers[older, 2])


def _forecaster(folder: str) -> FailureForecaster:
    """Return the forecaster to begin with; one that has been damaged since it was read is none to learn from."""
    found = load_forecaster(Path(folder)) if folder else shipped()
    if found.problem:
        raise WorkerError(found.problem)
    return found


def _registry(signals: list[list[Any]]) -> SignalRegistry:
    """Return a registry of the signals that the daemon named; it gets no others."""
    known = [
        (int(number), SignalSpec(str(name), Unit(unit), Kind(kind), str(family), str(resource)), 0)
        for number, name, unit, kind, family, resource in signals
    ]
    return SignalRegistry(known, lambda _new, _time_ms: {}, lambda _gone: None)
