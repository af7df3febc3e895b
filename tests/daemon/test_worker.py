import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from daemon.clock import Instant
from daemon.history import History
from daemon.models import unfinished
from daemon.samples import (
    FLAG_ALARMED,
    FLAG_DOUBTFUL,
    FLAG_EXPECTED,
    FLAG_GAP,
    FLAG_INCIDENT,
    FLAG_OWN_WORK,
    FLAG_SPARED,
    Rows,
    StoredSample,
)
from daemon.worker import learnable, train
from detectors import continual, kernels, learner
from detectors.anomaly import score_rows
from detectors.model_file import MANIFEST
from detectors.registry import load

T0 = 1_772_344_800_000


def rows_with(flags, values=None):
    count = len(flags)
    values = np.arange(count, dtype=np.float32)[:, None] if values is None else values
    numbers = np.arange(count)
    return Rows((1,), values, numbers + 1, numbers * 1000, np.full(count, 7), np.array(flags, np.int64))


def test_gaps_become_rows_of_nothing():
    values, hours = learnable(rows_with([FLAG_GAP, 0, 0, FLAG_GAP, 0]))
    np.testing.assert_array_equal(values[:, 0], [0, 1, 2, np.nan, 3, 4])
    assert hours.tolist() == [7, 7, 7, -1, 7, 7]


def test_alarmed_runs_are_left_out_as_one_gap():
    values, _ = learnable(rows_with([0, 0, FLAG_ALARMED, FLAG_ALARMED, 0, 0, 0]))
    np.testing.assert_array_equal(values[:, 0], [0, 1, np.nan, 4, 5, 6])
    values, _ = learnable(rows_with([FLAG_ALARMED, 0, 0, FLAG_GAP | FLAG_ALARMED, 0]))
    np.testing.assert_array_equal(values[:, 0], [1, 2, np.nan, 4])


def test_when_most_is_alarmed_it_stays():
    values, _ = learnable(rows_with([0, FLAG_ALARMED, FLAG_ALARMED, FLAG_ALARMED, 0]))
    np.testing.assert_array_equal(values[:, 0], [0, 1, 2, 3, 4])


@pytest.mark.parametrize("flag", [FLAG_SPARED, FLAG_EXPECTED, FLAG_INCIDENT])
def test_what_verdicts_kept_from_an_alarm_and_real_incidents_are_left_out(flag):
    values, _ = learnable(rows_with([0, 0, flag, flag, 0, FLAG_ALARMED, 0]))
    np.testing.assert_array_equal(values[:, 0], [0, 1, np.nan, 4, np.nan, 6])


def test_when_most_is_unusual_it_stays_but_what_was_a_real_incident_never():
    unusual = [0, FLAG_ALARMED, FLAG_SPARED, FLAG_EXPECTED, FLAG_ALARMED | FLAG_INCIDENT]
    values, _ = learnable(rows_with(unusual))
    np.testing.assert_array_equal(values[:, 0], [0, 1, 2, 3])
    values, _ = learnable(rows_with([0, FLAG_INCIDENT, FLAG_INCIDENT, FLAG_INCIDENT]))
    np.testing.assert_array_equal(values[:, 0], [0])


def test_own_work_is_never_learned_from():
    values, _ = learnable(rows_with([0, FLAG_OWN_WORK, 0, FLAG_OWN_WORK | FLAG_ALARMED, FLAG_ALARMED, FLAG_ALARMED]))
    np.testing.assert_array_equal(values[:, 0], [0, np.nan, 2])
    values, _ = learnable(rows_with([FLAG_OWN_WORK, FLAG_ALARMED, FLAG_ALARMED]))
    np.testing.assert_array_equal(values[:, 0], [np.nan, 1, 2])


def test_doubtful_hours_teach_no_rhythm():
    _, hours = learnable(rows_with([0, FLAG_DOUBTFUL, FLAG_DOUBTFUL | FLAG_GAP, 0]))
    assert hours.tolist() == [7, -1, -1, -1, 7]


def run(job, spec, timeout=110):
    return subprocess.run(
        [sys.executable, "-P", "-m", "daemon.worker", *([job] if job else [])],
        input=spec if isinstance(spec, str) else json.dumps(spec),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def told(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def spec_of(tmp_path, quiet_host):
    """A history of a quiet host, and what the daemon would tell the child about it."""

    def build(rows=300, signals=6):
        history = History(tmp_path / "history.db")
        values = quiet_host(rows, signals)
        ids = np.arange(1, signals + 1)
        for place in range(rows):
            instant = Instant(T0 + 30_000 * place, place * 30 * 10**9, 0, "boot-1")
            history.append(StoredSample(place + 1, instant, 5, 0, 0, None, None, ids, values[place]))
        history.close()
        (tmp_path / "incoming").mkdir(exist_ok=True)
        return {
            "history": str(tmp_path / "history.db"),
            "incoming": str(tmp_path / "incoming"),
            "interval_seconds": 30.0,
            "episodes_per_week": 7.0,
            "most_samples": 10_000,
            "units": {str(number): "" for number in ids.tolist()},
            "memory_bytes": 4_000_000_000,
        }

    return build


def test_a_training_from_a_real_history(spec_of, tmp_path, quiet_host):
    done = run("train", spec_of())
    assert done.returncode == 0, done.stderr
    words = told(done)
    assert words[-1]["result"]["name"] == "000000000300"
    shares = [one["progress"] for one in words if "progress" in one]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    model, manifest = load(tmp_path / "incoming" / "000000000300")
    assert (manifest.samples, manifest.first_seq, manifest.last_seq, manifest.number) == (300, 1, 300, 300)
    assert model.signal_ids == (1, 2, 3, 4, 5, 6)
    scores = score_rows(model, quiet_host(60, 6, 4), np.full(60, 5))
    assert np.isfinite(scores.raw).all()
    assert np.isfinite(scores.network).all()


def in_process(spec, told):
    return train(spec, lambda _share, text: told.append(text))


def test_a_training_goes_on_from_the_champion_and_says_so(spec_of, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(learner, "_LEAST_STEPS", 60)
    spec, told = spec_of(400), []
    first = tmp_path / "incoming" / in_process(spec, told)["name"]
    kept = first.rename(tmp_path / "champion")
    known = continual.load(kept)
    assert json.loads((kept / MANIFEST).read_text())["metrics"]["relearned"] == 1
    again = tmp_path / "incoming" / in_process({**spec, "champion": str(kept)}, told)["name"]
    figures = json.loads((again / MANIFEST).read_text())["metrics"]
    assert (figures["relearned"], figures["retention"], figures["replay_dropped"]) == (0, 1, 0)
    assert figures["replay_rows"] == len(known.memory.rows()[0]) > 300
    assert any("kept" in text for text in told)
    np.testing.assert_array_equal(load(again)[0].network.parameters, load(kept)[0].network.parameters)
    (kept / "memory" / MANIFEST).write_text("{")
    in_process({**spec, "champion": str(kept)}, told)
    assert "nothing is kept to go on from" in capsys.readouterr().out
    assert json.loads((again / MANIFEST).read_text())["metrics"]["relearned"] == 1


def test_what_became_an_incident_after_it_was_learned_leaves_the_memory(spec_of, tmp_path, monkeypatch):
    monkeypatch.setattr(learner, "_LEAST_STEPS", 60)
    spec = spec_of(400)
    kept = (tmp_path / "incoming" / in_process(spec, [])["name"]).rename(tmp_path / "champion")
    with sqlite3.connect(spec["history"]) as database:
        database.execute("UPDATE samples SET flags = flags | ? WHERE seq BETWEEN 101 AND 150", (FLAG_ALARMED,))
    database.close()
    again = tmp_path / "incoming" / in_process({**spec, "champion": str(kept)}, [])["name"]
    assert json.loads((again / MANIFEST).read_text())["metrics"]["replay_dropped"] == 50
    stamps = np.concatenate([regime.stamps for regime in continual.load(again).memory.regimes])
    assert not set(range(101, 151)) & set(stamps.tolist())


class Cut(BaseException):
    pass


@pytest.fixture
def cut_off(spec_of, monkeypatch):
    """A training of 400 samples that was cut off after an epoch, and the model that it would have become."""
    monkeypatch.setattr(learner, "_LEAST_STEPS", 60)
    monkeypatch.setattr(learner, "_KEEP_SECONDS", 0.0)
    spec, texts = spec_of(400), []
    whole = load(Path(spec["incoming"]) / in_process({**spec, "trigger": "drift"}, texts)["name"])[0]
    assert not (Path(spec["incoming"]) / "unfinished").exists()

    def progress(_share, text):
        if text.startswith("epoch 2"):
            raise Cut

    with pytest.raises(Cut):
        train({**spec, "trigger": "drift"}, progress)
    return spec, whole, sum(text.startswith("epoch") for text in texts)


def change_history(spec, statement):
    with sqlite3.connect(spec["history"]) as database:
        database.execute(statement)
    database.close()


NEWER = (
    "INSERT INTO samples SELECT seq + 400, time_ms + 12000000, monotonic_ns, boot, schema, hour, flags, model,"
    " raw_score, raw_threshold, data FROM samples"
)


def test_a_training_that_was_cut_off_goes_on_with_its_samples_and_ends_with_the_same_bits(cut_off):
    spec, whole, epochs = cut_off
    change_history(spec, NEWER)  # the daemon has gone on sampling
    incoming, told = Path(spec["incoming"]), []
    assert unfinished.cut_off(incoming, time.time_ns() // 10**6) == "drift"
    assert in_process(spec, told)["name"] == "000000000400"
    model, manifest = load(incoming / "000000000400")
    assert (manifest.samples, manifest.last_seq) == (400, 400)
    np.testing.assert_array_equal(model.network.parameters, whole.network.parameters)
    np.testing.assert_array_equal(model.quiet_scores, whole.quiet_scores)
    assert sum(text.startswith("epoch") for text in told) == epochs - 2
    assert unfinished.cut_off(incoming, time.time_ns() // 10**6) is None
    assert [path.name for path in incoming.iterdir()] == ["000000000400"]


@pytest.mark.parametrize(
    ("change", "later_ms", "statement"),
    [
        ({"units": {"1": "", "2": ""}}, 0, ""),
        ({"backend": "auto"}, 0, ""),
        ({}, 86_400_001, ""),
        ({}, -60_000, ""),
        ({}, 0, f"UPDATE samples SET flags = {FLAG_INCIDENT} WHERE seq = 100"),
        ({}, 0, "DELETE FROM samples WHERE seq = 1"),
    ],
    ids=["other signals", "another back end", "too old", "the clock was wrong", "an incident in it", "some are gone"],
)
def test_what_has_changed_since_begins_anew(cut_off, change, later_ms, statement):
    spec, _, _ = cut_off
    change_history(spec, NEWER)
    if statement:
        change_history(spec, statement)
    history = History(Path(spec["history"]), read_only=True)
    rows = unfinished.samples(history, {**spec, **change}, time.time_ns() // 10**6 + later_ms)
    history.close()
    assert (len(rows.seq), rows.seq[-1]) == (799 if "DELETE" in statement else 800, 800)
    assert [path.name for path in (Path(spec["incoming"]) / "unfinished").iterdir()] == ["plan"]


def test_a_signal_that_is_not_known_any_more_is_left_out(spec_of, tmp_path):
    spec = spec_of()
    del spec["units"]["3"]
    assert told(run("train", spec))[-1]["result"]["signals"] == 5
    assert load(tmp_path / "incoming" / "000000000300")[0].signal_ids == (1, 2, 4, 5, 6)


@pytest.mark.parametrize("rows", [0, 59])
def test_too_little_history_is_an_error_in_words(spec_of, rows):
    done = run("train", spec_of(rows=rows))
    assert done.returncode == 1
    assert f"{rows} samples are too few to learn from: 60 are needed" in told(done)[-1]["error"]


def test_a_folder_that_cannot_be_written_is_an_error_in_words(spec_of, tmp_path):
    spec = {**spec_of(100), "incoming": str(tmp_path / "history.db")}
    done = run("train", spec)
    assert done.returncode == 1
    assert "NotADirectoryError" in told(done)[-1]["error"]


def test_a_memory_bound_that_is_too_small_ends_the_child_and_not_the_host(spec_of):
    done = run("train", {**spec_of(100), "memory_bytes": 120_000_000})
    assert done.returncode != 0
    assert not any("result" in one for one in told(done))


@pytest.mark.parametrize("job", ["", "none", "train;rm"])
def test_an_unknown_job_is_bad_usage(job):
    done = run(job, "{}")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m daemon.worker compile|train")


def test_it_takes_the_lowest_priority():
    code = """
import json, os, pathlib, psutil, resource
from daemon.models import unfinished
from daemon.worker import _step_back
_step_back(3_000_000_000)
me = psutil.Process()
print(json.dumps([os.nice(0), int(me.ionice().ioclass), resource.getrlimit(resource.RLIMIT_AS)[0],
    int(pathlib.Path("/proc/self/oom_score_adj").read_text())]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert json.loads(done.stdout) == [19, 3, 3_000_000_000, 800]


def test_where_priorities_may_not_be_changed_it_works_all_the_same():
    code = """
import os, psutil, resource
from daemon.models import unfinished
from daemon import worker
def refuse(*_):
    raise PermissionError(1, "Operation not permitted")
os.nice = refuse
psutil.Process.ionice = lambda *_: (_ for _ in ()).throw(psutil.AccessDenied())
worker._step_back(3_000_000_000)
assert resource.getrlimit(resource.RLIMIT_AS)[0] == 3_000_000_000
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert [one["text"].partition(":")[0] for one in told(done)] == [
        "the priority stays as it is",
        "the priority at disks stays as it is",
    ]


def test_compiling_fills_the_cache(tmp_path):
    done = run("compile", {"cache": str(tmp_path), "memory_bytes": 4_000_000_000})
    assert done.returncode == 0, done.stderr
    assert told(done)[-1]["result"]["seconds"] > 0
    assert kernels.is_cached(tmp_path)


def test_compiling_into_what_is_no_folder_is_an_error_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("compile", {"cache": str(tmp_path / "file"), "memory_bytes": 4_000_000_000})
    assert done.returncode == 1
    assert "NotADirectoryError" in told(done)[-1]["error"]
