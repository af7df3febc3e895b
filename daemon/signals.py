"""What a signal is, and the registry that gives each one its lasting integer id.

Enters: the specifications of the signals that collectors measured. Leaves: ids and ordered schemas.
A name is never parsed: unit, kind, family and resource stand in the table beside it.
"""

from dataclasses import dataclass
from enum import StrEnum

from detectors.findings import Unit


class Kind(StrEnum):
    """Where a value comes from: read as it is, or the change of a counter per second."""

    GAUGE = "gauge"
    RATE = "rate"


@dataclass(frozen=True, slots=True)
class SignalSpec:
    """A signal as its collector describes it.

    `name` is dotted, lower case, and ends with the unit's suffix: `disk.sda.read_bytes_per_second`.
    `family` is the collector's subject ("cpu", "disk", ...), `resource` the device, mount or ""
    for the whole host.
    """

    name: str
    unit: Unit
    kind: Kind
    family: str
    resource: str = ""

    def __post_init__(self) -> None:
        if self.unit and not self.name.endswith(self.unit):
            raise ValueError(f"signal {self.name}: the name must end with {self.unit}")
