"""The soak counts right, and the clock that jumps lets the daemon itself live through its days."""

import json

import pytest

from benchmarks.accelerated import JumpingClock, read_specs, run_daemon, write_rows
from benchmarks.process import free_port
from benchmarks.soak import Watched, figures
from benchmarks.year import events
from daemon.clock import Instant


def test_growth_is_told_from_where_the_windows_are_full():
    seen = Watched(
        ticks=[100, 1000, 5000, 10_000], anonymous=[50.0, 60.0, 61.0, 62.0], resident=[70.0, 80.0, 80.0, 80.0]
    )
    seen.happened["alerts fired"] = 7
    told = {row.metric: row.ours for row in figures(seen)}
    assert told["anonymous grown by"] == 2.0
    assert told["anonymous slope"] == pytest.approx(21.8, abs=0.5)
    assert told["resident grown by"] == 0.0
    assert told["resident slope"] == pytest.approx(0.0, abs=1e-6)
    assert told["alerts fired"] == 7


def test_time_stands_while_something_works():
    clock = JumpingClock(1_000)
    with clock.standing(), clock.standing():
        assert clock.busy == 2
    assert clock.busy == 0
    assert isinstance(clock.now(), Instant)


def test_two_runs_on_one_clock_follow_each_other(tmp_path):
    """At two minutes a sample: 20 and then 10, at the moments and with the values that were recorded."""
    world, _ = events.play(1, 1, 120.0, 1.0)
    write_rows(world, tmp_path)
    assert [spec.name for spec in read_specs(tmp_path)] == [spec.name for spec in world.specs]
    config = tmp_path / "config.toml"
    config.write_text(
        f'[storage]\ndirectory = "state"\n[http]\nlisten = "127.0.0.1:{free_port()}"\n[compute]\nbackend = "numpy"\n'
    )
    clock, seen = JumpingClock(int(world.time_ms[0])), []

    def after(_daemon, snapshot):
        value = next(value for spec, value in snapshot.values if spec.name == "memory.used")
        seen.append((snapshot.seq, (snapshot.time_ms - clock.start_ms) / 120_000, value))

    for ticks in (20, 10):
        run_daemon(config, tmp_path, clock, interval_seconds=120.0, ticks=ticks, after_tick=after)
    column = [spec.name for spec in world.specs].index("memory.used")
    wanted = [(row + 1, row, world.values[row, column]) for row in range(30)]
    assert json.dumps(seen) == json.dumps([(seq, float(at), float(value)) for seq, at, value in wanted])
