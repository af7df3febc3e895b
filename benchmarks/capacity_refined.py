"""What refining the capacity network by a host's own past brings: `python -m benchmarks.capacity_refined --data DIR`.

DIR/capacity/bitbrains/dev_hourly40.npz holds 40 real machines, an hour a step, 90 days. Of each the first three
quarters are its past; on the last quarter, that nobody has seen, the refined network is judged beside the shipped one.
Beside it: the simple forecasts without a network, and plain fine-tuning without replay, elastic weights and gate.
"""

import argparse
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.report import Row, smaller_is_better, write
from daemon.capacity.points import Points, draw_through
from detectors import capacity_refinement
from detectors.capacity import load_forecaster
from detectors.capacity_examples import Examples, joined, simulated, taught
from detectors.capacity_inputs import FARTHEST, SHARE
from detectors.capacity_refinement import REFINING, Lived, refine
from detectors.forecasts import HORIZONS, HOURS, POINTS, STEPS, Floats
from detectors.network import Network
from detectors.shape import without_steps
from detectors.trainer import train

_USED = (1, 3, 4, 5)  # processor, memory, disk, network
_HOP, _AT_ONCE = 6, 40
_PAST = 0.75
_LEAST = 50  # moments at the end
_FEW = 12  # points


def machine(used: Floats) -> Lived:
    """Return what the hours of one machine (4, T) teach."""
    parts, seconds = [], []
    moments = range(POINTS, used.shape[1] - STEPS, _HOP)
    for first in range(0, len(moments), _AT_ONCE):
        rows, others, truth, when = [], [], [], []
        for at in moments[first : first + _AT_ONCE]:
            window = used[:, at - POINTS : at].copy()
            draw_through(Points(window, window.copy(), np.full(window.shape, HOURS.step_seconds)), HOURS)
            for place in np.flatnonzero(np.isfinite(window).sum(axis=1) >= _FEW):
                if np.isfinite(used[place, at : at + STEPS]).all():
                    rows.append(window[place])
                    others.append(np.delete(window, place, axis=0))
                    truth.append(used[place, at : at + STEPS])
                    when.append(3600.0 * at)
        if rows:
            found, asked = taught(without_steps(np.stack(rows), 24), np.stack(others), np.stack(truth), HOURS)
            parts.append(found)
            seconds.append(np.array(when)[asked])
    return Lived(joined(parts), np.concatenate(seconds))


def plainly(network: Network, own: Examples) -> Network:
    """Return `network` fine-tuned on `own` moments alone."""
    tuned = Network(network.architecture, network.parameters)
    train(tuned, own.inputs, np.clip(own.targets / SHARE, -FARTHEST, FARTHEST).astype(np.float32), REFINING)
    return tuned


def errors(network: Network, rows: Examples) -> float:
    """Return the mean absolute scaled error of forecasts with `network`."""
    return float(rows.errors(SHARE * np.clip(network.predict(rows.inputs), -FARTHEST, FARTHEST)).mean())


def main() -> None:
    """Refine on every machine, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    shipped = load_forecaster().network
    if shipped is None:
        parser.exit(1, "the shipped network cannot be read\n")
    capacity_refinement.simulated = cache(simulated)  # type: ignore[attr-defined] # the same for every machine
    unseen = joined(simulated(7, place, 200, 50) for place in range(len(HORIZONS)))
    before = errors(shipped, unseen)
    with np.load(arguments.data / "capacity" / "bitbrains" / "dev_hourly40.npz") as stored:
        used = stored["x"].astype(np.float64)[list(_USED)]
    table = []
    for number in range(used.shape[1]):
        lived = machine(used[:, number])
        cut = 3600.0 * (POINTS + _PAST * (used.shape[2] - POINTS))
        known, late = lived.seconds + 3600.0 * STEPS <= cut, lived.seconds > cut
        if late.sum() < _LEAST:
            continue
        past, newest = Lived(lived.examples.some(known), lived.seconds[known]), lived.examples.some(late)
        found, tuned = refine(shipped, past), plainly(shipped, past.examples)
        simple = float(newest.errors(np.zeros((1, STEPS))).mean())
        table.append(
            (
                simple,
                errors(shipped, newest),
                errors(found.network, newest),
                errors(tuned, newest),
                errors(found.network, unseen) / before,
                errors(tuned, unseen) / before,
                float(not found.refused),
            )
        )
    write("capacity_refined", _rows(np.array(table)), ("numpy",), as_json=arguments.json)


def _rows(table: Floats) -> list[Row]:
    simple, shipped, refined, tuned, kept, lost, promoted = table.T
    change = refined / shipped - 1
    taken = promoted > 0
    served = "the shipped network"
    return [
        Row("machines", "refined, of those tried", "", float(taken.sum()), str(len(table)), float(len(table)), None),
        smaller_is_better("all machines, last quarter", "MASE", "", refined.mean(), (served, shipped.mean())),
        smaller_is_better("all machines, last quarter", "MASE", "", refined.mean(), ("simple", simple.mean())),
        smaller_is_better("all machines, last quarter", "MASE", "", refined.mean(), ("plain tuning", tuned.mean())),
        smaller_is_better("refined machines", "MASE", "", refined[taken].mean(), (served, shipped[taken].mean())),
        Row("refined machines", "worst change", "", float(change[taken].max()), "", None, None),
        Row("all machines", "change", "", float(change.mean()), "95 % by half", _doubt(change), None),
        smaller_is_better("simulated resources", "error", "", kept.max(), ("plain tuning", lost.max())),
    ]


def _doubt(values: Floats) -> float:
    return float(1.96 * values.std() / np.sqrt(len(values)))


if __name__ == "__main__":
    main()
