"""Traffic, errors and drops of each network interface, from /proc/net/dev.

Enters: the kernel's counters. Leaves: rates per interface. Interfaces that come and go with
containers are excluded, and so is what never carried a packet; `lo` stays, since a flood on it is real.
"""

from collections.abc import Iterable, Sequence

from daemon.collectors.base import HostPaths, Measurement, network_file, one_of, printable, understood
from daemon.rates import Rates
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

MAX_INTERFACES = 256
EXCLUDED = (
    "veth*",
    # as the network plugins of Kubernetes call a pod's: AWS, Azure, GKE, OVN
    "eni[0-9a-f]*",
    "azv[0-9a-f]*",
    "gke[0-9a-f]*",
    "[0-9a-f]" * 15,
    "br-*",
    "cali*",
    "docker*",
    "ifb*",
    "virbr*",
    "vnet*",
    "cni*",
    "lxc*",
    "flannel*",
    "dummy*",
)
HEADER_LINES = 2
MEGABIT_BYTES = 125_000.0


class NetworkCollector:
    """Interfaces of the host; `exclude` are shell patterns. `dropped_interfaces` counts those beyond the bound."""

    name = "network"
    deadline_seconds = 2.0

    def __init__(self, *, paths: HostPaths, gap_seconds: float, exclude: Sequence[str] = ()) -> None:
        self._file = network_file(paths, "dev")
        self._rates = Rates(gap_seconds)
        self._excluded = one_of((*EXCLUDED, *exclude))
        self._specs: dict[bytes, tuple[SignalSpec, ...]] = {}
        self.dropped_interfaces = 0

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:
        """Read the counters; see the module for what leaves."""
        content = self._file.read()
        self._rates.begin(monotonic_ns)
        measured: list[Measurement] = []
        present: dict[bytes, tuple[SignalSpec, ...]] = {}
        dropped = watched = 0
        with understood(self._file.path):
            for line in content.splitlines()[HEADER_LINES:]:
                raw, numbers = line.split(b":", 1)
                fields = numbers.split()
                specs = self._specs.get(raw)
                if specs is None:
                    specs = self._describe(printable(raw.strip()))
                if specs and fields[1] == fields[9] == b"0":
                    continue
                if specs and watched == MAX_INTERFACES:
                    dropped += 1
                    continue
                present[raw] = specs
                if specs:
                    watched += 1
                    measured += self._measure(specs, fields)
        self._specs = present
        self.dropped_interfaces = dropped
        return measured

    def _measure(self, specs: tuple[SignalSpec, ...], fields: list[bytes]) -> list[Measurement]:
        totals = (
            int(fields[0]),
            int(fields[8]),
            int(fields[1]),
            int(fields[9]),
            int(fields[2]) + int(fields[10]),
            int(fields[3]) + int(fields[11]),
        )
        per_second = self._rates.per_second
        return [(spec, per_second(spec.name, total)) for spec, total in zip(specs, totals, strict=True)]

    def _describe(self, interface: str) -> tuple[SignalSpec, ...]:
        """Return the signals of an interface, none when it is excluded."""
        if self._excluded.match(interface):
            return ()
        units = (
            ("receive_bytes_per_second", Unit.BYTES_PER_SECOND),
            ("transmit_bytes_per_second", Unit.BYTES_PER_SECOND),
            ("receive_packets_per_second", Unit.PER_SECOND),
            ("transmit_packets_per_second", Unit.PER_SECOND),
            ("errors_per_second", Unit.PER_SECOND),
            ("drops_per_second", Unit.PER_SECOND),
        )
        return tuple(
            SignalSpec(f"network.{interface}.{name}", unit, Kind.RATE, "network", interface) for name, unit in units
        )

    def close(self) -> None:
        """Give back the descriptor."""
        self._file.close()


def link_speeds(paths: HostPaths, interfaces: Iterable[str]) -> dict[str, float]:
    """Return the bytes a second, each way, of those `interfaces` that tell their speed; blocks."""
    speeds = {}
    for interface in interfaces:
        try:
            megabits = int((paths.sys / "class" / "net" / interface / "speed").read_text(encoding="ascii"))
        except (OSError, ValueError):  # no such file, not up, wireless, or a name with escapes
            continue
        if megabits > 0:  # -1 is "unknown"
            speeds[interface] = megabits * MEGABIT_BYTES
    return speeds
