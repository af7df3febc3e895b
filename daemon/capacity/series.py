"""The metric families of capacity, of the resources that are most endangered: each has eighteen series.

Enters: the state of all resources. Leaves: families for /metrics. A ratio is a share of the capacity.
"""

from collections.abc import Iterator, Mapping
from math import isfinite

import numpy as np
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from daemon.capacity.resources import ResourceKind
from daemon.capacity.state import Accuracy, CapacityState, value_at
from detectors.exhaustion import WITHIN

_AHEAD = ("4h", "24h", "30d")
_ALWAYS = (ResourceKind.MEMORY, ResourceKind.SWAP)  # whatever their rank: the first thing that people look for


def capacity_families(state: CapacityState, now_ms: int, most: int) -> Iterator[Metric]:
    """Yield the families; of resources beyond `most` only how full memory and swap are, and how many there are."""
    if not state.resources:
        return
    ranked = list(state.ranked())
    used = GaugeMetricFamily("presaged_capacity_used_ratio", "Used share of a resource.", labels=("resource",))
    forecast = GaugeMetricFamily(
        "presaged_capacity_forecast_ratio",
        "Used share of a resource that is forecast, and the bounds of 80 %.",
        labels=("resource", "horizon", "bound"),
    )
    time = GaugeMetricFamily(
        "presaged_capacity_exhaustion_timestamp_seconds",
        "When a resource runs out, and the bounds of 80 %; +Inf is never.",
        labels=("resource", "bound"),
    )
    chance = GaugeMetricFamily(
        "presaged_capacity_exhaustion_probability_ratio",
        "Probability that a resource runs out within a time.",
        labels=("resource", "within"),
    )
    for one, now, size in ranked[most:]:
        if one.resource.kind in _ALWAYS:
            used.add_metric((one.resource.name,), now / size)
    for one, now, size in ranked[:most]:
        name, outlook = one.resource.name, one.outlook
        used.add_metric((name,), now / size)
        for horizon in _AHEAD:
            told = value_at(one.horizons, WITHIN[horizon], now_ms, now, fills=one.resource.is_exhaustible)
            for bound, value in zip(("mean", "lo80", "hi80"), told, strict=True):
                if isfinite(value):
                    forecast.add_metric((name, horizon, bound), min(max(value / size, 0.0), 1.0))
        for bound, seconds in (("lo80", outlook.lo80), ("median", outlook.median), ("hi80", outlook.hi80)):
            time.add_metric((name, bound), one.time_ms(seconds) / 1000)
        for within, probability in zip(WITHIN, outlook.probability, strict=True):
            chance.add_metric((name, within), probability)
    yield from (family for family in (used, forecast, time, chance) if family.samples)
    resources = GaugeMetricFamily("presaged_capacity_resources", "Resources that are watched.")
    resources.add_metric((), float(len(state.resources)))
    yield resources
    yield from _accuracy(state)


def _accuracy(state: CapacityState) -> Iterator[Metric]:
    """Yield how the past forecasts of all resources together did."""
    error = GaugeMetricFamily(
        "presaged_capacity_error_ratio",
        "Mean absolute error of past forecasts, in those of the seasonal naive method.",
        labels=("horizon",),
    )
    coverage = GaugeMetricFamily(
        "presaged_capacity_coverage_ratio",
        "Share of what came that lay within the bounds of past forecasts.",
        labels=("horizon", "interval"),
    )
    for name, known in _known(state).items():
        weights = [float(one.forecasts) for one in known]
        scaled = [(one.mase, one.forecasts) for one in known if isfinite(one.mase)]
        if scaled:
            error.add_metric((name,), float(np.average([one for one, _ in scaled], weights=[of for _, of in scaled])))
        coverage.add_metric((name, "80"), float(np.average([one.coverage80 for one in known], weights=weights)))
        coverage.add_metric((name, "95"), float(np.average([one.coverage95 for one in known], weights=weights)))
    yield from (family for family in (error, coverage) if family.samples)


def capacity_performance(state: CapacityState) -> float | None:
    """Return how well the host's forecasts came true, 1 / (1 + MASE), the middle one of all; None before any did.

    1 = without error, a half = as good as the last season again.
    """
    errors = [one.mase for known in _known(state).values() for one in known if np.isfinite(one.mase)]
    return float(1 / (1 + np.median(errors))) if errors else None


def _known(state: CapacityState) -> Mapping[str, list[Accuracy]]:
    known: dict[str, list[Accuracy]] = {}
    for one in state.resources:
        for made in one.horizons:
            if made.accuracy is not None:
                known.setdefault(made.horizon.name, []).append(made.accuracy)
    return known
