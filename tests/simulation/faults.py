"""Faults that last for days, written into a simulated server.

Enters: a server, the first sample, the days. Leaves: where the fault shows (T,), True = it does. What a fault
does to one signal it does to those that hang together with it.
"""

import numpy as np
from server import DAY, INTERVAL


def leak(server, first, days):
    """A process never gives memory back: linear, until nine tenths of what was available are gone."""
    grown = _ramp(server, first, days)
    available = server.column("memory.available_bytes")
    taken = 0.9 * grown * available[first]
    memory = available[first] / (1 - server.column("memory.used")[first])
    available -= taken.astype(np.float32)
    server.column("memory.used")[:] += taken / memory
    server.column("memory.anonymous_bytes")[:] += taken
    cached = server.column("memory.cached_bytes")
    cached[:] = np.minimum(cached, np.maximum(available, 0.02 * memory))  # the page cache has to give way
    return grown > 0


def slow_down(server, first, days):
    """A disk gets slower: linear, from its usual latency to thirty times of it."""
    grown = _ramp(server, first, days)
    for name in server.names:
        if name.endswith("_await_seconds"):
            server.column(name)[:] *= 1 + 29 * grown
    busy = server.column("disk.nvme-S4EMNX0R.busy")
    busy[:] = np.minimum(1.0, busy * (1 + 29 * grown))
    for name in ("pressure.io_some", "pressure.io_full", "cpu.iowait"):
        server.column(name)[:] = np.minimum(0.9, server.column(name) * (1 + 29 * grown))
    return grown > 0


def flap(server, first, days):
    """A link goes down for 3 to 10 minutes and comes back for 10 to 40."""
    rng, bad = server.rng("flap"), np.zeros(server.rows, bool)
    at, end = first, first + days * DAY
    while at < end:
        down = int(rng.uniform(180, 600) / INTERVAL)
        bad[at : min(at + down, end)] = True
        at += down + int(rng.uniform(600, 2400) / INTERVAL)
    for name in server.names:
        if name.startswith("network.eth0.") and name.endswith(("bytes_per_second", "packets_per_second")):
            server.column(name)[bad] *= 0.02
    server.column("tcp.retransmits")[bad] += rng.uniform(0.1, 0.4, bad.sum())
    server.column("tcp.passive_opens_per_second")[bad] *= 0.02
    server.column("tcp.established_count")[bad] = np.rint(0.3 * server.column("tcp.established_count")[bad])
    server.column("tcp.resets_per_second")[bad] += rng.uniform(1, 20, bad.sum())
    server.column("latency.gateway.connect_seconds")[bad] = 1.0
    server.column("latency.gateway.reachable")[bad] = 0.0
    return bad


def _ramp(server, first, days):
    """0 before `first`, then linear to 1 at the end of `days`, and there to stay."""
    return np.clip((np.arange(server.rows) - first) / (days * DAY), 0, 1)
