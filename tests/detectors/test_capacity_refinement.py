from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from detectors import capacity_refinement
from detectors.capacity import load_forecaster
from detectors.capacity_examples import joined, taught
from detectors.capacity_refinement import REFINING, Lived, refine
from detectors.forecasts import HOURS, POINTS, STEPS
from detectors.network import Network

HOUR = 3600.0
SMALL = {"replayed": (1, 1), "chunk": (100, 20)}


@pytest.fixture(scope="module")
def shipped():
    return load_forecaster().network


@pytest.fixture(scope="module", autouse=True)
def _made_once():
    """Simulate each resource once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capacity_refinement, "simulated", cache(capacity_refinement.simulated))
        yield


@cache
def the_host():
    return lived(caches(2400, 1))


def lived(values):
    """Return what `values` (T,) of each hour teach, every third hour."""
    parts, seconds = [], []
    for first in range(POINTS, len(values) - STEPS, 3 * 200):
        at = np.arange(first, min(first + 3 * 200, len(values) - STEPS), 3)
        rows = np.stack([values[one - POINTS : one] for one in at])
        truth = np.stack([values[one : one + STEPS] for one in at])
        found, asked = taught(rows, np.full((len(at), 3, POINTS), np.nan), truth, HOURS)
        parts.append(found)
        seconds.append(at[asked] * HOUR)
    return Lived(joined(parts), np.concatenate(seconds))


def caches(hours, seed):
    """A cache that is dropped now and then, and fills again in its own way: fast, and for exactly nine hours."""
    random = np.random.default_rng(seed)
    values, age = np.zeros(hours), 100
    for hour in range(hours):
        age = 0 if age > 12 and random.random() < 0.05 else age + 1
        values[hour] = 100 + 40 * (min(age, 9) / 9) ** 0.5 + random.normal(0, 0.3)
    return values


def wander(hours, seed):
    return 100 + np.cumsum(np.random.default_rng(seed).normal(0, 1, hours))


def test_what_only_this_host_does_is_learned_and_the_rest_is_kept(shipped):
    found = refine(shipped, the_host(), **SMALL)
    assert found.refused == ""
    assert found.after < 0.95 * found.before
    assert found.retention > 0.995
    later = lived(caches(600, 2))  # nobody has seen it
    served, refined = (
        later.examples.errors(0.5 * one.predict(later.examples.inputs)).mean() for one in (shipped, found.network)
    )
    assert refined < 0.97 * served
    again = refine(shipped, the_host(), **SMALL)
    np.testing.assert_array_equal(found.network.parameters, again.network.parameters)


def test_what_held_only_before_is_not_adopted(shipped):
    before, after = caches(2400, 1), 100 + np.random.default_rng(3).normal(0, 1, 1200)
    found = refine(shipped, lived(np.concatenate([before, after])), **SMALL)
    assert "no better" in found.refused or "by chance alone" in found.refused
    assert found.network is shipped


def test_a_host_that_is_too_young_has_nothing_to_teach(shipped):
    found = refine(shipped, lived(caches(500, 4)), **SMALL)
    assert "are not enough: 400 and 7 are needed" in found.refused


def test_what_forgets_the_others_is_refused(shipped):
    wild = replace(REFINING, optimizer=replace(REFINING.optimizer, rate=0.02))
    found = refine(shipped, the_host(), wild, **SMALL)
    assert "it forgets what is known of" in found.refused
    assert found.network is shipped


def test_one_that_has_come_to_do_worse_gives_way_to_the_shipped_one(shipped):
    random = np.random.default_rng(5)
    spoilt = Network(
        shipped.architecture, shipped.parameters + random.normal(0, 0.3, shipped.parameters.shape).astype(np.float32)
    )
    found = refine(spoilt, lived(wander(2100, 6)), replace(REFINING, epochs=1), anchor=shipped, **SMALL)
    assert found.refused == ""
    assert found.network is shipped
    assert found.after < found.before
