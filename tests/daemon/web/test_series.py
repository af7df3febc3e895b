import sqlite3

import numpy as np
import pytest

from daemon.clock import Instant
from daemon.history import TIERS_SECONDS, History
from daemon.samples import FLAG_ALARMED, StoredSample
from daemon.web.series import ALARMED, DERIVED, RAW_SCORE, RAW_THRESHOLD, SCORE, Wanted, read_series
from detectors.calibration import shown_score

T0 = 1_772_323_200_000  # midnight UTC
HOUR = 3_600_000
DAY = 24 * HOUR


def write(path, times_ms, values, *, ids=None, raw=None, threshold=None, flags=None, start=1):
    """Store samples; `values` (T, S) has NaN for what is missing."""
    history = History(path)
    ids = np.arange(1, values.shape[1] + 1) if ids is None else np.array(ids)
    history.add(
        [
            StoredSample(
                start + row, Instant(int(time_ms), row * 10**9, 0, "boot"), 0,
                0 if flags is None else int(flags[row]), 1,
                None if raw is None else float(raw[row]), None if threshold is None else float(threshold[row]),
                ids, values[row].astype(np.float32),
            )
            for row, time_ms in enumerate(times_ms)
        ]
    )  # fmt: skip
    history.roll_up()
    return history


def expected(times_ms, values, first_ms, end_ms, step_ms):
    """What buckets of the samples themselves say."""
    inside = (times_ms >= first_ms // step_ms * step_ms) & (times_ms < end_ms)
    times_ms, values = times_ms[inside], values[inside].astype(np.float32).astype(np.float64)
    out = {}
    for bucket in sorted(set((times_ms // step_ms).tolist())):
        part = values[times_ms // step_ms == bucket]
        row = []
        for column in part.T:
            known = column[np.isfinite(column)]
            row.append((known.mean(), known.min(), known.max()) if len(known) else (np.nan,) * 3)
        out[bucket * step_ms] = row
    return out


def agree(found, wanted):
    assert found.times_ms.tolist() == list(wanted)
    table = np.array(list(wanted.values())).reshape(len(wanted), -1, 3)
    np.testing.assert_allclose(found.mean, table[:, :, 0], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(found.least, table[:, :, 1], rtol=1e-6)
    np.testing.assert_allclose(found.greatest, table[:, :, 2], rtol=1e-6)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.db"


@pytest.mark.parametrize("seed", range(5))
def test_buckets_of_any_width_say_what_their_samples_say(path, seed):
    """Whichever tier is read, and whatever is not rolled up yet: it is the same as of the samples."""
    rng = np.random.default_rng(seed)
    count = 1500
    times = T0 + np.arange(count) * 60_000 + rng.integers(0, 900, count)
    times[count // 2 :] += int(rng.integers(0, 3)) * HOUR  # a night switched off
    values = rng.normal(size=(count, 4)) * 10.0 ** rng.integers(-3, 9, 4)
    values[rng.random(values.shape) < 0.2] = np.nan
    write(path, times, values).close()
    for points in (10, 25, 60):
        first = int(times[0] + rng.random() * 0.9 * (times[-1] - times[0]))
        end = (first + int(rng.uniform(0.2, 30) * HOUR)) // HOUR * HOUR + HOUR
        found = read_series(path, Wanted((4, 2), (), first, end, points), 60.0, 0.8)
        assert len(found.times_ms) <= points + 1
        agree(found, expected(times, values[:, [3, 1]], first, end, found.step_ms))


@pytest.fixture(scope="module")
def five_days(tmp_path_factory):
    """A sample a minute."""
    path = tmp_path_factory.mktemp("series") / "history.db"
    write(path, T0 + np.arange(7200) * 60_000, np.ones((7200, 1))).close()
    return path


@pytest.mark.parametrize(
    ("days", "points", "step", "source"),
    [(0.02, 500, 60, 0), (0.3, 500, 60, 0), (1, 500, 300, 300), (5, 1000, 600, 300), (5, 100, 7200, 3600),
     (5, 10, 43_200, 3600), (40, 30, 21_600, 3600)],  # what lies before the first sample makes no bucket wider
)  # fmt: skip
def test_the_tier_is_just_fine_enough(five_days, days, points, step, source):
    end = T0 + 7199 * 60_000
    found = read_series(five_days, Wanted((1,), (), end - int(days * DAY), end, points), 60.0, 0.8)
    assert (found.step_ms, found.source_seconds) == (step * 1000, source)
    assert len(found.times_ms) <= points + 1


def test_what_is_older_than_the_samples_that_are_kept_comes_from_rollups(path):
    times = T0 + np.arange(3000) * 60_000
    values = np.arange(3000.0)[:, None]
    history = write(path, times, values)
    history.prune({0: 200, **dict.fromkeys(TIERS_SECONDS, 10_000)})
    history.close()
    found = read_series(path, Wanted((1,), (), T0 + HOUR, T0 + 2 * HOUR, 500), 60.0, 0.8)
    assert (found.step_ms, found.source_seconds) == (300_000, 300)
    assert found.mean[:, 0].tolist() == [np.arange(a, a + 5).mean() for a in range(60, 120, 5)]
    recent = read_series(path, Wanted((1,), (), int(times[-100]), int(times[-1]), 500), 60.0, 0.8)
    assert recent.source_seconds == 0


def test_imported_samples_come_before_the_own_ones(path):
    times = T0 + np.arange(120) * 60_000
    write(path, times[:60], np.zeros((60, 1)), start=-60).close()
    write(path, times[60:], np.ones((60, 1)), start=1).close()
    found = read_series(path, Wanted((1,), (), T0, T0 + 2 * HOUR, 500), 60.0, 0.8)
    assert found.mean[:, 0].tolist() == [0.0] * 60 + [1.0] * 60


def test_a_signal_that_came_later_or_never_is_missing(path):
    times = T0 + np.arange(20) * 60_000
    write(path, times[:10], np.ones((10, 1)), ids=[7]).close()
    write(path, times[10:], np.full((10, 2), 2.0), ids=[7, 9], start=11).close()
    found = read_series(path, Wanted((9, 7, 5), (), T0, T0 + HOUR, 500), 60.0, 0.8)
    assert np.isnan(found.mean[:10, 0]).all()
    assert found.mean[10:, 0].tolist() == [2.0] * 10
    assert found.mean[:, 1].tolist() == [1.0] * 10 + [2.0] * 10
    assert np.isnan(found.mean[:, 2]).all()


def test_a_clock_that_was_set_back_gives_both_passes_one_place(path):
    times = T0 + np.concatenate([np.arange(30), np.arange(10, 40)]) * 60_000
    write(path, times, np.arange(60.0)[:, None]).close()
    found = read_series(path, Wanted((1,), (), T0, T0 + HOUR, 500), 60.0, 0.8)
    assert (np.diff(found.times_ms) > 0).all()
    assert found.greatest[:, 0].max() == 59


def test_scores_are_those_that_people_see(path):
    times = T0 + np.arange(120) * 60_000
    raw = np.linspace(0, 6, 120)
    flags = np.where(raw > 4, FLAG_ALARMED | 1, 1)
    write(path, times, np.ones((120, 1)), raw=raw, threshold=np.full(120, 4.0), flags=flags).close()
    found = read_series(path, Wanted((), DERIVED, T0, T0 + 2 * HOUR, 500), 60.0, 0.8)
    place = {name: column for column, name in enumerate(DERIVED)}
    np.testing.assert_allclose(found.mean[:, place[SCORE]], [shown_score(one, 4.0, 0.8) for one in raw])
    np.testing.assert_allclose(found.mean[:, place[RAW_SCORE]], raw)
    np.testing.assert_allclose(found.mean[:, place[RAW_THRESHOLD]], 4.0)
    assert found.mean[:, place[ALARMED]].tolist() == (raw > 4).astype(float).tolist()
    wide = read_series(path, Wanted((1,), (ALARMED, SCORE), T0, T0 + 2 * HOUR, 10), 60.0, 0.8)
    assert wide.step_ms == 900_000
    assert wide.mean[:, 1].tolist() == [(raw[a : a + 15] > 4).mean() for a in range(0, 120, 15)]
    np.testing.assert_allclose(wide.greatest[:, 2], [shown_score(raw[a + 14], 4.0, 0.8) for a in range(0, 120, 15)])


def test_before_there_is_a_model_there_is_no_score(path):
    times = T0 + np.arange(4) * 60_000
    write(path, times, np.ones((4, 1)), threshold=np.full(4, np.inf)).close()
    found = read_series(path, Wanted((), (SCORE, RAW_THRESHOLD), T0, T0 + HOUR, 500), 60.0, 0.8)
    assert np.isnan(found.mean).all()
    History(path).close()


def test_nothing_is_there_before_the_first_sample(path):
    History(path).close()
    found = read_series(path, Wanted((1, 2), (SCORE,), T0, T0 + HOUR, 500), 60.0, 0.8)
    assert (found.mean.shape, found.times_ms.tolist()) == ((0, 3), [])
    path.unlink()
    with pytest.raises(sqlite3.Error):
        read_series(path, Wanted((1,), (), T0, T0 + HOUR, 500), 60.0, 0.8)


def test_scores_are_read_without_the_values_beside_them(path):
    """A month has a hundred times as many bytes of values: the index must be what is read."""
    history = write(path, T0 + np.arange(4) * 60_000, np.ones((4, 1)), raw=np.ones(4), threshold=np.ones(4))
    plan = history.read(
        "EXPLAIN QUERY PLAN SELECT time_ms / 60000 AS bucket, avg(raw_score), max(flags) FROM samples"
        " INDEXED BY samples_scores WHERE seq BETWEEN 1 AND 9 AND time_ms >= 0 AND time_ms < 9 GROUP BY bucket"
    )
    assert "COVERING INDEX samples_scores" in plan[0][3]
    history.close()
