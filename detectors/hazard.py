"""Risk out of event history: P(failure within 1 h) and P(within 24 h), and on what they rest.

Enters: rows of `event_features` (`tempo`, then `memory` of the kinds there are), their times, and what came of them.
Leaves: two calibrated risks a row. Networks that were trained on simulated histories answer from the first row on;
others learn the rows of this host or fleet, and are listened to only as far as they were better on time that they had
not seen. Where little has happened, the answer stays near that of the simulated histories. Rows to learn from come with
what followed them: whose day is not over has no place among them. Runs in the child.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from detectors.architectures import CATALOGUE
from detectors.event_features import DAY, TEMPO, Times
from detectors.event_simulator import HORIZONS, simulated
from detectors.failure_history import Ensemble, architecture_of
from detectors.kernels import NUMPY, Backend
from detectors.network import Float32, Network
from detectors.optimizers import AdamW
from detectors.schedules import Cosine
from detectors.trainer import Settings, Trainer

Logits = NDArray[np.float64]

HALF_LIFE_DAYS = 28.0
_HISTORIES, _ROWS_EACH = 400, 2000
_DRAWS = 3  # networks whose mean answers
_SIMULATED = Settings(
    loss=CATALOGUE["failure"].training.loss,
    optimizer=AdamW(rate=1e-3, weight_decay=0.5),  # strong: with less, networks learn single histories
    schedule=Cosine(),
    epochs=5,
    batch=256,
)
_OWN = replace(_SIMULATED, optimizer=AdamW(rate=1e-3, weight_decay=0.3), epochs=10)
_LEAST_STEPS = 1500
_NEGATIVES = 150_000  # rows without a failure that a training takes at most
_JUDGED = 0.3  # share of the weighted time that is kept back to compare on
_BLOCKS = 10
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_VIEWS = 2
_BEYOND_CHANCE = 3.46  # standard errors: Student's t of ten blocks at 5 % over the 14 mixtures that are compared
_FIRM = 100.0  # days with a failure at which they weigh as much as the expectation that risks are right as they are


@dataclass(frozen=True, slots=True)
class Evidence:
    """On what a risk rests: days with a failure that were learned from, and by horizon the own networks' share."""

    days: int
    shares: tuple[float, float]


def pretrained(seed: int = 0, *, histories: int = _HISTORIES, backend: Backend = NUMPY) -> Ensemble:
    """Return networks trained on simulated histories: they know a tempo, and no machine."""
    inputs, came, weights = simulated(histories, _ROWS_EACH, seed)
    return _trained(inputs, came, weights, replace(_SIMULATED, seed=seed), backend)


class Hazard:
    """The risk of one fleet or host. Until it has learned, it answers by simulated histories alone.

    Two own networks learn, one from the tempo alone and one from everything: what tells kinds apart needs many
    failures before it helps.
    """

    def __init__(self, prior: Ensemble, *, seed: int = 0, backend: Backend = NUMPY) -> None:
        self._prior = prior
        self._own: tuple[Ensemble, ...] = ()
        self._shares = np.zeros((_VIEWS, len(HORIZONS)))
        self._calibration = np.tile([0.0, 1.0], (len(HORIZONS), 1))  # (horizons, shift and slope)
        self._days = 0
        self._settings = replace(_OWN, seed=seed)
        self._backend = backend

    @property
    def evidence(self) -> Evidence:
        """Return on what the risk rests now."""
        hour, day = self._shares.sum(axis=0).tolist()
        return Evidence(self._days, (hour, day))

    def simulated_risk(self, inputs: Float32) -> Logits:
        """Return what simulated histories alone make of `inputs` (R, I): (R, 2), as `risk`."""
        return _ordered(_sigmoid(self._prior.logits(inputs[:, :TEMPO])))

    def risk(self, inputs: Float32) -> Logits:
        """Return P(within 1 h) and P(within 24 h) of `inputs` (R, I), the second never below the first."""
        prior = self._prior.logits(inputs[:, :TEMPO])
        mixed = _mixed(
            prior, [own.logits(read) for own, read in zip(self._own, _views(inputs, prior), strict=False)], self._shares
        )
        return _ordered(_sigmoid(self._calibration[:, 0] + self._calibration[:, 1] * mixed))

    def learn(
        self,
        inputs: Float32,
        at: Times,
        came: Float32,
        counted: Times | None = None,
        *,
        half_life_days: float = HALF_LIFE_DAYS,
    ) -> None:
        """Learn from rows `inputs` (R, I) at the times `at` (R,), of which `came` (R, 2) is known for every horizon.

        The last share of the time is held back: own networks are fitted on what lies a day before it, compared there,
        and fitted anew on everything where they were better. A row counts `counted` (R,) times, and loses half its
        weight in `half_life_days`.
        """
        fades = np.power(0.5, (at.max() - at) / DAY / half_life_days)
        weights = fades if counted is None else fades * counted
        order = np.argsort(at, kind="stable")
        reached = np.cumsum(weights[order])
        cut = float(at[order][np.searchsorted(reached, (1 - _JUDGED) * reached[-1])])
        early, late = np.flatnonzero(at < cut - DAY), np.flatnonzero(at >= cut)
        prior = self._prior.logits(inputs[:, :TEMPO])
        self._shares, self._own = np.zeros_like(self._shares), ()
        judged, mixed = np.arange(len(at)), prior
        if came[early, 1].any():
            trial = self._fit(inputs, prior, came, weights, early)
            own = [one.logits(read) for one, read in zip(trial, _views(inputs[late], prior[late]), strict=True)]
            self._shares = shares(prior[late], own, came[late], _blocks(at[late], weights[late]), weights[late])
            if self._shares.any():
                judged, mixed = late, _mixed(prior[late], own, self._shares)
                self._own = self._fit(inputs, prior, came, weights, np.arange(len(at)))
        self._days = len(np.unique(at[came[:, 1] > 0] // DAY))
        failing = np.unique(at[judged][came[judged, 1] > 0] // DAY) * DAY
        seen = float(np.power(0.5, (at.max() - failing) / DAY / half_life_days).sum())
        self._calibration = np.stack(
            [platt(mixed[:, one], came[judged, one], weights[judged], seen / _FIRM) for one in range(len(HORIZONS))]
        )

    def _fit(
        self, inputs: Float32, prior: Logits, came: Float32, weights: Times, rows: NDArray[np.int64]
    ) -> tuple[Ensemble, ...]:
        """Fit an own network for each view of `rows`; of those without a failure a random part stands for all."""
        rng = np.random.default_rng(self._settings.seed)
        bad, good = rows[came[rows, 1] > 0], rows[came[rows, 1] == 0]
        share = min(1.0, _NEGATIVES / max(len(good), 1))
        chosen = np.sort(np.concatenate([bad, good[rng.random(len(good)) < share]]))
        factors = weights[chosen] * np.where(came[chosen, 1] > 0, 1.0, 1 / share)
        factors = (factors / factors.mean()).astype(np.float32)
        steps = -(-len(chosen) // self._settings.batch)
        settings = replace(self._settings, epochs=max(self._settings.epochs, -(-_LEAST_STEPS // steps)))
        return tuple(
            _trained(read, came[chosen], factors, settings, self._backend)
            for read in _views(inputs[chosen], prior[chosen])
        )


def _views(inputs: Float32, prior: Logits) -> Iterator[Float32]:
    """Yield what each own network reads: the tempo, then everything, both with what simulated histories make of it."""
    told = (prior / 5).astype(np.float32)
    yield np.concatenate([inputs[:, :TEMPO], told], axis=1)
    yield np.concatenate([inputs, told], axis=1)


def _mixed(prior: Logits, own: Sequence[Logits], parts: Logits) -> Logits:
    """Return the logits (R, 2) of the prior and each of `own` (R, 2), which has its share in `parts` (views, 2)."""
    mixed = prior
    for logits, part in zip(own, parts, strict=False):  # no own networks yet: the prior alone
        mixed = mixed + part * (logits - prior)
    return mixed


def _ordered(risks: Logits) -> Logits:
    """Return `risks` (R, 2) with the day's never below the hour's."""
    return np.maximum.accumulate(risks, axis=1)


def _trained(inputs: Float32, came: Float32, weights: Float32, settings: Settings, backend: Backend) -> Ensemble:
    architecture = architecture_of(inputs.shape[1])
    networks = []
    for draw in range(_DRAWS):
        network = Network(architecture, seed=settings.seed + draw, backend=backend)
        trainer = Trainer(network, replace(settings, seed=settings.seed + draw))
        for _ in range(settings.epochs):
            trainer.epoch(inputs, came, weights[:, None])
        trainer.store()
        networks.append(network)
    return Ensemble(networks)


def _blocks(at: Times, weights: Times) -> NDArray[np.int64]:
    """Return which of ten spans of equal weight each of `at` (R,) falls into."""
    order = np.argsort(at, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    out = np.empty(len(at), np.int64)
    out[order] = np.minimum((reached * _BLOCKS).astype(np.int64), _BLOCKS - 1)
    return out


def shares(prior: Logits, own: Sequence[Logits], came: Float32, blocks: NDArray[np.int64], weights: Times) -> Logits:
    """Return how much of each of `own` (R, 2) to listen to, (views, 2): nothing unless the gain is beyond chance.

    The gain in log loss over the prior is compared with its standard error over `blocks` (R,): rows of one burst stand
    together, so rows say nothing about chance. That the best of many is looked for is allowed for (Bonferroni).
    """
    found = np.zeros((len(own), len(HORIZONS)))
    before = weights[:, None] * _loss(prior, came)
    best = np.zeros(len(HORIZONS))
    for parts in product(_SHARES, repeat=len(own)):
        if sum(parts) > 1 or not any(parts):
            continue
        asked = np.repeat(np.array(parts)[:, None], len(HORIZONS), axis=1)
        gains = before - weights[:, None] * _loss(_mixed(prior, own, asked), came)
        means = np.stack([gains[blocks == block].mean(axis=0) for block in np.unique(blocks)])  # (blocks, 2)
        gain = means.mean(axis=0)
        better = (gain > _BEYOND_CHANCE * means.std(axis=0) / np.sqrt(len(means) - 1)) & (gain > best)
        best = np.where(better, gain, best)
        found[:, better] = asked[:, better]
    return found


def _loss(logits: Logits, came: Float32) -> Logits:
    return np.logaddexp(0, logits) - came * logits


def _sigmoid(logits: Logits) -> Logits:
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


def platt(logits: Logits, came: Float32, weights: Times, firmness: float) -> Times:
    """Return shift and slope that make `logits` (R,) calibrated, held near 0 and 1 where `firmness` is low.

    `firmness` is the number of independent failures by the number at which data and expectation weigh the same: rows
    of one burst are one piece of evidence, not thousands (Platt, "Probabilistic outputs for support vector machines",
    1999; the ridge in place of his counts).
    """
    expected = np.array([0.0, 1.0])
    found = expected.copy()
    told = np.column_stack([np.ones(len(logits)), logits])  # (R, 2)
    spread = np.average(_sigmoid(logits) * (1 - _sigmoid(logits)), weights=weights)
    share = weights / weights.sum()
    ridge = max(spread, 1e-6) * np.eye(2) / max(firmness, 1e-3)
    for _ in range(30):
        risk = _sigmoid(told @ found)
        slope = told.T @ (share * (risk - came)) + ridge @ (found - expected)
        bend = (told * (share * np.maximum(risk * (1 - risk), 1e-9))[:, None]).T @ told + ridge
        step = np.clip(np.linalg.solve(bend, slope), -1, 1)
        found = found - step
        if np.abs(step).max() < 1e-6:  # noqa: PLR2004 - below what a risk shows
            break
    found[1] = max(found[1], 0.1)  # never turns a ranking around
    return found
