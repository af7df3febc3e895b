"""The same samples score the same, whether our collectors took them or node_exporter did."""

import numpy as np
from collected import TOGETHER, collect
from exporter import Host

from daemon.backtest.replay import replay
from daemon.backtest.result import Samples
from daemon.backtest.source import read_samples
from daemon.config import Anomaly, Config
from daemon.history import History
from daemon.imports.node_exporter import convert, names_of_disks
from daemon.imports.writer import ImportWriter
from daemon.state import StateDatabase

ROWS = 1_000
CONFIG = Config(anomaly=Anomaly(network_after_samples=800))


def imported(host, folder, sys):
    """What an import leaves of the host."""
    folder.mkdir()
    history, state = History(folder / "history.db"), StateDatabase(folder / "state.db")
    try:
        writer = ImportWriter(history, state, interval_seconds=30.0, now_ms=int(host.time_ms[-1]) + 1000)
        table = convert(host.scrapes(), gap_seconds=75.0, names=names_of_disks(sys))
        assert writer.write(table, 0, 2**60).new == ROWS
    finally:
        history.close()
        state.close()
    return read_samples(folder)


def as_taken(like, rows):
    """The rows of the collectors, in the place of those that were imported."""
    columns = [[row.get(spec.name, np.nan) for row in rows] for spec in like.specs]
    return Samples(
        specs=like.specs,
        signal_ids=like.signal_ids,
        values=np.array(columns, np.float32).T.copy(),
        seq=like.seq,
        time_ms=like.time_ms,
        monotonic_ns=like.monotonic_ns,
        boot=like.boot,
        hours=like.hours,
        flags=like.flags,
    )


async def test_imported_samples_score_as_those_that_were_taken_live(tmp_path):
    """But for the sums over all processors, which the kernel rounds once and node_exporter's series once for each."""
    host = Host(11, ROWS, reboots=(500,), pauses={300: 300, 500: 90})
    specs, rows = collect(host, tmp_path, (0, 500))
    there = imported(host, tmp_path / "state", tmp_path / "sys")
    assert {spec.name for spec in there.specs} == set(specs)
    taken = as_taken(there, rows)
    sums = [place for place, spec in enumerate(there.specs) if spec.name in TOGETHER]
    apart = np.abs(taken.values[:, sums] - there.values[:, sums])
    assert np.nanmax(apart) <= 6 / 3000  # a jiffy for each kind of work
    other = await replay(there, (), CONFIG, name="imported", host="web1")
    first = await replay(taken, (), CONFIG, name="taken", host="web1")
    both = np.isfinite(other.raw)
    print(f"with the sums as they are: scores differ by {np.abs(other.raw - first.raw)[both].max():.1e} at most")
    taken.values[:, sums] = there.values[:, sums]
    same = await replay(taken, (), CONFIG, name="taken", host="web1")
    assert both.sum() > 0.9 * ROWS
    np.testing.assert_array_equal(both, np.isfinite(same.raw))
    np.testing.assert_allclose(other.raw, same.raw, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(other.threshold, same.threshold, rtol=1e-4, atol=1e-4)
