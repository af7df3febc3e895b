"""The benchmark of a scrape: how blocks become rows."""

import numpy as np
import pytest

from benchmarks.scrape import _rows

BODY = b'# HELP x X.\nx{signal="a"} 1\nx{signal="b"} 2\ny 3\n'


def test_rows_tell_the_middle_of_the_blocks_and_how_sure_the_ratio_is():
    rng = np.random.default_rng(0)
    ours, theirs = 2 + 0.1 * rng.normal(size=40), 8 + 0.4 * rng.normal(size=40)
    rows = {row.metric: row for row in _rows(BODY, ours, theirs)}
    assert {row.case for row in rows.values()} == {"2 signals"}
    assert (rows["body"].ours, rows["series"].ours) == (len(BODY), 3)
    measured = rows["cpu of a scrape"]
    assert (measured.ours, measured.peer) == (pytest.approx(2, abs=0.1), "node_exporter")
    low, high = rows["ratio, lower end of 95 %"].ours, rows["ratio, upper end of 95 %"].ours
    assert 3.5 < low < measured.ratio < high < 4.5


def test_without_a_peer_there_is_no_ratio():
    assert [row.ratio for row in _rows(BODY, np.array([2.0]), np.array([]))] == [None] * 3
