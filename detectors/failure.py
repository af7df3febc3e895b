"""How likely a failure is within an hour and within a day, on what evidence, and what raises it most.

Enters: factors (T, 32) of a host, the newest last, the seconds between two, and how many failures the host itself has
recorded. Leaves: a `Risk`: two probabilities with 80 % intervals, or none and the reason. The shipped network knows
simulated hosts alone (see `detectors.failure_pretraining`), and so does its calibration: what it says is drawn towards
the base rate the fewer factors and samples there are, and never comes to certainty. The day's risk is never below the
hour's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import inf
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detectors.beta_calibration import BetaCalibration
from detectors.factor_features import FEATURES, INPUTS, PRESENT, SPAN, features
from detectors.factors import COUNT, FACTORS, NAMES, VERSION
from detectors.kernels import NUMPY, Backend
from detectors.model_file import Card, ModelError, load_network, read_arrays, read_record, save_network, write
from detectors.network import Float32, Network
from detectors.projection import Projection, project

Floats = NDArray[np.float64]

SHIPPED = Path(__file__).parent / "pretrained" / "failure"
NETWORK, CALIBRATION = "network", "calibration"
CALIBRATION_MARKS = {"format": 1, "calibration": "failure"}
SIMULATOR, HOST = "simulated hosts", "this host"

LEAST_FACTORS, LEAST_SAMPLES = 6, 15  # below which nothing is said
LONGEST_SECONDS = 60.0  # between two samples; twice what simulated hosts were sampled at, see `detectors.failing_hosts`
CHECKABLE = 5  # events of a host: with fewer nothing can be told from them
CEILING = 0.97
_CEILING_UNSEEN = 0.93  # on a host that has never been seen to fail
_PRIOR = 2.0  # factors' worth of belief in the base rate
_YOUNG = 60.0  # samples at which half is believed: what is usual is not known before
_EVENT_WORTH = 2.0  # factors
_DOUBT = 1.2  # standard deviation of a logit that rests on one factor... of four; see `_interval`
_FARTHEST_INPUT = 4.0  # features beyond are no features
_EIGHTY = 1.2815515655446004
_CAUSES = 3
_NOTABLE = 0.15  # of the logit


@dataclass(frozen=True, slots=True)
class Estimate:
    """A probability, and the bounds within which it stands at 80 %."""

    probability: float
    lo: float
    hi: float


@dataclass(frozen=True, slots=True)
class Cause:
    """A factor that raises the risk: by which share of all that do, what it is about, and where it goes."""

    factor: str
    about: str
    share: float
    projection: Projection


@dataclass(frozen=True, slots=True)
class Risk:
    """The risk of one moment.

    `hour` and `day` are None where there is not enough evidence, and `missing` says what is. `factors`: how many the
    host has; `events`: how many failures it has recorded itself. `basis`: on what the figures rest.
    """

    hour: Estimate | None
    day: Estimate | None
    basis: str
    factors: int
    events: int
    missing: str = ""
    causes: tuple[Cause, ...] = ()


class FailureForecaster:
    """A network with its calibration, or what is missing of them.

    `base` (2,): how often simulated hosts fail within each horizon. `taught` (0 = none): events of this host that the
    network has learned from. `problem` says what could not be read, "" = nothing.
    """

    def __init__(
        self,
        network: Network | None = None,
        calibrations: Sequence[BetaCalibration] = (),
        base: tuple[float, float] = (0.0, 0.0),
        *,
        taught: int = 0,
        problem: str = "",
    ) -> None:
        self.network = network
        self.calibrations = tuple(calibrations)
        self.base = base
        self.taught = taught
        self.problem = problem

    def use(self, backend: Backend) -> None:
        """Compute the network with `backend` from now on."""
        if self.network:
            self.network.use(backend)

    def own(self) -> "FailureForecaster":
        """Return the same with a scratch of its own, for another thread."""
        network = None if self.network is None else self.network.own()
        return FailureForecaster(network, self.calibrations, self.base, taught=self.taught, problem=self.problem)

    def probabilities(self, inputs: Float32, events: int = 0, samples: float = inf) -> Floats:
        """Return P(1 h), P(24 h) (N, 2) of inputs (N, 512), as `risk` gives them; NaN without a network.

        Drawn towards the base rate the fewer factors there are, and the fewer `samples` they were made of.
        """
        if self.network is None:
            return np.full((len(inputs), 2), np.nan)
        present = inputs.reshape(len(inputs), COUNT, FEATURES)[:, :, PRESENT].sum(axis=1)
        raw = self.network.predict(inputs).astype(np.float64)
        told = np.stack([one(raw[:, place]) for place, one in enumerate(self.calibrations)], axis=1)
        worth = (present + _EVENT_WORTH * events)[:, None]
        told = self.base + (told - self.base) * worth / (worth + _PRIOR) / (1 + _YOUNG / samples)
        told = np.minimum(told, ceiling(np.array(events)))
        told[:, 1] = np.maximum(told[:, 0], told[:, 1])
        return np.asarray(told)

    def risk(
        self, values: NDArray[np.floating], interval_seconds: float, *, events: int = 0, about: Sequence[str] = ()
    ) -> Risk:
        """Return the risk of a host whose factors were `values` (T, 32); `about` (32,) names what each speaks of."""
        known: Floats = np.asarray(values[-SPAN:], np.float64)
        inputs = features(known, interval_seconds) if len(known) else np.zeros(INPUTS, np.float32)
        present = np.flatnonzero(inputs.reshape(COUNT, FEATURES)[:, PRESENT])
        missing = self._missing(known, inputs, len(present))
        basis = self._basis(events)
        if missing:
            return Risk(None, None, basis, len(present), events, missing)
        if interval_seconds > LONGEST_SECONDS and not self.taught:
            return self._of_no_such_interval(len(present), events, interval_seconds)
        rows = _each_left_out(inputs, present)  # all of them, then each without one
        told = self.probabilities(rows, events, len(known))
        if not np.isfinite(told).all():
            return Risk(None, None, basis, len(present), events, "the network gave no number")
        logits = logit(told)
        hour, day = (_interval(logits[:, place], len(present), events) for place in (0, 1))
        causes = self._causes(logits, present, known, interval_seconds, about or ("",) * COUNT)
        return Risk(hour, day, basis, len(present), events, "", causes)

    def _of_no_such_interval(self, present: int, events: int, interval_seconds: float) -> Risk:
        """Return how often hosts fail: windows count samples, and in longer ones the rhythm of a day is a trend."""
        hour, day = (
            spread_around(float(one), doubt_of(present, events)) for one in logit(np.array(self.base, np.float64))
        )
        basis = f"{self._basis(events)}; samples {interval_seconds:g} s apart are more than it has learned to read"
        return Risk(hour, day, basis, present, events)

    def _missing(self, values: Floats, inputs: Float32, present: int) -> str:
        if self.network is None:
            return f"no network: {self.problem}" if self.problem else "no network"
        if len(values) < LEAST_SAMPLES:
            return f"not enough evidence: {len(values)} samples, and {LEAST_SAMPLES} are needed"
        if present < LEAST_FACTORS:
            return f"not enough evidence: {present} of {COUNT} factors are there, and {LEAST_FACTORS} are needed"
        if not np.abs(inputs).max() <= _FARTHEST_INPUT:
            return "not enough evidence: the factors lie beyond all that the network has seen"
        return ""

    def _basis(self, events: int) -> str:
        of_host = f"this host: {events} event{'' if events == 1 else 's'}"
        if self.taught:
            return f"calibrated on {SIMULATOR}, refined by {self.taught} events of {HOST}"
        return f"calibrated on {SIMULATOR}; {of_host}, " + (
            "not enough to check" if events < CHECKABLE else "not learned from"
        )

    def _causes(
        self, logits: Floats, present: NDArray[np.intp], values: Floats, interval_seconds: float, about: Sequence[str]
    ) -> tuple[Cause, ...]:
        """Return the factors without which either risk would be lower by most (leave one out)."""
        raises = np.maximum(logits[0] - logits[1:], 0.0).max(axis=1)  # (P,)
        whole = float(raises.sum())
        found = []
        for at in np.argsort(-raises, kind="stable")[:_CAUSES].tolist():
            if raises[at] < _NOTABLE:
                break
            place = int(present[at])
            projection = project(values[:, place], FACTORS[place], interval_seconds)
            if projection.level == 0 and projection.per_second == 0:
                continue  # what is not there is no reason
            found.append(Cause(NAMES[place], about[place], float(raises[at]) / whole, projection))
        return tuple(found)


def _each_left_out(inputs: Float32, present: NDArray[np.intp]) -> Float32:
    """Return inputs (1 + P, 512): as they are, then without each of the `present` factors."""
    rows = np.repeat(inputs[None], 1 + len(present), axis=0)
    for row, place in enumerate(present.tolist(), 1):
        rows[row, place * FEATURES : (place + 1) * FEATURES] = 0
    return rows


def ceiling(events: NDArray[np.integer]) -> Floats:
    """Return how high a probability may be on a host that has failed so many times."""
    return np.asarray(CEILING - (CEILING - _CEILING_UNSEEN) / (1 + events))


def logit(probability: Floats) -> Floats:
    """Return the log odds, finite ones."""
    held = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(held) - np.log1p(-held))


def _interval(logits: Floats, present: int, events: int) -> Estimate:
    """Return the first of `logits` (1 + P,) as a probability, and how far it can be trusted.

    Two doubts add up: how much a single factor decides (the jackknife over factors: Efron and Stein, "The jackknife
    estimate of variance", 1981), and that the less is known of a host the more may be hidden.
    """
    rest = logits[1:]
    jackknife = (len(rest) - 1) / len(rest) * float(((rest - rest.mean()) ** 2).sum())
    return spread_around(float(logits[0]), min(jackknife, 4.0) + doubt_of(present, events))


def doubt_of(present: int, events: int) -> float:
    """Return the variance of a logit for what is hidden of a host with so many factors and failures of its own."""
    return _DOUBT**2 * 8 / (present + _EVENT_WORTH * events)


def spread_around(centre: float, variance: float) -> Estimate:
    """Return the probability of a logit that is known so far."""
    spread = _EIGHTY * float(np.sqrt(variance))
    low, middle, high = (1 / (1 + np.exp(-(centre + away))) for away in (-spread, 0.0, spread))
    return Estimate(float(middle), float(low), float(high))


def save(folder: Path, forecaster: FailureForecaster, metrics: dict[str, float]) -> None:
    """Write a forecaster as the folders of `folder`. Raises OSError."""
    if forecaster.network is None:
        raise ValueError("a forecaster without a network is nothing to write")
    card = Card(signals=("failed within 1 h", "failed within 24 h"), features=NAMES, metrics=metrics)
    save_network(folder, NETWORK, forecaster.network, card)
    numbers = np.array([[one.a, one.b, one.c] for one in forecaster.calibrations])
    record = {**CALIBRATION_MARKS, "version": VERSION, "taught": forecaster.taught}
    write(folder, CALIBRATION, {"beta": numbers, "base": np.array(forecaster.base)}, record)


def load_forecaster(folder: Path = SHIPPED, backend: Backend = NUMPY) -> FailureForecaster:
    """Read a forecaster; what cannot be read leaves one without a network, whose `problem` says why."""
    try:
        network = _read_network(folder / NETWORK)
        beta, base, taught = _read_calibration(folder / CALIBRATION)
    except (ModelError, KeyError, ValueError) as error:
        return FailureForecaster(problem=str(error))
    network.use(backend)
    return FailureForecaster(network, beta, base, taught=taught)


def _read_calibration(folder: Path) -> tuple[tuple[BetaCalibration, ...], tuple[float, float], int]:
    record = read_record(folder, "a calibration of format 1", CALIBRATION_MARKS)
    if record.get("version") != VERSION:
        raise ModelError(f"{folder}: of factors of version {record.get('version')}, not {VERSION}")
    arrays = read_arrays(folder, record)
    numbers, base = (np.asarray(arrays[name], np.float64) for name in ("beta", "base"))
    if numbers.shape != (2, 3) or base.shape != (2,) or not np.isfinite(numbers).all():
        raise ModelError(f"{folder}: not two calibrations")
    hour, day = base.tolist()
    taught = record.get("taught")
    beta = tuple(BetaCalibration(*row) for row in numbers.tolist())
    return beta, (hour, day), taught if isinstance(taught, int) else 0


def _read_network(folder: Path) -> Network:
    network, card = load_network(folder)
    sizes = network.architecture.sizes
    if (sizes[0], sizes[-1]) != (INPUTS, 2):
        raise ModelError(f"{folder}: not the network of failure: it has {sizes[0]} inputs and {sizes[-1]} outputs")
    if card.features != NAMES:
        raise ModelError(f"{folder}: it learned from other factors than there are: run make pretrain")
    return network


@cache
def shipped() -> FailureForecaster:
    """Return the shipped forecaster, read once a process."""
    return load_forecaster()
