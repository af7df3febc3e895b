"""In the place of clock, collectors and process scan: what the simulated world shows at the present row."""

from collections.abc import Sequence
from itertools import compress

import numpy as np

from benchmarks.year.physics import World
from daemon.clock import Instant
from daemon.collectors.base import Noticed
from daemon.process_scan import ProcessScan, Scan
from daemon.sampler import Round, Writability
from detectors.findings import ChangeKind

_KINDS = {"package": ChangeKind.PACKAGE, "mount": ChangeKind.MOUNT}


class WorldClock:
    """The moments of the samples; `row` is the present one."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.row = 0

    def now(self) -> Instant:
        """Return when the present sample was taken."""
        return self._world.instant(self.row)


class NoProcesses(ProcessScan):
    """In the place of /proc: units are known, processes are not."""

    def __init__(self) -> None:
        pass

    def forget(self) -> None:
        """Nothing is remembered."""

    def scan(self, monotonic_ns: int, suspects: Sequence[int] = ()) -> Scan:  # noqa: ARG002
        """Return that no process was looked at."""
        return Scan({}, frozenset(), 0, 0)


class WorldRounds:
    """In the place of the collectors."""

    def __init__(self, world: World, clock: WorldClock) -> None:
        self._world, self._clock = world, clock
        self._writability = Writability()
        self._read_only = [
            (column, spec.resource) for column, spec in enumerate(world.specs) if spec.name.endswith(".read_only")
        ]
        self._told = clock.row - 1

    def expect(self, writable: Sequence[str]) -> None:
        """Take up which mounts were writable before."""
        self._writability.expect(writable)

    def collect(self, monotonic_ns: int) -> Round:  # noqa: ARG002 - the clock knows the row
        """Return what is measured at the present row, and what was noticed since the last."""
        world, row = self._world, self._clock.row
        there, values = np.isfinite(world.values[row]).tolist(), world.values[row].tolist()
        measured = tuple(compress(zip(world.specs, values, strict=True), there))
        mounts = {mount: values[column] > 0 for column, mount in self._read_only if there[column]}
        noticed = [one for past in range(self._told + 1, row + 1) for one in self._noticed(past)]
        self._told = row
        return Round(measured, (), tuple(self._writability.observe(mounts)), world.units(row), tuple(noticed))

    def _noticed(self, row: int) -> list[Noticed]:
        said = self._world.said
        found = []
        for unit, verb in said.units.get(row, ()):
            began, ended = (unit if verb == word else "" for word in ("started", "stopped"))
            found.append(Noticed(ChangeKind.UNIT, f"{unit} {verb}", began=began, ended=ended))
        for timer in said.timers.get(row, ()):
            unit = timer.replace(".timer", ".service")
            found.append(Noticed(ChangeKind.TIMER, f"{timer} ran", began=unit))
        for unit in said.kills.get(row, ()):
            text = f"the kernel killed a process of {unit} for memory"
            found.append(Noticed(ChangeKind.OOM, text, about=unit))
        for kind, text in said.notes.get(row, ()):
            found.append(Noticed(_KINDS[kind], text))
        return found
