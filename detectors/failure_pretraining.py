"""Makes the shipped failure network and its calibration, out of simulated hosts alone: part of `make pretrain`.

Enters: seeds. Leaves: the model files in `detectors/pretrained/failure`, and a report on hosts of other seeds. Run
before shipping, by nobody else: neither the daemon nor its child imports this. What is made on the way is kept in the
folder for temporary files, under the hash of what makes it, so that a run that broke off goes on.
"""

import hashlib
import inspect
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from detectors import factor_features, factors, failing_hosts, failing_kinds, failing_scene, harmless_kinds
from detectors.failing_hosts import Moments, simulated
from detectors.failure import SHIPPED, FailureForecaster, save
from detectors.failure_learning import SETTINGS, calibrations, learned, quality
from detectors.trainer import Epoch, Settings

CHUNKS = 48  # of hosts to learn from; three more of others to calibrate by, and three to judge by
HOSTS = 384  # of a chunk
CALIBRATING, JUDGING = range(100, 103), range(200, 203)


def gathered(seeds: Sequence[int], folder: Path | None = None) -> Moments:
    """Return the moments of all `seeds`; kept in `folder`, and read from there where they are."""
    found: list[Moments] = []
    for seed in seeds:
        file = folder / f"hosts-{seed}-{HOSTS}.npz" if folder else None
        if file is not None and file.exists():
            with np.load(file) as kept:
                found.append(Moments(*(kept[one.name] for one in fields(Moments))))
            continue
        begun = time.monotonic()
        found.append(simulated(seed, HOSTS))
        if file is not None:
            partial = file.with_suffix(".partial.npz")
            np.savez(partial, **{one.name: getattr(found[-1], one.name) for one in fields(Moments)})
            partial.rename(file)
        _say(f"hosts of seed {seed}: {time.monotonic() - begun:.0f} s")
    return Moments(*(np.concatenate([getattr(one, name.name) for one in found]) for name in fields(Moments)))


def forecaster_of(known: Moments, unseen: Moments, settings: Settings = SETTINGS) -> FailureForecaster:
    """Return a forecaster that learned from the hosts `known`, calibrated by others."""
    network = learned(known.inputs, known.targets, settings, weights=known.weights, progress=_tell_epoch)
    raw = network.predict(unseen.inputs).astype(np.float64)
    base = np.average(known.targets.astype(np.float64), axis=0, weights=known.weights)
    return FailureForecaster(
        network, calibrations(raw, unseen.targets, unseen.weights), (float(base[0]), float(base[1]))
    )


def report(forecaster: FailureForecaster, judged: Moments) -> dict[str, float]:
    """Return what the forecaster is worth on hosts that it has not seen: `1h.auc_pr`, ..."""
    told = forecaster.probabilities(judged.inputs)
    counted = judged.weights.astype(np.float64)
    out: dict[str, float] = {}
    for place, name in enumerate(("1h", "24h")):
        found = quality(told[:, place], judged.targets[:, place].astype(np.float64), counted)
        out.update({f"{name}.{what}": round(value, 4) for what, value in found.items()})
    return out


def pretrain(target: Path, folder: Path, chunks: int = CHUNKS, settings: Settings = SETTINGS) -> dict[str, float]:
    """Write network and calibration as folders of `target`; return the report. `folder` keeps what was made."""
    known = gathered(range(chunks), folder)
    unseen, judged = gathered(CALIBRATING, folder), gathered(JUDGING, folder)
    _say(f"learning from {len(known.targets)} moments of simulated hosts, judged by {len(judged.targets)} of others")
    forecaster = forecaster_of(known, unseen, settings)
    told = report(forecaster, judged)
    save(target, forecaster, told)
    return told


def spare_folder() -> Path:
    """Return the folder of exactly what these sources make."""
    made_by = (factors, factor_features, failing_hosts, failing_kinds, failing_scene, harmless_kinds)
    words = "".join(inspect.getsource(one) for one in made_by)
    folder = Path(tempfile.gettempdir()) / f"presaged-failing-{hashlib.sha256(words.encode()).hexdigest()[:16]}"
    folder.mkdir(exist_ok=True)
    return folder


def main() -> None:
    """Pretrain what is shipped, and say what came of it."""
    for name, value in pretrain(SHIPPED, spare_folder()).items():
        _say(f"{name}: {value:.4f}")


def _tell_epoch(epoch: Epoch) -> None:
    _say(f"epoch {epoch.number} of {epoch.epochs}: loss {epoch.loss:.4f}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
