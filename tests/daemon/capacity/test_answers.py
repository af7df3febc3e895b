import math
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from daemon.capacity.answers import forecasts_answer
from daemon.capacity.resources import Resource, ResourceKind
from daemon.capacity.series import capacity_families
from daemon.capacity.state import Accuracy, CapacityState, Made, ResourceState, value_at
from daemon.errors import NotFound
from detectors.exhaustion import Outlook
from detectors.findings import Unit
from detectors.forecasts import DAYS, HOURS, MONTHS, POINTS

T0, GIB = 1_772_344_800_000, 2.0**30
SIZE = 100 * GIB


def line(horizon, slope, accuracy=None):
    mean = 60 * GIB + slope * GIB * np.arange(1, 13)
    bands = np.stack([mean, mean - GIB, mean + GIB, mean - 2 * GIB, mean + 2 * GIB])
    points = np.r_[np.full(POINTS - 20, np.nan), 60 * GIB + slope * GIB * np.arange(-19, 1)]
    return Made(horizon, T0, 0, points, "", bands, ("theta", "drift"), accuracy)


LACKING = Made(MONTHS, T0, 0, np.full(POINTS, np.nan), "needs 6 more months")


def state_of(name, month, *, median=math.inf, horizons=()):
    resource = Resource(name, ResourceKind.STORAGE, Unit.BYTES, ("a", "b"), mount=name)
    outlook = Outlook((0.0, 0.01, 0.3, month, 1.0), 86_400.0, median, math.inf)
    return ResourceState(resource, 0.02, outlook, T0, "full in 9 days", outlook, ("grows by 1 GiB a day",), horizons)


DAYS_TOLD = line(DAYS, 1, Accuracy(40, 0.812345, 0.79, 0.94))
WHOLE = CapacityState(
    (
        state_of("/", 0.0),
        state_of("/var", 0.97, median=9 * 86_400.0, horizons=(line(HOURS, 0.1), DAYS_TOLD, LACKING)),
        state_of("/srv", 0.0),
    ),
    (40 * GIB, 60 * GIB, 10 * GIB),
    (SIZE, SIZE, SIZE),
    "a table is missing",
)


def test_the_most_endangered_come_first_and_without_their_history():
    got = forecasts_answer(WHOLE, None)
    assert [one.resource for one in got.forecasts] == ["/var", "/", "/srv"]
    assert got.problem == "a table is missing"
    assert [one.history for one in got.forecasts[0].horizons] == [[], [], []]


def test_one_resource_as_it_is_told():
    (one,) = forecasts_answer(WHOLE, "/var").forecasts
    assert (one.kind, one.unit, one.capacity, one.floor_ratio, one.used_ratio) == ("storage", "bytes", SIZE, 0.02, 0.6)
    assert one.exhaustion.probability == {"4h": 0.0, "24h": 0.01, "7d": 0.3, "30d": 0.97, "365d": 1.0}
    assert one.exhaustion.lo80_ms == T0 + 86_400_000
    assert one.exhaustion.median_ms == T0 + 9 * 86_400_000
    assert one.exhaustion.hi80_ms is None
    hours, days, months = one.horizons
    assert (hours.name, hours.step_seconds, hours.start_ms, hours.methods) == (
        "hours",
        3600.0,
        T0 + 3_600_000,
        ["theta", "drift"],
    )
    assert days.mean[:2] == [0.61, 0.62]
    assert (days.lo95[0], days.lo80[0], days.hi80[0], days.hi95[0]) == (0.59, 0.6, 0.62, 0.63)
    assert len(days.history) == 20
    assert days.history[-2:] == [(T0 - 86_400_000, 0.59), (T0, 0.6)]
    assert days.accuracy.model_dump() == {"forecasts": 40, "mase": 0.8123, "coverage80": 0.79, "coverage95": 0.94}
    assert months.model_dump() == {
        "name": "months", "step_seconds": MONTHS.step_seconds, "needs": "needs 6 more months", "methods": [],
        "start_ms": None, "mean": [], "lo80": [], "hi80": [], "lo95": [], "hi95": [], "history": [], "accuracy": None,
    }  # fmt: skip


def test_an_accuracy_without_a_scale_is_null():
    from dataclasses import replace  # noqa: PLC0415

    flat = line(DAYS, 1, Accuracy(4, math.nan, 1.0, 1.0))
    state = replace(WHOLE, resources=(state_of("/var", 1.0, horizons=(flat,)),), used=(1.0,), capacity=(2.0,))
    assert '"mase":null' in forecasts_answer(state, None).model_dump_json()


@pytest.mark.parametrize(("state", "asked", "text"), [
    (WHOLE, "/vra", 'there is no resource "/vra"; did you mean "/var"?'),
    (WHOLE, "memory", 'there is no resource "memory"; there is /, /srv, /var'),
    (CapacityState(), "/var", "no resource is known yet: the first sample is not taken, or no source tells of one"),
])  # fmt: skip
def test_what_is_not_there_names_what_is_near(state, asked, text):
    with pytest.raises(NotFound) as caught:
        forecasts_answer(state, asked)
    assert str(caught.value) == text


def test_a_value_ahead_is_on_the_line_of_the_nearest_horizon():
    made = (line(HOURS, 0.1), line(DAYS, 1), LACKING)
    now = 60 * GIB
    assert value_at(made, 4 * 3600, T0, now, fills=True) == pytest.approx((60.4 * GIB, 59.4 * GIB, 61.4 * GIB))
    assert value_at(made, 86_400, T0, now, fills=True) == pytest.approx((61 * GIB, 60 * GIB, 62 * GIB))
    assert value_at(made, 30 * 86_400, T0, now, fills=True)[0] == pytest.approx(90 * GIB)  # days, continued
    assert value_at(made[:1], 86_400, T0, now, fills=True)[0] == pytest.approx(62.4 * GIB)
    assert np.isnan(value_at(made[:1], 30 * 86_400, T0, now, fills=True)).all()  # hours say nothing of a month
    assert np.isnan(value_at((LACKING,), 3600, T0, now, fills=True)).all()
    load = value_at(made, 30 * 86_400, T0, now, fills=False)[0]
    assert 61 * GIB < load < 72 * GIB  # a load goes on as the days are, on average
    # made half an hour ago: the first step is half over
    assert value_at(made, 1800, T0 + 1_800_000, now, fills=True)[0] == pytest.approx(60.1 * GIB)


class Once:
    def __init__(self, families):
        self.families = families

    def collect(self):
        return self.families


def exposition(state, most):
    registry = CollectorRegistry()
    registry.register(Once(list(capacity_families(state, T0, most))))
    text = generate_latest(registry).decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_series_of_the_most_endangered():
    got = exposition(WHOLE, 1)
    name, of = "presaged_capacity_exhaustion_timestamp_seconds", ("resource", "/var")
    assert got["presaged_capacity_used_ratio", of] == 0.6
    assert got[name, ("bound", "median"), of] == T0 / 1000 + 9 * 86_400
    assert got[name, ("bound", "hi80"), of] == math.inf
    assert got["presaged_capacity_exhaustion_probability_ratio", of, ("within", "30d")] == 0.97
    assert got["presaged_capacity_forecast_ratio", ("bound", "mean"), ("horizon", "24h"), of] == pytest.approx(0.61)
    assert got["presaged_capacity_forecast_ratio", ("bound", "hi80"), ("horizon", "4h"), of] == pytest.approx(0.614)
    assert got["presaged_capacity_resources",] == 3
    assert got["presaged_capacity_error_ratio", ("horizon", "days")] == pytest.approx(0.812345)
    assert got["presaged_capacity_coverage_ratio", ("horizon", "days"), ("interval", "95")] == pytest.approx(0.94)
    assert len([key for key in got if of in key]) == 18
    assert not [key for key in got if ("resource", "/") in key]


def test_how_full_memory_is_stands_there_whatever_its_rank():
    memory = replace(WHOLE.resources[0], resource=Resource("memory", ResourceKind.MEMORY, Unit.BYTES, ("a", "b")))
    got = exposition(replace(WHOLE, resources=(*WHOLE.resources[:2], memory)), 1)
    assert {key for key in got if ("resource", "memory") in key} == {
        ("presaged_capacity_used_ratio", ("resource", "memory"))
    }
    assert got["presaged_capacity_used_ratio", ("resource", "memory")] == 10 * GIB / SIZE


def test_no_resource_has_no_series():
    assert exposition(CapacityState(), 5) == {}
    assert {key[0] for key in exposition(WHOLE, 0)} == {
        "presaged_capacity_resources", "presaged_capacity_error_ratio", "presaged_capacity_coverage_ratio",
    }  # fmt: skip
