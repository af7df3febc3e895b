import json

import numpy as np
import pytest

from detectors.model_file import ARRAYS, MANIFEST, ModelError
from detectors.replay import Memory, load_memory


def rows(level, count, first=0, seed=0, width=6):
    """Rows of a regime at `level`, their targets, and stamps from `first`."""
    rng = np.random.default_rng([seed, first])
    inputs = (level + rng.normal(size=(count, width))).astype(np.float32)
    return inputs, inputs[:, :1] * 2, np.arange(first, first + count)


def memory(**options):
    return Memory(6, 1, **{"bytes_": 20_000, "most": 4, **options})


def test_a_regime_that_comes_again_is_recognised_and_another_is_new():
    kept, rng = memory(), np.random.default_rng(0)
    first = kept.keep(*rows(0, 2000), rng)
    assert (first.rows, first.known, first.new) == (2000, frozenset(), 1)
    standby = kept.keep(*rows(5, 1000, 2000), rng)
    assert (standby.known, standby.new) == (frozenset(), 1)
    assert kept.recognise(rows(0, 300, 9000)[0]) == 0
    assert kept.recognise(rows(5, 300, 9000)[0]) == 1
    assert kept.recognise(rows(-5, 300, 9000)[0]) is None
    assert memory().recognise(rows(0, 300)[0]) is None
    again = kept.keep(*rows(0, 1000, 3000, seed=7), rng)
    assert (again.known, again.new) == ({0}, 0)
    assert [regime.offered for regime in kept.regimes] == [3000, 1000]
    assert [regime.last for regime in kept.regimes] == [3999, 2999]


def test_one_training_may_hold_several_regimes():
    kept = memory()
    parts = [rows(0, 1500), rows(5, 600, 1500), rows(0, 900, 2100)]
    found = kept.keep(*(np.concatenate(one) for one in zip(*parts, strict=True)), np.random.default_rng(0))
    assert found.new == len(kept.regimes) >= 2
    offered = sorted((regime.offered for regime in kept.regimes), reverse=True)
    assert sum(offered) == 3000
    assert offered[0] >= 2000
    assert 300 <= offered[1] <= 700
    assert sum(offered[2:]) <= 2 * 180  # what lies across a change is like neither


def test_rows_that_were_offered_before_are_passed_over():
    kept, rng = memory(), np.random.default_rng(0)
    kept.keep(*rows(0, 1000), rng)
    assert kept.keep(*rows(0, 1200), rng).rows == 200  # a month's history overlaps with the month's before
    assert kept.regimes[0].offered == 1200
    assert kept.keep(*rows(0, 1200), rng).rows == 0


def test_the_summary_is_that_of_all_rows_offered():
    kept, rng = memory(), np.random.default_rng(0)
    parts = [rows(0, 700), rows(0.1, 900, 700)]
    for part in parts:
        kept.keep(*part, rng)
    whole = np.concatenate([part[0] for part in parts]).astype(np.float64)
    np.testing.assert_allclose(kept.regimes[0].centre, whole.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(kept.regimes[0].spread, whole.std(axis=0), atol=1e-12)


def test_every_row_of_a_regime_has_the_same_chance(scale):
    counts = np.zeros(400)
    runs = 150 * scale
    for run in range(runs):
        kept, rng = Memory(6, 0, bytes_=32 * 40, most=1), np.random.default_rng(run)
        assert kept.rows_each == 40
        for first in (0, 250):
            inputs, targets, stamps = rows(0, 250 if first == 0 else 150, first)
            kept.keep(inputs, targets[:, :0], stamps, rng)
        counts[kept.regimes[0].stamps] += 1
        assert len(set(kept.regimes[0].stamps.tolist())) == 40
    tenths = counts.reshape(10, 40).sum(axis=1) / (40 * runs)  # each expected at 1/10
    assert np.abs(tenths - 0.1).max() < 6 * np.sqrt(0.09 / (40 * runs))


def test_memory_is_bounded_in_bytes_and_regimes():
    kept, rng = memory(most=3), np.random.default_rng(0)
    for place in range(6):
        found = kept.keep(*rows(5.0 * place, 2000, 2000 * place), rng)
    assert len(kept.regimes) == 3  # there is room for no more
    assert (found.rows, found.known, found.new) == (2000, frozenset(), 1)
    assert 0 < found.unlike < 2000  # its first block
    assert sum(regime.offered for regime in kept.regimes) == 12_000
    inputs, targets, groups = kept.rows()
    stamps = np.concatenate([regime.stamps for regime in kept.regimes])
    assert inputs.nbytes + targets.nbytes + stamps.nbytes <= 20_000
    assert (np.bincount(groups) == kept.rows_each).all()
    np.testing.assert_allclose(targets, inputs[:, :1] * 2)
    for place in np.unique(groups):
        np.testing.assert_array_equal(kept.regimes[place].inputs, inputs[groups == place])
    with pytest.raises(ValueError, match="hold no row"):
        memory(bytes_=10)


def test_a_host_of_many_shades_does_not_crowd_out_a_standby():
    """Days between light and heavy load all differ a little; the standby was seen for a few hours."""
    kept, rng = memory(), np.random.default_rng(0)
    for day, load in enumerate(np.linspace(0, 5, 15)):
        kept.keep(*rows(load, 1000, 2000 * day), rng)
        if day == 4:
            kept.keep(*rows(-6, 200, 2000 * day + 1000), rng)
    assert len(kept.regimes) == 4
    standby = kept.recognise(rows(-6, 200, 90_000)[0])
    assert standby is not None
    assert kept.regimes[standby].offered == 200
    found = kept.keep(*rows(-6, 300, 100_000), rng)
    assert (found.known, found.new, found.unlike) == ({standby}, 0, 0)


def test_two_regimes_that_become_one_are_kept_by_their_shares():
    kept, rng = Memory(6, 0, bytes_=32 * 200, most=2), np.random.default_rng(0)
    assert kept.rows_each == 100
    for level, count, first in ((0, 900, 0), (20, 300, 900), (1, 300, 1200)):
        inputs, targets, stamps = rows(level, count, first)
        found = kept.keep(inputs, targets[:, :0], stamps, rng)
    assert found.new == 0  # the third found no room, and lies near the first
    assert found.unlike > 0
    near = kept.regimes[0]
    assert (near.offered, near.last, len(near.stamps)) == (1200, 1499, 100)
    assert 10 <= (near.stamps >= 1200).sum() <= 42  # a quarter of the rows that were offered
    whole = np.concatenate([rows(0, 900)[0], rows(1, 300, 1200)[0]]).astype(np.float64)
    np.testing.assert_allclose(near.centre, whole.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(near.spread, whole.std(axis=0), atol=1e-12)
    assert np.isin(kept.regimes[1].stamps, np.arange(900, 1200)).all()


def test_what_turned_out_to_be_an_incident_is_dropped():
    kept = memory(bytes_=1_000_000)
    kept.keep(*rows(0, 1000), np.random.default_rng(0))
    learnable = np.r_[0:500, 600:1000]
    assert kept.forget(0, 799, learnable) == 100
    assert not set(range(500, 600)) & set(kept.regimes[0].stamps.tolist())
    assert kept.forget(0, 799, learnable) == 0
    assert kept.forget(900, 999, learnable[:0]) == 100  # rows from before the history begins stay
    assert kept.forget(0, 999, learnable[:0]) == 800
    assert kept.regimes == []


def test_a_file_is_read_bit_for_bit_and_goes_on_where_it_was(tmp_path):
    one, rng = memory(), np.random.default_rng(0)
    one.keep(*rows(0, 700), rng)
    one.keep(*rows(5, 700, 700), rng)
    other = load_memory(one.save(tmp_path, "memory"))
    assert (other.width, other.outputs, other.most, other.rows_each, other.until) == (6, 1, 4, one.rows_each, 1399)
    for kept in (one, other):
        kept.keep(*rows(0, 700, 1400), np.random.default_rng(1))
    for mine, read in zip(one.regimes, other.regimes, strict=True):
        for key in ("inputs", "targets", "stamps", "centre", "spread"):
            np.testing.assert_array_equal(getattr(mine, key), getattr(read, key))
        assert (mine.offered, mine.last) == (read.offered, read.last)
    empty = load_memory(memory().save(tmp_path, "empty"))
    assert [len(part) for part in empty.rows()] == [0, 0, 0]


def test_a_damaged_file_is_told(tmp_path):
    kept = memory()
    kept.keep(*rows(0, 700), np.random.default_rng(0))
    folder = kept.save(tmp_path, "memory")
    whole = (folder / MANIFEST).read_text()
    with pytest.raises(ModelError, match="unreadable"):
        load_memory(tmp_path)
    (folder / MANIFEST).write_text(whole.replace('"until": 699', '"until": 9'))
    with pytest.raises(ModelError, match="altered"):
        load_memory(folder)
    record = json.loads(whole)
    del record["manifest_sha256"]
    for change in ({"regimes": 5}, {"regimes": [{"offered": 1}]}, {"width": 7}, {"rows_each": 2}, {"most": 0}):
        (folder / MANIFEST).write_text(json.dumps({**record, **change}))
        with pytest.raises(ModelError):
            load_memory(folder)
    (folder / MANIFEST).write_text(whole)
    (folder / ARRAYS).write_bytes((folder / ARRAYS).read_bytes()[:-1])
    with pytest.raises(ModelError, match="truncated"):
        load_memory(folder)


def test_rows_of_another_network_are_refused():
    kept = memory()
    inputs, targets, stamps = rows(0, 200)
    for wrong in ((inputs[:, :5], targets, stamps), (inputs, targets[:, :0], stamps), (inputs, targets, stamps[:5])):
        with pytest.raises(ValueError, match="no rows of this memory"):
            kept.keep(*wrong, np.random.default_rng(0))
