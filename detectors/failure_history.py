"""What the failures of a host say of the next one, beside its factors: networks that learned from simulated histories.

Enters: the times at which this host failed, since when it is watched, a moment. Leaves: a `Past`, two probabilities
with 80 % intervals, and one `Risk` out of it and what the factors say. No failure is no evidence: of a host that has
not failed a history says nothing. What is read are tempo and age alone (`detectors.event_features`), never what failed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from detectors.event_features import DAY, HOUR, TEMPO, VERSION, Times, tempo, thinned
from detectors.failure import SHIPPED, Estimate, Floats, Risk, ceiling, doubt_of, logit, spread_around
from detectors.kernels import Activation
from detectors.model_file import ModelError, network_of, read_arrays, read_record, write
from detectors.network import Float32, Network
from detectors.parameters import Architecture

HISTORY = "history"
HISTORY_MARKS = {"format": 1, "networks": "failure history"}
BASIS = "its failures judged by simulated histories"
SELF = ("failures", "failure_age")  # factors that are about the same

_HIDDEN = (64, 32)
_LEAST_WATCHED = 7 * DAY  # "one in the first hour" is no rate; a week without others claims less, and lowers nothing
_BURST = 3  # failures within the hour
_WITHOUT_BURST = 0.3  # P(1 h) at most
_OFF = 0.6  # standard deviation of a logit: so far off simulated histories were on recorded ones (bgl, lanl)


@dataclass(frozen=True, slots=True)
class Past:
    """What the host's own failures alone say."""

    hour: Estimate
    day: Estimate


class Ensemble:
    """The mean logit of networks that began differently."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self.networks = tuple(networks)

    def each(self, inputs: Float32) -> Floats:
        """Return the logits (N, R, 2) of every network for `inputs` (R, I)."""
        return np.stack([network.logits(inputs) for network in self.networks]).astype(np.float64)

    def logits(self, inputs: Float32) -> Floats:
        """Return the logits (R, 2) of `inputs` (R, I)."""
        return np.asarray(self.each(inputs).mean(axis=0))


def architecture_of(inputs: int) -> Architecture:
    """Return the shape of a network that reads a history."""
    return Architecture((inputs, *_HIDDEN, 2), output=Activation.SIGMOID)


class FailureHistory:
    """The networks, or what is missing of them: `problem` says what could not be read, "" = nothing."""

    def __init__(self, ensemble: Ensemble | None = None, *, problem: str = "") -> None:
        self.ensemble = ensemble
        self.problem = problem

    def past(self, failed: Times, since: float, at: float) -> Past | None:
        """Return what failures at `failed` (N,) say at `at`, of a host watched from `since` on; all in seconds.

        None where none came before, and without networks. In doubt are what is hidden behind so few failures, what
        the networks differ in, and that no simulation is this host.
        """
        own, moment = thinned(failed[failed <= at]), np.array([at])
        if self.ensemble is None or not len(own):
            return None
        each = self.ensemble.each(_inputs(own, since, moment))  # (networks, 1, 2)
        told = logit(_held(each.mean(axis=0), own, moment))[0]
        if not np.isfinite(told).all():
            return None
        hour, day = (
            spread_around(float(told[place]), doubt_of(0, len(own)) + float(each[:, 0, place].var()) + _OFF**2)
            for place in (0, 1)
        )
        return Past(hour, day)

    def probabilities(self, own: Times, since: float, at: Times) -> Floats:
        """Return P(1 h), P(24 h) (R, 2) at `at` (R,) as `past` gives them; `own` are `thinned` failures.

        NaN without networks. Where nothing has failed yet they are the networks' own, and the week that is watched at
        least is that before the first moment.
        """
        if self.ensemble is None:
            return np.full((len(at), 2), np.nan)
        return _held(self.ensemble.logits(_inputs(own, since, at)), own, at)


def _inputs(own: Times, since: float, at: Times) -> Float32:
    """Return the rows (R, TEMPO) of a host alone; what an operator reports from before `since` was watched too."""
    first = min(since, float(own[0])) if len(own) else since
    return tempo(own, own, 1, min(first, float(at.min()) - _LEAST_WATCHED), at)


def _held(logits: Floats, own: Times, at: Times) -> Floats:
    """Return probabilities of `logits` (R, 2), as high as failures `own` until each of `at` (R,) allow."""
    told: Floats = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    count = np.searchsorted(own, at, side="right")
    in_hour = count - np.searchsorted(own, at - HOUR, side="right")
    told[:, 0] = np.where(in_hour >= _BURST, told[:, 0], np.minimum(told[:, 0], _WITHOUT_BURST))
    return np.maximum.accumulate(np.minimum(told, ceiling(count)[:, None]), axis=1)


def joined(risk: Risk, past: Past | None, base: tuple[float, float]) -> tuple[Risk, float]:
    """Return the risk by factors and history together, and the history's share of what raises it (0 = nothing).

    The higher of the two is taken, of each horizon and each bound. They are no independent witnesses: failures in a
    row have a cause that the factors show too, and how many and how old they are is among the factors. A noisy-or, or
    a sum of log odds, would count that twice; a mean would let one that has nothing to tell, as either has most of the
    time, silence the other. The higher claims no more than one of them can answer for. Where factors are too few for a
    figure, a history alone gives none.

    From the base rate `base` to what the factors say is the factors' share of the log odds, from there on it is the
    history's, at the horizon at which it adds most; the two factors that are about the same go with it.
    """
    if past is None or risk.hour is None or risk.day is None:
        return risk, 0.0
    hour, day = _higher(risk.hour, past.hour), _higher(risk.day, past.day)
    before, after = (
        logit(np.array([one.probability for one in pair])) for pair in ((risk.hour, risk.day), (hour, day))
    )
    added, place = float((after - before).max()), int((after - before).argmax())
    if added <= 0:
        return risk, 0.0
    by_factors = max(float(before[place] - logit(np.array(base[place]))), 0.0)
    share = by_factors / (by_factors + added)
    causes = tuple(replace(one, share=one.share * share) for one in risk.causes if one.factor not in SELF and share)
    of_same = sum(one.share for one in risk.causes if one.factor in SELF) * share
    return replace(risk, hour=hour, day=day, causes=causes, basis=f"{risk.basis}; {BASIS}"), 1 - share + of_same


def _higher(one: Estimate, other: Estimate) -> Estimate:
    return Estimate(max(one.probability, other.probability), max(one.lo, other.lo), max(one.hi, other.hi))


def save_history(folder: Path, ensemble: Ensemble, metrics: dict[str, float]) -> None:
    """Write the networks as a folder of `folder`. Raises OSError."""
    sizes = list(ensemble.networks[0].architecture.sizes)
    record = {**HISTORY_MARKS, "version": VERSION, "sizes": sizes, "metrics": metrics}
    parameters = np.stack([network.parameters for network in ensemble.networks])
    write(folder, HISTORY, {"parameters": parameters}, record)


def load_history(folder: Path = SHIPPED) -> FailureHistory:
    """Read the networks of `folder`; what cannot be read leaves none, and `problem` says why."""
    try:
        return FailureHistory(_read(folder / HISTORY))
    except (ModelError, KeyError, ValueError) as error:
        return FailureHistory(problem=str(error))


def _read(folder: Path) -> Ensemble:
    record = read_record(folder, "networks of failure histories of format 1", HISTORY_MARKS)
    if record.get("version") != VERSION:
        raise ModelError(f"{folder}: of histories of version {record.get('version')}, not {VERSION}")
    architecture = architecture_of(TEMPO)
    if record.get("sizes") != list(architecture.sizes):
        raise ModelError(f"{folder}: of sizes {record.get('sizes')}, not {list(architecture.sizes)}")
    parameters = read_arrays(folder, record)["parameters"]
    if parameters.ndim != 2 or not len(parameters):  # noqa: PLR2004 - networks, numbers
        raise ModelError(f"{folder}: holds no networks")
    try:
        return Ensemble([network_of(architecture, row) for row in parameters])
    except (TypeError, ValueError) as error:
        raise ModelError(f"{folder}: {error}") from error


@cache
def shipped_history() -> FailureHistory:
    """Return the shipped networks, read once a process."""
    return load_history()
