"""TCP, UDP and sockets as a whole, from /proc/net/snmp, netstat and sockstat.

Enters: the kernel's sums. Leaves: counts and rates. Never walks the connections: `net_connections`
costs 9 ms and grows with every one of them.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from daemon.collectors.base import HostPaths, Measurement, Visitors, network_file, understood
from daemon.rates import Rates
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def _rate(name: str, family: str = "tcp") -> SignalSpec:
    return SignalSpec(name, Unit.PER_SECOND, Kind.RATE, family)


def _count(name: str, family: str = "tcp") -> SignalSpec:
    return SignalSpec(name, Unit.COUNT, Kind.GAUGE, family)


ESTABLISHED = _count("tcp.established_count")
TIME_WAIT = _count("tcp.time_wait_count")
ORPHANS = _count("tcp.orphan_count")
MEMORY = SignalSpec("tcp.memory_bytes", Unit.BYTES, Kind.GAUGE, "tcp")
RETRANSMITS = SignalSpec("tcp.retransmits", Unit.RATIO, Kind.RATE, "tcp")
SOCKETS = _count("sockets.used_count", "sockets")
LISTEN_DROPS = _rate("tcp.listen_drops_per_second")
UDP_ERRORS = _rate("udp.in_errors_per_second", "udp")
TCP_RATES = (
    (_rate("tcp.active_opens_per_second"), b"ActiveOpens"),
    (_rate("tcp.passive_opens_per_second"), b"PassiveOpens"),
    (_rate("tcp.resets_per_second"), b"EstabResets"),
    (_rate("tcp.resets_sent_per_second"), b"OutRsts"),
)


class _Table:
    """Finds columns in a file of paired lines, names above values, and remembers where they stand."""

    def __init__(self, path: Path, word: bytes, columns: Sequence[bytes]) -> None:
        self._path = path
        self._word = word
        self._columns = columns
        self._names = b""
        self._places: list[int] = []

    def read(self, content: bytes) -> list[int]:
        """Return the values of the columns in their order."""
        with understood(self._path):
            start = content.index(self._word)
            middle = content.index(b"\n", start)
            names = content[start:middle]
            if names != self._names:
                header = names.split()
                self._places = [header.index(column) for column in self._columns]
                self._names = names
            values = content[middle + 1 : content.index(b"\n", middle + 1)].split()
            return [int(values[place]) for place in self._places]


class TcpCollector:
    """Sums over all connections of the host's network namespace.

    `tcp.retransmits` is segments sent again per segment sent; `tcp.resets` counts established
    connections that ended by a reset, `tcp.resets_sent` every reset we sent. Who looks at the daemon's own page is left
    out: on a quiet host it would be the most unusual thing.
    """

    name = "tcp"
    deadline_seconds = 2.0

    def __init__(self, *, paths: HostPaths, gap_seconds: float, visitors: Callable[[], Visitors] = Visitors) -> None:
        self._snmp = network_file(paths, "snmp")
        self._netstat = network_file(paths, "netstat")
        self._sockstat = network_file(paths, "sockstat")
        columns = [b"CurrEstab", b"RetransSegs", b"OutSegs", *(column for _, column in TCP_RATES)]
        self._tcp = _Table(self._snmp.path, b"Tcp: ", columns)
        self._udp = _Table(self._snmp.path, b"Udp: ", [b"InErrors"])
        self._extended = _Table(self._netstat.path, b"TcpExt: ", [b"ListenDrops"])
        self._rates = Rates(gap_seconds)
        self._visitors = visitors

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:
        """Read the three files; see the module for what leaves."""
        snmp, netstat, sockstat = self._snmp.read(), self._netstat.read(), self._sockstat.read()
        rates = self._rates
        rates.begin(monotonic_ns)
        visitors = self._visitors()
        ours = visitors.every + visitors.local  # of one from this host, both ends are counted
        established, again, out, *totals = self._tcp.read(snmp)
        (udp_errors,) = self._udp.read(snmp)
        (listen_drops,) = self._extended.read(netstat)
        measured: list[Measurement] = [
            (ESTABLISHED, max(0, established - ours)),
            # OutSegs does not count retransmitted segments (RFC 4022)
            (RETRANSMITS, rates.share(RETRANSMITS.name, again, out + again)),
            (LISTEN_DROPS, rates.per_second(LISTEN_DROPS.name, listen_drops)),
            (UDP_ERRORS, rates.per_second(UDP_ERRORS.name, udp_errors)),
        ]
        for (spec, _), total in zip(TCP_RATES, totals, strict=True):
            measured.append((spec, rates.per_second(spec.name, total)))
        with understood(self._sockstat.path):
            measured += _sockets(sockstat, ours)
        return measured

    def close(self) -> None:
        """Give back the descriptors."""
        for file in (self._snmp, self._netstat, self._sockstat):
            file.close()


def _sockets(sockstat: bytes, ours: int) -> list[Measurement]:
    """Parse `sockets: used 11` and `TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 297` (in pages)."""
    used, tcp = sockstat.split(b"\n", 2)[:2]
    words = tcp.split()
    values = dict(zip(words[1::2], words[2::2], strict=True))
    return [
        (SOCKETS, max(0, int(used.split()[2]) - ours)),
        (ORPHANS, int(values[b"orphan"])),
        (TIME_WAIT, int(values[b"tw"])),
        (MEMORY, int(values[b"mem"]) * PAGE_BYTES),
    ]
