"""A simulated server's weeks as a state folder holds them: history.db and state.db, without having lived through them.

Enters: a server and a folder. Leaves: the databases a daemon would have left, but for scores and alerts.
"""

import numpy as np

from daemon.clock import Instant
from daemon.history import History
from daemon.samples import FLAG_GAP, StoredSample
from daemon.state import StateDatabase


def record(server, folder, *, most=None):
    """Write the rows of `server` that were sampled, at most so many; returns their places."""
    rows = np.flatnonzero(~server.down)[:most]
    gaps = np.diff(server.time_ms[rows], prepend=server.time_ms[rows[0]]) > 75_000
    folder.mkdir(exist_ok=True)
    state, history = StateDatabase(folder / "state.db"), History(folder / "history.db")
    try:
        history.bind_interval(30.0)
        numbers = state.assign_signals(server.specs, int(server.time_ms[0]))
        ids = np.array([numbers[spec.name] for spec in server.specs], np.int64)
        order = np.argsort(ids)
        samples = []
        for place, row in enumerate(rows.tolist()):
            time_ms = int(server.time_ms[row])
            instant = Instant(time_ms, time_ms * 1_000_000, 0, f"boot-{int(server.boot[row])}")
            flags, hour = FLAG_GAP * int(gaps[place]), int(server.hours[row])
            values = server.values[row][order]
            samples.append(StoredSample(1 + place, instant, hour, flags, 0, None, None, ids[order], values))
        history.add(samples)
    finally:
        history.close()
        state.close()
    return rows
