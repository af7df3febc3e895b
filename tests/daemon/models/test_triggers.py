from dataclasses import replace

import pytest

from daemon.config import Learning
from daemon.models.triggers import Standing, Trigger, due, on_battery

CALM = Standing(
    age_seconds=30 * 86_400.0,
    since_seconds=2 * 86_400.0,
    new_samples=5_000,
    drift=0.1,
    performance=0.4,
    baseline=0.42,
    on_battery=False,
)


@pytest.mark.parametrize(
    ("change", "trigger"),
    [
        ({}, None),
        ({"drift": None, "performance": None, "baseline": None}, None),
        ({"drift": 0.15}, Trigger.DRIFT),
        ({"performance": 0.36}, Trigger.DEGRADATION),
        ({"performance": 0.38}, None),
        ({"new_samples": 10_000}, Trigger.SAMPLES),
        ({"since_seconds": 7 * 86_400.0}, Trigger.SCHEDULE),
        ({"drift": 0.5, "performance": 0.1, "new_samples": 10**6, "since_seconds": 1e9}, Trigger.DRIFT),
    ],
)
def test_what_calls_for_a_training(change, trigger):
    assert due(replace(CALM, **change), Learning())[0] is trigger


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"age_seconds": 86_000.0}, "not known for a day"),
        ({"on_battery": True}, "on its battery"),
        ({"since_seconds": 80_000.0}, "less than a day since"),
    ],
)
def test_what_keeps_it_waiting(change, words):
    trigger, told = due(replace(CALM, drift=0.9, **change), Learning())
    assert trigger is None
    assert told.startswith("drift 0.90; waits: ")
    assert words in told


def supply(sys, name, **files):
    folder = sys / "class" / "power_supply" / name
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file).write_text(text + "\n")


def test_only_a_discharging_battery_of_the_host_itself_counts(tmp_path):
    assert not on_battery(tmp_path)
    supply(tmp_path, "AC", type="Mains", online="1")
    supply(tmp_path, "hidpp_battery_0", type="Battery", scope="Device", status="Discharging")
    supply(tmp_path, "BAT0", type="Battery", status="Charging")
    assert not on_battery(tmp_path)
    (tmp_path / "class" / "power_supply" / "BAT0" / "status").write_text("Discharging\n")
    assert on_battery(tmp_path)
