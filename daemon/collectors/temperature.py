"""Temperatures of chips and drives, from /sys/class/hwmon, else /sys/class/thermal.

Enters: millidegrees. Leaves: degrees Celsius. The files are found once and looked for again every
five minutes; psutil searches all of /sys at each call and knows no other root than the real one.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from daemon.collectors.base import HostPaths, Measurement, ProcFile
from daemon.errors import CollectorError, NotAvailable
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

MAX_SENSORS = 64
SEARCH_EVERY_NS = 300 * 10**9
LOWEST_CELSIUS, HIGHEST_CELSIUS = -60.0, 200.0  # beyond it a sensor is broken or not connected
UNTIDY = re.compile(r"[^a-z0-9]+")


class TemperatureCollector:
    """Every sensor that answers; NotAvailable where there is none, as in most virtual machines.

    A sensor that refuses to be read is left out for that tick. `dropped_sensors` counts those
    beyond the bound.
    """

    name = "temperature"
    deadline_seconds = 5.0  # a drive that sleeps may take its time

    def __init__(self, *, paths: HostPaths) -> None:
        self._sys = paths.sys
        self._sensors: list[tuple[SignalSpec, ProcFile]] = []
        self._search_at_ns = 0
        self.dropped_sensors = 0

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:
        """Read the sensors; see the module for what leaves."""
        if monotonic_ns >= self._search_at_ns:
            self._search()
            self._search_at_ns = monotonic_ns + SEARCH_EVERY_NS
        if not self._sensors:
            raise NotAvailable("this host shows no temperature sensors")
        measured: list[Measurement] = []
        for spec, file in self._sensors:
            try:
                celsius = int(file.read()) / 1000
            except (CollectorError, ValueError):  # asleep, unplugged, or without a value now
                continue
            if LOWEST_CELSIUS < celsius < HIGHEST_CELSIUS:
                measured.append((spec, celsius))
        return measured

    def _search(self) -> None:
        known = {file.path: (spec, file) for spec, file in self._sensors}
        found = list(_hwmon(self._sys)) or list(_thermal(self._sys))
        self.dropped_sensors = max(len(found) - MAX_SENSORS, 0)
        seen: dict[str, int] = {}
        self._sensors = []
        for sensor, path in found[:MAX_SENSORS]:
            seen[sensor] = seen.get(sensor, 0) + 1
            resource = sensor if seen[sensor] == 1 else f"{sensor}_{seen[sensor]}"
            before = known.pop(path, None)
            if before is not None and before[0].resource == resource:
                self._sensors.append(before)
                continue
            spec = SignalSpec(f"sensors.{resource}_celsius", Unit.CELSIUS, Kind.GAUGE, "sensors", resource)
            self._sensors.append((spec, ProcFile(path, 64)))
            if before is not None:
                before[1].close()
        for _, file in known.values():
            file.close()

    def close(self) -> None:
        """Give back the descriptors."""
        for _, file in self._sensors:
            file.close()


def _hwmon(sys: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and file of each sensor, in the order of the devices: hwmon numbers change at boot."""
    chips = [chip.resolve() for chip in (sys / "class" / "hwmon").glob("hwmon*")]
    for chip in sorted(chips, key=lambda chip: (str(chip.parent), chip.name)):
        for path in sorted(chip.glob("temp*_input"), key=lambda path: (len(path.name), path.name)):
            label = _text(path.with_name(path.name.replace("_input", "_label"))) or path.name.removesuffix("_input")
            yield _tidy(f"{_text(chip / 'name') or 'chip'} {label}"), path


def _thermal(sys: Path) -> Iterator[tuple[str, Path]]:
    for zone in sorted((sys / "class" / "thermal").glob("thermal_zone*")):
        yield _tidy(_text(zone / "type") or zone.name), zone / "temp"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # a label is a courtesy of the driver
        return ""


def _tidy(text: str) -> str:
    return UNTIDY.sub("_", text.lower()).strip("_")
