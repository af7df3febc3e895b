"""Pressure stall information: the share of time in which tasks waited for a resource.

Enters: the running totals, in microseconds, of /proc/pressure. Leaves: ratios over the last tick,
which are exact where the kernel's own averages (10, 60, 300 s) lag.
"""

from collections.abc import Sequence

from daemon.collectors.base import HostPaths, Measurement, ProcFile, understood
from daemon.errors import NotAvailable
from daemon.rates import Rates
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit


def _spec(name: str) -> SignalSpec:
    return SignalSpec(name, Unit.RATIO, Kind.RATE, "pressure")


# "full" of the processor is always 0 for the whole host
WANTED = (
    ("cpu", ((b"some ", _spec("pressure.cpu_some")),)),
    ("memory", ((b"some ", _spec("pressure.memory_some")), (b"full ", _spec("pressure.memory_full")))),
    ("io", ((b"some ", _spec("pressure.io_some")), (b"full ", _spec("pressure.io_full")))),
)


class PressureCollector:
    """Stall ratios; NotAvailable with a kernel older than 4.20, built without PSI, or booted with psi=0."""

    name = "pressure"
    deadline_seconds = 2.0

    def __init__(self, *, paths: HostPaths, gap_seconds: float) -> None:
        self._files = [(ProcFile(paths.proc / "pressure" / name), lines) for name, lines in WANTED]
        self._rates = Rates(gap_seconds)

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:
        """Read the three files; those that the kernel lacks are left out."""
        contents = []
        missing: NotAvailable | None = None
        for file, lines in self._files:
            try:
                contents.append((file.path, file.read(), lines))
            except NotAvailable as error:
                missing = error
        if not contents and missing is not None:
            raise missing
        self._rates.begin(monotonic_ns)
        measured: list[Measurement] = []
        for path, content, lines in contents:
            with understood(path):
                for word, spec in lines:
                    start = content.index(b"total=", content.index(word)) + len(b"total=")
                    microseconds = int(content[start : content.index(b"\n", start)])
                    measured.append((spec, self._rates.share_of_time(spec.name, microseconds / 1e6)))
        return measured

    def close(self) -> None:
        """Give back the descriptors."""
        for file, _ in self._files:
            file.close()
