"""Processor time, load, context switches and interrupts, from /proc/stat and /proc/loadavg.

Enters: jiffies per state. Leaves: ratios 0..1 of all processors and of each, load per processor,
and rates. The kernel's iowait and idle may step back by a jiffy; such a difference is missing.
"""

from collections.abc import Sequence

from daemon.collectors.base import HostPaths, Measurement, ProcFile, understood
from daemon.rates import Rates
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

MAX_CORES = 64


def _ratio(name: str) -> SignalSpec:
    return SignalSpec(name, Unit.RATIO, Kind.RATE, "cpu")


BUSY = _ratio("cpu.busy")
USER = _ratio("cpu.user")
SYSTEM = _ratio("cpu.system")
IOWAIT = _ratio("cpu.iowait")
STEAL = _ratio("cpu.steal")
IRQ = _ratio("cpu.irq")
SWITCHES = SignalSpec("cpu.context_switches_per_second", Unit.PER_SECOND, Kind.RATE, "cpu")
INTERRUPTS = SignalSpec("cpu.interrupts_per_second", Unit.PER_SECOND, Kind.RATE, "cpu")
LOAD_ONE = SignalSpec("load.one_per_cpu", Unit.RATIO, Kind.GAUGE, "load")
LOAD_FIVE = SignalSpec("load.five_per_cpu", Unit.RATIO, Kind.GAUGE, "load")


class CpuCollector:
    """All processors together, each of the first 64, and the load averages.

    The load ratios may exceed 1: that is what they are for. `dropped_cores` counts processors
    beyond the bound, which are in the sums but have no signal of their own.
    """

    name = "cpu"
    deadline_seconds = 2.0

    def __init__(self, *, paths: HostPaths, gap_seconds: float) -> None:
        self._stat = ProcFile(paths.proc / "stat")
        self._load = ProcFile(paths.proc / "loadavg")
        self._rates = Rates(gap_seconds)
        self._cores: dict[bytes, SignalSpec] = {}
        self.dropped_cores = 0

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:
        """Read both files; see the module for what leaves."""
        stat, load = self._stat.read(), self._load.read()
        with understood(self._stat.path):
            self._rates.begin(monotonic_ns)
            end = stat.index(b"\nintr ")
            whole, *cores = stat[:end].split(b"\n")
            measured = self._together(whole)
            measured += [(self._core(line), self._busy_of(line)) for line in cores[:MAX_CORES]]
            self.dropped_cores = max(len(cores) - MAX_CORES, 0)
            measured.append((INTERRUPTS, self._rates.per_second(INTERRUPTS.name, _number_after(stat, b"\nintr ", end))))
            measured.append((SWITCHES, self._rates.per_second(SWITCHES.name, _number_after(stat, b"\nctxt ", end))))
        with understood(self._load.path):
            one, five, _ = load.split(b" ", 2)
            measured.append((LOAD_ONE, float(one) / len(cores)))
            measured.append((LOAD_FIVE, float(five) / len(cores)))
        return measured

    def _together(self, line: bytes) -> list[Measurement]:
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, line.split()[1:9])
        busy = user + nice + system + irq + softirq + steal
        total = busy + idle + iowait
        share = self._rates.share
        return [
            (BUSY, share(BUSY.name, busy, total)),
            (USER, share(USER.name, user + nice, total)),
            (SYSTEM, share(SYSTEM.name, system, total)),
            (IOWAIT, share(IOWAIT.name, iowait, total)),
            (STEAL, share(STEAL.name, steal, total)),
            (IRQ, share(IRQ.name, irq + softirq, total)),
        ]

    def _core(self, line: bytes) -> SignalSpec:
        core = line[: line.index(b" ")]
        spec = self._cores.get(core)
        if spec is None:
            number = int(core[3:])
            spec = SignalSpec(f"cpu.{number}.busy", Unit.RATIO, Kind.RATE, "cpu", f"cpu{number}")
            self._cores[core] = spec
        return spec

    def _busy_of(self, line: bytes) -> float:
        core, user, nice, system, idle, iowait, irq, softirq, steal = line.split()[:9]
        busy = int(user) + int(nice) + int(system) + int(irq) + int(softirq) + int(steal)
        return self._rates.share(core, busy, busy + int(idle) + int(iowait))

    def close(self) -> None:
        """Give back the descriptors."""
        self._stat.close()
        self._load.close()


def _number_after(text: bytes, word: bytes, start: int) -> int:
    """Return the first number behind `word`; the line of interrupts has thousands that are not parsed."""
    at = text.index(word, start) + len(word)
    return int(text[at : at + 24].split(None, 1)[0])
