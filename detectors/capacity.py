"""The capacity forecaster: simple methods, the network's correction of them, and bands that were checked.

Enters: histories (R, T) of resources at the steps of a horizon, the newest value last, NaN before their beginning,
and the bounds that each cannot leave. Leaves: forecasts of twelve steps with bands. The shipped numbers come from
simulated resources alone (see `detectors.pretraining`); where they cannot be read, the simple forecast serves, with
wide bands, and `problem` says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detectors.capacity_inputs import ROWS, correction, methods, units
from detectors.forecasters import select
from detectors.forecasts import HORIZONS, POINTS, STEPS, Bands, Floats, Horizon
from detectors.intervals import FALLBACK, IntervalTable, error_quantiles, from_arrays
from detectors.model_file import Card, ModelError, load_network, read_arrays, read_record, save_network
from detectors.network import Network
from detectors.shape import without_steps

SHIPPED = Path(__file__).parent / "pretrained" / "capacity"
NETWORK, INTERVALS = "network", "intervals"
INTERVAL_MARKS = {"format": 1, "intervals": "capacity"}


@dataclass(frozen=True, slots=True, eq=False)
class Forecasts:
    """Twelve steps of R resources.

    `simple` (R, 12): what the simple methods say alone; `methods`: which, the heaviest first. `scale` (R,): the mean
    absolute error of earlier forecasts, NaN where there are none.
    """

    bands: Bands
    simple: Floats
    methods: tuple[tuple[str, ...], ...]
    scale: Floats


class CapacityForecaster:
    """Forecasts with a network and tables of intervals, or without.

    `problem` says what could not be read, "" = nothing.
    """

    def __init__(
        self, network: Network | None = None, tables: Mapping[str, IntervalTable] | None = None, problem: str = ""
    ) -> None:
        self.network = network
        self.tables = dict(tables or {})
        self.problem = problem

    def own(self) -> "CapacityForecaster":
        """Return the same with a scratch of its own, for another thread."""
        network = None if self.network is None else self.network.own()
        return CapacityForecaster(network, self.tables, self.problem)

    def forecast(
        self,
        rows: Floats,
        horizon: Horizon,
        low: Floats,
        high: Floats,
        *,
        companions: Floats | None = None,
        pools: NDArray[np.int64] | None = None,
    ) -> Forecasts:
        """Forecast `rows` (R, T) within `low` and `high` (R,), as if no one-off step had been in them.

        `companions` (R, 3, T): the host's three other kinds of resources at the same times, NaN where there are none.
        `pools` (R,): rows of one number calibrate each other's bands; all do unless told.
        """
        rows = without_steps(rows, horizon.season)
        chosen = select(rows, STEPS, horizon.season)
        unit = units(rows, chosen.scale)
        mean = chosen.mean
        if self.network is not None:
            mean = mean + correction(self.network, rows, companions, horizon, chosen)
        if pools is None:
            pools = np.zeros(len(rows), np.int64)
        table = self.tables.get(horizon.name, FALLBACK)
        quantiles = error_quantiles(table, rows, chosen.errors, unit, pools)

        def bounded(values: Floats) -> Floats:
            return np.clip(values, low[:, None], high[:, None])

        told = [bounded(mean + part) for part in quantiles]
        bands = Bands(mean=bounded(mean), lo95=told[0], lo80=told[1], hi80=told[2], hi95=told[3])
        return Forecasts(bands, bounded(chosen.mean), chosen.names, chosen.scale)


def load_forecaster(folder: Path = SHIPPED, tables_of: Path | None = None) -> CapacityForecaster:
    """Read the network of `folder`, and its tables of intervals or those of the folder `tables_of`.

    What cannot be read is told by `problem`, and does without.
    """
    problems = []
    network: Network | None = None
    tables: Mapping[str, IntervalTable] = {}
    try:
        network = _read_network(folder / NETWORK)
    except ModelError as error:
        problems.append(str(error))
    try:
        numbers = (tables_of or folder) / INTERVALS
        record = read_record(numbers, "tables of intervals of format 1", INTERVAL_MARKS)
        tables = from_arrays(read_arrays(numbers, record), tuple(horizon.name for horizon in HORIZONS))
    except (ModelError, KeyError, ValueError) as error:
        problems.append(str(error))
    return CapacityForecaster(network, tables, "; ".join(problems))


def refined(folder: Path) -> CapacityForecaster:
    """Read a network that a host refined, with the shipped tables of intervals."""
    return load_forecaster(folder, tables_of=SHIPPED)


def save(folder: Path, network: Network, metrics: Mapping[str, float]) -> None:
    """Write a refined network as a folder of `folder`. Raises OSError."""
    card = Card(signals=tuple(horizon.name for horizon in HORIZONS), features=methods(), metrics=metrics)
    save_network(folder, NETWORK, network, card)


def _read_network(folder: Path) -> Network:
    network, card = load_network(folder)
    sizes = network.architecture.sizes
    if (sizes[0], sizes[-1]) != (ROWS * POINTS, STEPS):
        raise ModelError(f"{folder}: not the network of capacity: it has {sizes[0]} inputs and {sizes[-1]} outputs")
    if card.features != methods():
        raise ModelError(f"{folder}: it learned from other simple methods than there are: run make pretrain")
    return network
