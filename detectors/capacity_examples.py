"""What the capacity network learns from: moments of resources whose future is known, simulated ones or a host's own.

Enters: histories (R, T) with what came after (R, 12), or seeds. Leaves: what the network sees at each moment, and what
it should have said. Moments at which it is not asked teach nothing, and are left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from detectors.capacity_inputs import ROWS, inputs, moving, part, units
from detectors.forecasters import select
from detectors.forecasts import HORIZONS, POINTS, STEPS, Floats, Horizon
from detectors.network import Float32
from detectors.synthetic import COMPANIONS, groups, series

ALONE, HOSTS = 600, 100  # resources of a chunk: on their own, and hosts of four
LENGTHS = (96, 132, 96)
HIDDEN = 0.3  # of the companions: most resources have none in time
_WORST = 30.0  # units at which errors stop counting: some histories say nothing about what comes


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """R moments of resources whose future is known: what the network sees, and what it should have said.

    `targets` (R, 12): truth less simple forecast in units; `steps` (R,): a unit in mean steps, so that a target times
    it is a scaled error (MASE); `horizon` (R,): the place in HORIZONS.
    """

    inputs: Float32
    targets: Float32
    steps: Floats
    horizon: NDArray[np.int64]

    def some(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Examples":
        """Return those that `which` (R,) marks, or numbers."""
        return Examples(*(getattr(self, one.name)[which] for one in fields(self)))

    def errors(self, said: Float32 | Floats) -> Floats:
        """Return the mean absolute scaled error (R,) of the simple forecasts with corrections `said` (R, 12)."""
        return np.asarray(np.minimum(np.abs(self.targets - said).mean(axis=1) * self.steps, _WORST))


_NOTHING = Examples(
    np.zeros((0, ROWS * POINTS), np.float32), np.zeros((0, STEPS), np.float32), np.zeros(0), np.zeros(0, np.int64)
)


def joined(parts: Iterable[Examples]) -> Examples:
    """Return the examples of all `parts`, at least one."""
    every = list(parts)
    return Examples(*(np.concatenate([getattr(one, name.name) for one in every]) for name in fields(Examples)))


def taught(rows: Floats, companions: Floats, truth: Floats, horizon: Horizon) -> tuple[Examples, NDArray[np.bool_]]:
    """Return what `rows` (R, T) teach, of which `truth` (R, 12) came; and at which of them the network is asked (R,).

    `companions` (R, 3, T) as in `detectors.capacity_inputs`.
    """
    asked = moving(rows)
    if asked.any():
        chosen = select(rows[asked], STEPS, horizon.season)
        judged = np.isfinite(chosen.scale)
        asked[asked], chosen = judged, part(chosen, judged)
    if not asked.any():
        return _NOTHING, asked
    rows, companions, truth = rows[asked], companions[asked], truth[asked]
    unit = units(rows, chosen.scale)
    steps = np.abs(np.diff(rows, axis=1))
    found = Examples(
        inputs(rows, companions, horizon, chosen),
        np.clip((truth - chosen.mean) / unit[:, None], -1e6, 1e6).astype(np.float32),
        unit / np.nanmean(steps, axis=1),
        np.full(len(rows), HORIZONS.index(horizon)),
    )
    return found, asked


def simulated(seed: int, place: int, alone: int, hosts: int) -> Examples:
    """Return what `alone` resources and `hosts` hosts of four by `seed` teach at HORIZONS[place]."""
    random = np.random.default_rng([seed, place])
    rows, companions, truth = resources(seed, HORIZONS[place], alone, hosts)
    companions[random.random(companions.shape[:2]) < HIDDEN] = np.nan
    return taught(rows, companions, truth, HORIZONS[place])[0]


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
