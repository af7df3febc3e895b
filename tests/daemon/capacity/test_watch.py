import json
import time
from dataclasses import replace

import numpy as np
import pytest

from daemon.capacity.state import Facts, Made
from daemon.capacity.watch import CapacityWatch
from daemon.collectors.memory import SWAP_USED, SWAP_USED_BYTES
from daemon.config import Capacity
from detectors.findings import Strength
from detectors.forecasts import DAYS, HOURS, POINTS

GIB, SIZE = 2.0**30, 100 * 2.0**30
IMMINENT, EXPECTED = "ResourceExhaustionImminent", "ResourceExhaustionExpected"
RAISED, HOLDING = Strength.RAISED, Strength.HOLDING


@pytest.fixture
def mount(past, host):
    """Return the measurements of a mount of 100 GiB that uses so much."""
    specs = [one for one in past(*host).specs if one.resource == "/var"]

    def measured(used, size=SIZE, read_only=0.0):
        return list(zip(specs, [used / size, size - used, 0.1, read_only], strict=True))

    return measured


def line(clock, horizon, start, slope, width=0.5 * GIB):
    """Return a forecast that grows by `slope` a step."""
    mean = start + slope * np.arange(1, 13)
    bands = np.stack([mean, mean - width, mean + width, mean - 2 * width, mean + 2 * width])
    return Made(horizon, clock.time_ms, clock.boottime_ns, np.full(POINTS, start), "", np.clip(bands, 0, SIZE))


def forecast(watch, clock, per_hour, used, facts=None):
    """Give the watch forecasts of /var."""
    made = (line(clock, HOURS, used, per_hour), line(clock, DAYS, used, 24 * per_hour))
    watch.adopt({"/var": made}, {"/var": facts or Facts(("grows by 24 GiB a day",))}, "")


def said(watch, measured, clock, seconds=30.0):
    """Take a tick; return the findings as (name, strength), and the state of /var."""
    clock.advance(seconds)
    state, findings = watch.observe(measured, clock.now())
    return {one.alertname: one for one in findings}, {one.resource.name: one for one in state.resources}


def strengths(findings):
    return {name: one.strength for name, one in findings.items()}


def test_without_forecasts_nothing_is_said(mount, clock):
    findings, states = said(CapacityWatch(Capacity()), mount(60 * GIB), clock)
    assert findings == {}
    assert states["/var"].text == "nothing known yet"
    assert states["/var"].outlook.probability == (0.0,) * 5


def test_within_a_week_is_expected_and_within_hours_is_imminent(mount, clock):
    watch = CapacityWatch(Capacity())
    said(watch, mount(60 * GIB), clock)
    forecast(watch, clock, 0.4 * GIB, 60 * GIB)  # 38 GiB in four days
    findings, _ = said(watch, mount(60 * GIB), clock)
    assert strengths(findings) == {EXPECTED: RAISED}
    assert findings[EXPECTED].resource == "/var"
    assert findings[EXPECTED].network == "capacity"
    assert findings[EXPECTED].detail.startswith("/var is full in 4 days")
    assert findings[EXPECTED].detail.endswith(": grows by 24 GiB a day")
    forecast(watch, clock, 4 * GIB, 90 * GIB)  # 8 GiB in two hours
    findings, _ = said(watch, mount(90 * GIB), clock)
    # one fault, one notification: what was expected is kept, and nothing new is
    assert strengths(findings) == {IMMINENT: RAISED, EXPECTED: HOLDING}
    assert findings[IMMINENT].detail.startswith("/var is full in ")
    forecast(watch, clock, 0.0, 60 * GIB)  # cleaned up
    findings, states = said(watch, mount(60 * GIB), clock)
    assert findings == {}
    assert states["/var"].text == "not within 36 days"  # so far twelve days are continued


def test_a_doubtful_hour_keeps_an_alert_and_starts_none(mount, clock):
    watch = CapacityWatch(Capacity())
    said(watch, mount(90 * GIB), clock)
    for per_hour, expected in (
        (2.2, {IMMINENT: HOLDING, EXPECTED: RAISED}),  # about 80 %: not sure enough to begin
        (4.0, {IMMINENT: RAISED, EXPECTED: HOLDING}),
        (2.2, {IMMINENT: HOLDING, EXPECTED: HOLDING}),  # sure enough to go on
        (1.0, {EXPECTED: RAISED}),
    ):
        made = line(clock, HOURS, 90 * GIB, per_hour * GIB, width=1.4 * GIB)
        watch.adopt({"/var": (made,)}, {}, "")
        findings, states = said(watch, mount(90 * GIB), clock)
        assert strengths(findings) == expected, states["/var"].outlook.probability


def test_what_is_filled_now_is_told_before_any_forecast(mount, clock):
    watch = CapacityWatch(Capacity())
    used, first, told = 5 * GIB, None, None
    while used < 98 * GIB:
        findings, states = said(watch, mount(used), clock)
        if strengths(findings).get(IMMINENT) is RAISED and first is None:
            first, told = used, states["/var"]
        used += 0.5 * GIB
    assert first is not None
    assert 98 * GIB - first >= (98 - 5) / 3 * GIB  # a third of the time is left
    seconds = (98 * GIB - first) / (0.5 * GIB) * 30
    assert told.outlook.median == pytest.approx(seconds, rel=0.2)
    assert told.explanation[0] == "grows by 1 GiB a minute now"
    for _ in range(40):  # the fill has ended
        findings, _ = said(watch, mount(used), clock)
    assert strengths(findings) == {IMMINENT: RAISED, EXPECTED: HOLDING}  # it is full, and was seen with room
    for _ in range(40):
        findings, _ = said(watch, mount(10 * GIB), clock)
    assert findings == {}


def test_a_full_one_is_a_fact(mount, clock):
    watch = CapacityWatch(Capacity())
    findings, states = said(watch, mount(98.8 * GIB), clock)
    assert strengths(findings) == {IMMINENT: RAISED, EXPECTED: HOLDING}
    assert findings[IMMINENT].detail == "/var is full: 1.2 % free"
    assert states["/var"].outlook.median == 0


def test_how_much_must_be_free_is_the_operators_word(mount, clock):
    watch = CapacityWatch(Capacity(free_floor_ratio=0.01))
    assert said(watch, mount(98.8 * GIB), clock)[0] == {}


def test_what_is_meant_to_be_full_is_no_news_until_it_had_room(mount, clock):
    watch = CapacityWatch(Capacity())
    watch.adopt({}, {"/var": Facts(accustomed=True)}, "")
    findings, states = said(watch, mount(SIZE - GIB), clock)
    assert findings == {}
    assert states["/var"].text == "full, as it was before: no news"
    assert states["/var"].outlook.probability == (0.0,) * 5
    said(watch, mount(60 * GIB), clock)
    findings, _ = said(watch, mount(SIZE - GIB), clock)
    assert strengths(findings)[IMMINENT] is RAISED


def test_read_only_never_runs_out(mount, clock):
    watch = CapacityWatch(Capacity())
    forecast(watch, clock, 4 * GIB, 90 * GIB)
    findings, states = said(watch, mount(99 * GIB, read_only=1.0), clock)
    assert findings == {}
    assert states["/var"].text == "mounted read-only: nothing more is written"


def test_a_remount_is_followed_at_once(mount, clock):
    watch = CapacityWatch(Capacity())
    seen = [IMMINENT in said(watch, mount(99 * GIB, read_only=ro), clock)[0] for ro in (0.0, 1.0, 1.0, 0.0)]
    assert seen == [True, False, False, True]


def test_mounts_that_come_and_go_leave_nothing(mount, clock):
    watch = CapacityWatch(Capacity())
    for number in range(20):
        measured = [
            (replace(spec, name=spec.name.replace("/var", f"/m{number}"), resource=f"/m{number}"), value)
            for spec, value in mount(99 * GIB)
        ]
        for _ in range(5):
            said(watch, measured, clock)
    said(watch, mount(60 * GIB), clock)
    said(watch, mount(60 * GIB), clock)
    assert max(len(watch._at), len(watch._room_ns), len(watch._imminent), len(watch._states)) <= 10


def test_a_busy_processor_and_link_never_alert(past, host, clock):
    specs, values = host
    watch = CapacityWatch(Capacity(link_bytes_per_second={"eth0": 1e6}))
    one = past(specs, values)
    said(watch, one.measured(), clock)
    full = np.stack([np.full(12, 1.0)] * 5)
    made = {
        "cpu": (Made(HOURS, clock.time_ms, clock.boottime_ns, np.full(POINTS, 1.0), "", full),),
        "eth0 receive": (Made(HOURS, clock.time_ms, clock.boottime_ns, np.full(POINTS, 1e6), "", full * 1e6),),
    }
    watch.adopt(made, {}, "")
    findings, states = said(watch, one.measured(), clock)
    assert findings == {}
    assert states["cpu"].text == states["eth0 receive"].text == "at its limit"


def test_swap_that_fills_up_is_told(clock):
    watch = CapacityWatch(Capacity())
    assert said(watch, [(SWAP_USED, 0.5), (SWAP_USED_BYTES, GIB)], clock)[0] == {}
    findings, _ = said(watch, [(SWAP_USED, 0.99), (SWAP_USED_BYTES, 1.98 * GIB)], clock)
    assert findings[IMMINENT].detail == "swap is full: 1 % free"


def test_a_grown_disk_is_full_later(mount, clock):
    watch = CapacityWatch(Capacity())
    said(watch, mount(90 * GIB), clock)
    forecast(watch, clock, 4 * GIB, 90 * GIB)
    assert IMMINENT in said(watch, mount(90 * GIB), clock)[0]
    findings, states = said(watch, mount(90 * GIB, size=3 * SIZE), clock)
    assert IMMINENT not in findings
    assert states["/var"].horizons[0].bands[0, 0] == pytest.approx(94 * GIB)  # the series did not move


def test_what_a_source_that_stumbles_does_not_say_stands(mount, clock):
    watch = CapacityWatch(Capacity())
    said(watch, mount(98.8 * GIB), clock)
    assert [IMMINENT in said(watch, [], clock)[0] for _ in range(5)] == [True] * 3 + [False] * 2


def test_past_growth_and_sizes_are_remembered(mount, clock):
    watch = CapacityWatch(Capacity())
    for step in range(30):
        said(watch, mount((10 + min(step, 15)) * GIB), clock)
    for _ in range(60):
        said(watch, mount(10 * GIB), clock)
    text = watch.remember()
    assert json.loads(text)["sizes"]["/var"] == SIZE
    assert json.loads(text)["growth"]["/var"]["amounts"] == [pytest.approx(15 * GIB)]
    again = CapacityWatch(Capacity())
    again.restore(text)
    assert said(again, mount(SIZE), clock)[0][IMMINENT].detail == "/var is full: 0 % free"
    assert json.loads(again.remember()) == json.loads(text)


@pytest.mark.parametrize("text", ["", "[]", '{"growth": 1}', "nonsense"])
def test_what_is_no_memory_is_refused(text):
    with pytest.raises(ValueError, match=r".*"):
        CapacityWatch(Capacity()).restore(text)


def test_a_hundred_resources_cost_little_at_a_tick(past, host, clock):
    """The aim is a millisecond of the loop's time on average; here three, for a machine that does other things too."""
    specs, _ = host
    var = [one for one in specs if one.resource == "/var"]
    more = [replace(one, name=one.name.replace("/var", f"/m{n}"), resource=f"/m{n}") for n in range(50) for one in var]
    watch, rng = CapacityWatch(Capacity()), np.random.default_rng(0)
    used = np.full(50, 50.0)

    def measured():
        used[:] += 0.001 * rng.normal(size=50)
        rows = [[share / 100, (100 - share) * GIB, 0.1, 0.0] for share in used.tolist()]
        return list(zip(more, [value for row in rows for value in row], strict=True))

    said(watch, measured(), clock)
    made = (line(clock, HOURS, 50 * GIB, 0.0), line(clock, DAYS, 50 * GIB, 0.0))
    watch.adopt({name: made for n in range(50) for name in (f"/m{n}", f"/m{n} inodes")}, {}, "")
    rounds = [measured() for _ in range(120)]  # an hour
    began = time.process_time()
    for one in rounds:
        clock.advance(30)
        state, _ = watch.observe(one, clock.now())
    milliseconds = (time.process_time() - began) / len(rounds) * 1000
    print(f"{len(state.resources)} resources: {milliseconds:.2f} ms a tick")
    assert len(state.resources) == 100
    assert milliseconds < 3
