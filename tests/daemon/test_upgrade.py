"""An upgrade in the midst of an incident: nothing is relearned, nothing bursts, and older state goes on.

The whole daemon on a clock that jumps (benchmarks/accelerated) lives through forty hours at ten minutes a sample. With
PRESAGED_TEST_WRITE_GOLDEN=TREE the state of an older program, whose source tree that is, is written anew.
"""

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accelerated import read_specs
from benchmarks.upgrade import Case, make_case, unlike, unmatched

GOLDEN = Path(__file__).parent / "golden" / "older_state.tar.xz"  # of state.db version 5 and history.db version 2
TICKS, STOP = 240, 171
INTERVAL = 600.0
SETTINGS = '[anomaly]\nlearning_days = 1\nnotify = "always"\nnetwork_after_samples = 96\n'
START_MS = 1_767_222_000_000

pytestmark = pytest.mark.xdist_group("upgrade")  # both hold what they find against the same days


def write_golden(folder, tree):
    case = make_case(folder / "rows", days=2, interval=INTERVAL, seed=1, crowding=1.0, more=SETTINGS)
    values = np.fromfile(case.rows / "values.f32", "<f4").reshape(-1, len(read_specs(case.rows)))[: TICKS + 1]
    column = {spec.name: place for place, spec in enumerate(read_specs(case.rows))}
    storm = [place for name, place in column.items() if name.split(".")[0] in {"cpu", "load", "tcp", "network", "disk"}]
    rising = np.geomspace(4, 4e5, 20)[:, None]  # it goes on over the stop
    values[160:180, storm] = rising * np.maximum(values[160:180, storm], 1e-2)
    used, free = column["filesystem./var.used"], column["filesystem./var.free_bytes"]
    size = values[0, free] / (1 - values[0, used])
    values[200:220, used] = np.linspace(values[199, used], 0.999, 20)
    values[220:, used] = 0.999
    values[200:, free] = size * (1 - values[200:, used])
    values.tofile(case.rows / "values.f32")
    case.live(folder, 0, STOP, Path(tree))
    with tarfile.open(GOLDEN, "w:xz") as archive:
        for name in ("rows/values.f32", "rows/signals.json", "state/state.db", "state/history.db", "state/models"):
            archive.add(folder / name, name)


@pytest.fixture(scope="module")
def older(tmp_path_factory):
    """A folder with the host's rows, and the state that an older program has left at the stop."""
    folder = tmp_path_factory.mktemp("older")
    if tree := os.environ.get("PRESAGED_TEST_WRITE_GOLDEN"):
        write_golden(tmp_path_factory.mktemp("golden"), tree)
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def case(older):
    return Case(older / "rows", START_MS, INTERVAL, TICKS, SETTINGS)


@pytest.fixture(scope="module")
def whole(case, tmp_path_factory):
    """What comes of it without a stop."""
    folder = tmp_path_factory.mktemp("whole")
    case.live(folder, 0, TICKS)
    lived = case.read(folder)
    assert len(lived.score) == TICKS
    assert {one.alertname for one in lived.told} >= {"Anomaly", "ResourceExhaustionImminent"}
    assert any(one.fired < STOP and (one.ended or TICKS) > STOP for one in lived.told), "nothing goes on over the stop"
    return lived


def events(folder):
    return [json.loads(line)["event"] for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.timeout(120)
def test_a_stop_changes_no_alert_no_model_and_no_threshold(case, whole, tmp_path):
    case.live(tmp_path, 0, STOP)
    case.live(tmp_path, STOP, TICKS - STOP)
    stopped = case.read(tmp_path)
    assert unlike(stopped, whole, ends=4) == []  # the first sample after a start has no rates, and 15 look back on it
    assert len(stopped.score) == TICKS
    np.testing.assert_array_equal(stopped.model, whole.model)
    np.testing.assert_allclose(stopped.threshold[STOP:], whole.threshold[STOP:], rtol=0.02)
    assert np.isfinite(stopped.score[STOP:]).all()
    assert not {"model_refused", "sample_not_stored", "history_set_aside"} & set(events(tmp_path))


@pytest.mark.timeout(120)
def test_what_an_older_program_left_is_taken_over(case, whole, older):
    """Its databases are migrated, with a copy each; its model serves on; what it told is not told again."""
    case.live(older, STOP, TICKS - STOP)
    lived = case.read(older)
    assert len(lived.score) == TICKS
    assert (lived.model[STOP:] == lived.model[STOP - 1]).all(), "it was learned anew"
    assert np.isfinite(lived.score[STOP:]).all()
    assert unmatched(lived, whole, STOP) == 0, (lived.told, whole.told)
    state = older / "state"
    assert {"state.db.before-v6", "history.db.before-v3"} <= {one.name for one in state.iterdir()}
    assert not {"model_refused", "sample_not_stored", "history_set_aside"} & set(events(older))
