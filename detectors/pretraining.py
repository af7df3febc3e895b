"""Makes the shipped capacity network and tables of intervals, out of simulated resources alone: `make pretrain`.

Enters: seeds. Leaves: the model files in `detectors/pretrained/capacity`, and a report on simulated resources of other
seeds. Run before shipping, by nobody else: neither the daemon nor its child imports this. What is made on the way is
kept in the folder for temporary files, under the hash of what makes it, so that a run that broke off goes on.

The targets are the simple forecast's errors in units of its earlier ones, and the loss is absolute: what cannot be
known, a job that starts or a disk that is cleaned, pulls at nothing. What counts is how many resources there are:
forty thousand give two thirds of what a hundred and twenty thousand give.
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

from detectors import capacity_inputs, forecasters, intervals, smoothing, synthetic, synthetic_shapes
from detectors.architectures import CATALOGUE
from detectors.capacity import INTERVAL_MARKS, INTERVALS, NETWORK, SHIPPED
from detectors.capacity_examples import ALONE, HIDDEN, HOSTS, LENGTHS, Examples, joined, resources, simulated, taught
from detectors.capacity_inputs import FARTHEST, SHARE, corrected, correction, methods, part, units
from detectors.forecasters import select
from detectors.forecasts import HORIZONS, STEPS
from detectors.interval_fitting import fit_table
from detectors.losses import Loss, LossName
from detectors.model_file import Card, save_network, write
from detectors.network import Network
from detectors.optimizers import AdamW
from detectors.parameters import layers_of
from detectors.schedules import Cosine
from detectors.synthetic import series
from detectors.trainer import Epoch, Settings, train

FIRST_SEED = 1_000_000
CHUNKS = 74  # of each horizon; the first are held out
HELD_OUT = 4
INTERVAL_CHUNKS = 5
SETTINGS = Settings(
    loss=Loss(LossName.MAE),
    optimizer=AdamW(rate=2e-3, weight_decay=0.05),
    schedule=Cosine(warm_up=1),
    epochs=12,
    batch=256,
)


def gathered(seeds: Sequence[int], folder: Path | None = None) -> Examples:
    """Return the examples of all `seeds` and horizons; kept in `folder`, and read from there where they are."""
    found: list[Examples] = []
    for number, seed in enumerate(seeds, 1):
        begun = time.monotonic()
        for place, horizon in enumerate(HORIZONS):
            file = folder / f"{horizon.name}-{seed}.npz" if folder else None
            if file is not None and file.exists():
                with np.load(file) as kept:
                    found.append(Examples(*(kept[one.name] for one in fields(Examples))))
                continue
            found.append(simulated(seed, place, ALONE, HOSTS))
            if file is not None:
                partial = file.with_suffix(".partial.npz")
                np.savez(partial, **{one.name: getattr(found[-1], one.name) for one in fields(Examples)})
                partial.rename(file)
        _say(f"chunk {number} of {len(seeds)}: {time.monotonic() - begun:.0f} s")
    return joined(found)


def learned_from(rows: Examples, settings: Settings) -> Network:
    """Return a network that learned from `rows`; its last layer begins at 0, so that it begins with no correction."""
    network = Network(CATALOGUE["capacity"].architecture, seed=settings.seed)
    block = network.parameters.copy()
    layers_of(network.architecture, block)[-1].weights[:] = 0
    network.assign(block)
    targets = np.clip(rows.targets, -FARTHEST, FARTHEST)
    train(network, rows.inputs, targets, settings, progress=_tell_epoch)
    return network


def gains(network: Network, rows: Examples) -> dict[str, float]:
    """Return of each horizon the mean absolute scaled error of the simple forecast, and what the correction changes.

    `hours.simple`, `hours.change`, and `hours.doubt`: half of the 95 % interval of the paired change.
    """
    said = SHARE * np.clip(network.predict(rows.inputs), -FARTHEST, FARTHEST)
    told: dict[str, float] = {}
    for place, horizon in enumerate(HORIZONS):
        here = rows.horizon == place
        simple, ours = (rows.some(here).errors(correction) for correction in (np.zeros((1, STEPS)), said[here]))
        change = ours - simple
        told[f"{horizon.name}.simple"] = float(simple.mean())
        told[f"{horizon.name}.change"] = float(change.mean())
        told[f"{horizon.name}.doubt"] = float(1.96 * change.std() / np.sqrt(max(len(change), 1)))
    return told


def interval_tables(network: Network, seeds: Sequence[int]) -> dict[str, intervals.IntervalTable]:
    """Return the table of each horizon, fitted on resources that the network has not seen."""
    tables: dict[str, intervals.IntervalTable] = {}
    for horizon in HORIZONS:
        rows = np.concatenate([series(seed, ALONE, LENGTHS[0], horizon)[0] for seed in seeds])
        history, truth = rows[:, :-STEPS], rows[:, -STEPS:]
        chosen = select(history, STEPS, horizon.season)
        asked = corrected(history, chosen)
        history, truth, chosen = history[asked], truth[asked], part(chosen, asked)
        mean = chosen.mean + correction(network, history, None, horizon, chosen)
        unit = units(history, chosen.scale)
        tables[horizon.name] = fit_table(history, chosen.errors, unit, truth - mean)
        _say(f"intervals of {horizon.name}: from {len(history)} resources")
    return tables


def pretrain(target: Path, folder: Path, chunks: int = CHUNKS, held_out: int = HELD_OUT) -> dict[str, float]:
    """Write network and intervals as folders of `target`; return what the report says. `folder` keeps what was made."""
    seeds = range(FIRST_SEED, FIRST_SEED + chunks)
    judged, known = gathered(seeds[:held_out], folder), gathered(seeds[held_out:], folder)
    _say(f"learning from {len(known.targets)} resources, judged by {len(judged.targets)} others")
    network = learned_from(known, SETTINGS)
    told = gains(network, judged)
    card = Card(signals=tuple(horizon.name for horizon in HORIZONS), features=methods(), metrics=told)
    save_network(target, NETWORK, network, card)
    tables = interval_tables(network, range(FIRST_SEED - INTERVAL_CHUNKS, FIRST_SEED))
    write(target, INTERVALS, intervals.to_arrays(tables), INTERVAL_MARKS)
    return told


def spare_folder() -> Path:
    """Return the folder of exactly what these sources make."""
    made_by = (forecasters, smoothing, synthetic, synthetic_shapes, capacity_inputs, simulated, taught, resources)
    words = "".join(inspect.getsource(one) for one in made_by) + repr((ALONE, HOSTS, LENGTHS, HIDDEN))
    folder = Path(tempfile.gettempdir()) / f"presaged-pretraining-{hashlib.sha256(words.encode()).hexdigest()[:16]}"
    folder.mkdir(exist_ok=True)
    return folder


def main() -> None:
    """Pretrain what is shipped, and say what came of it."""
    told = pretrain(SHIPPED, spare_folder())
    for horizon in HORIZONS:
        simple, change, doubt = (told[f"{horizon.name}.{what}"] for what in ("simple", "change", "doubt"))
        _say(f"{horizon.name}: MASE {simple:.3f} by the simple forecast, {change:+.4f} ± {doubt:.4f} by the network")


def _tell_epoch(epoch: Epoch) -> None:
    _say(f"epoch {epoch.number} of {epoch.epochs}: loss {epoch.loss:.4f}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
