import numpy as np
import pytest

from benchmarks import failure_simulated
from benchmarks.failure_simulated import FOLDS, gained, highest, leads, never_trained_on, shipped_live
from detectors import failure_pretraining
from detectors.failing_hosts import simulated
from detectors.failing_kinds import FAULTS
from detectors.failure import shipped


def test_every_kind_that_announces_itself_is_left_out_once():
    left_out = [kind for fold in FOLDS for kind in fold]
    assert sorted(left_out) == sorted(set(FAULTS) - {"again", "sudden"})


def test_the_interval_of_what_is_better_lies_above_zero_and_of_the_rule_itself_around_it():
    found = simulated(80, 72)
    truth = found.targets[:, 0].astype(float)
    every = np.ones(len(truth), bool)
    better, same = gained(found, [every, every], [truth, found.rule], draws=50).T
    assert 0 < np.quantile(better, 0.025) < np.quantile(better, 0.975) <= 1
    assert (same == 0).all()


def test_a_lead_is_what_is_left_of_the_run_up():
    found = leads(shipped(), "unit_memory", 1.0, 3)
    assert ((found >= 0) & (found < 1)).all()
    top = highest(shipped(), "quiet", 1.0, 3)
    assert ((top >= 0) & (top < 0.98)).all()


def test_all_rows_come(monkeypatch, tmp_path):
    monkeypatch.setattr(failure_pretraining, "HOSTS", 48)
    monkeypatch.setattr(failure_simulated, "FOLDS", FOLDS[:1])
    monkeypatch.setattr(failure_simulated, "JUDGING", range(200, 201))
    monkeypatch.setattr(failure_simulated, "spare_folder", lambda: tmp_path)
    rows = never_trained_on(chunks=1)
    assert rows[0].metric == "AUC-PR within 1 h"
    assert all(np.isfinite(row.ours) for row in rows)
    assert len(rows) == 8


@pytest.mark.parametrize("what", ["_SOURCES", "_NOTHING"])
def test_the_shipped_network_is_watched_at_both_intervals(monkeypatch, what):
    monkeypatch.setattr(failure_simulated, "_SOURCES", {"memory": "unit_memory"} if what == "_SOURCES" else {})
    monkeypatch.setattr(failure_simulated, "_NOTHING", ("quiet",) if what == "_NOTHING" else ())
    rows = shipped_live(2)
    assert {row.case.rsplit(" at ")[-1] for row in rows} == {"1 s", "30 s"}
