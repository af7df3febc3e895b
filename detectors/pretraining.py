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
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detectors import capacity_inputs, forecasters, intervals, smoothing, synthetic, synthetic_shapes
from detectors.architectures import CATALOGUE
from detectors.capacity import INTERVAL_MARKS, INTERVALS, NETWORK, SHIPPED
from detectors.capacity_inputs import FARTHEST, SHARE, corrected, correction, inputs, methods, part, units
from detectors.forecasters import select
from detectors.forecasts import HORIZONS, STEPS, Floats, Horizon
from detectors.interval_fitting import fit_table
from detectors.losses import Loss, LossName
from detectors.model_file import Card, save_network, write
from detectors.network import Float32, Network
from detectors.optimizers import AdamW
from detectors.parameters import layers_of
from detectors.schedules import Cosine
from detectors.synthetic import COMPANIONS, groups, series
from detectors.trainer import Epoch, Settings, train

FIRST_SEED = 1_000_000
CHUNKS = 74  # of each horizon; the first are held out
HELD_OUT = 4
INTERVAL_CHUNKS = 5
ALONE, HOSTS = 600, 100  # resources of a chunk: on their own, and hosts of four
LENGTHS = (96, 132, 96)
_HIDDEN = 0.3  # of the companions: most resources have none in time
_WORST = 30.0  # units at which the report stops counting: some histories say nothing about what comes
SETTINGS = Settings(
    loss=Loss(LossName.MAE),
    optimizer=AdamW(rate=2e-3, weight_decay=0.05),
    schedule=Cosine(warm_up=1),
    epochs=12,
    batch=256,
)


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """R resources whose future is known: what the network sees, and what it should have said.

    `targets` (R, 12): truth less simple forecast in units; `steps` (R,): a unit in mean steps, so that a target times
    it is a scaled error (MASE); `horizon` (R,): the place in HORIZONS.
    """

    inputs: Float32
    targets: Float32
    steps: Floats
    horizon: NDArray[np.int64]

    def some(self, which: NDArray[np.bool_]) -> "Examples":
        """Return those that `which` (R,) marks."""
        return Examples(*(getattr(self, one.name)[which] for one in fields(self)))


def examples(seed: int, place: int, alone: int, hosts: int) -> Examples:
    """Return what `alone` resources and `hosts` hosts of four by `seed` teach at HORIZONS[place]."""
    horizon, random = HORIZONS[place], np.random.default_rng([seed, place])
    rows, companions, truth = resources(seed, horizon, alone, hosts)
    companions[random.random(companions.shape[:2]) < _HIDDEN] = np.nan
    chosen = select(rows, STEPS, horizon.season)
    asked = corrected(rows, chosen)
    rows, companions, truth, chosen = rows[asked], companions[asked], truth[asked], part(chosen, asked)
    unit = units(rows, chosen.scale)
    steps = np.abs(np.diff(rows, axis=1))
    return Examples(
        inputs(rows, companions, horizon, chosen),
        np.clip((truth - chosen.mean) / unit[:, None], -1e6, 1e6).astype(np.float32),
        unit / np.nanmean(steps, axis=1),
        np.full(len(rows), place),
    )


def resources(seed: int, horizon: Horizon, alone: int, hosts: int) -> tuple[Floats, Floats, Floats]:
    """Return rows (R, T), their companions (R, 3, T), NaN for those that have none, and what comes after (R, 12)."""
    length = LENGTHS[seed % len(LENGTHS)]
    single, _ = series(seed, alone, length, horizon)
    together = groups(seed, hosts, length, horizon)
    whole = np.concatenate([single, together.reshape(-1, length + STEPS)])
    companions = np.full((len(whole), COMPANIONS - 1, length), np.nan)
    for place in range(COMPANIONS):
        companions[alone + place :: COMPANIONS] = np.delete(together, place, axis=1)[:, :, :length]
    return whole[:, :length], companions, whole[:, length:]


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
            found.append(examples(seed, place, ALONE, HOSTS))
            if file is not None:
                partial = file.with_suffix(".partial.npz")
                np.savez(partial, **{one.name: getattr(found[-1], one.name) for one in fields(Examples)})
                partial.rename(file)
        _say(f"chunk {number} of {len(seeds)}: {time.monotonic() - begun:.0f} s")
    return Examples(*(np.concatenate([getattr(one, name.name) for one in found]) for name in fields(Examples)))


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
        simple, ours = (
            np.minimum(np.abs(error[here]).mean(axis=1) * rows.steps[here], _WORST)
            for error in (rows.targets, rows.targets - said)
        )
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
    made_by = (forecasters, smoothing, synthetic, synthetic_shapes, capacity_inputs, examples, resources)
    words = "".join(inspect.getsource(one) for one in made_by) + repr((ALONE, HOSTS, LENGTHS, _HIDDEN))
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
