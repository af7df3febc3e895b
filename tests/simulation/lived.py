"""The state folder of a daemon that has lived for a while with the quiet collector of `fast_daemon.py`."""

import time

import numpy as np

from daemon.clock import Instant
from daemon.history import History
from daemon.samples import StoredSample
from daemon.signals import Kind, SignalSpec
from daemon.state import StateDatabase
from detectors.findings import Unit

INTERVAL = 0.2


def lived(state, values):
    """Leave what a daemon would have that took `values` (T, S) of the quiet collector until now."""
    state.mkdir(parents=True)
    database, history = StateDatabase(state / "state.db"), History(state / "history.db")
    specs = [SignalSpec(f"quiet.s{number}", Unit.RATIO, Kind.GAUGE, "quiet") for number in range(values.shape[1])]
    began = time.time_ns() - int(len(values) * INTERVAL * 1e9)
    ids = np.sort(np.array(list(database.assign_signals(specs, began // 10**6).values()), np.int64))
    history.bind_interval(INTERVAL)
    samples = []
    for place, row in enumerate(values):
        passed = int(place * INTERVAL * 1e9)
        instant = Instant((began + passed) // 10**6, 10**9 + passed, 10**9 + passed, "a boot before")
        samples.append(StoredSample(1 + place, instant, 5, 0, 0, None, None, ids, row))
    history.add(samples)
    history.close()
    database.close()
