"""What a detector says: a finding with its evidence. The only words that `alerting` shares with `detectors`.

A finding is level-triggered: every tick hands over all findings that hold now. A finding that is
absent from a tick no longer holds. `Strength.HOLDING` is the band between the release level and the
threshold: it keeps a firing alert firing and never starts one (hysteresis).
"""

from dataclasses import dataclass
from enum import StrEnum
from math import nan


class Unit(StrEnum):
    """What a signal counts. The value is the suffix of the signal's name; a ratio has none."""

    RATIO = ""
    BYTES = "_bytes"
    BYTES_PER_SECOND = "_bytes_per_second"
    PER_SECOND = "_per_second"
    SECONDS = "_seconds"
    COUNT = "_count"
    CELSIUS = "_celsius"


class Strength(StrEnum):
    """How far a finding holds."""

    RAISED = "raised"
    HOLDING = "holding"


class Direction(StrEnum):
    """What about a signal is unusual. Only ABOVE and BELOW speak of the level: it is outside of what is expected."""

    UNKNOWN = ""
    ABOVE = "above"
    BELOW = "below"
    RISING = "rising"
    FALLING = "falling"
    CHANGEABLE = "changeable"
    FLAT = "flat"
    APART = "apart"  # it no longer moves with the signals that it used to move with


@dataclass(frozen=True, slots=True)
class Contributor:
    """One signal's part in a finding.

    `expected_low` and `expected_high` bound what is usual for the signal at this hour, in its unit;
    `surprise` is dimensionless, 0 = usual, relative to what the signal is used to. `recent_low` and `recent_high`
    are its extremes over the last 15 samples, in its unit. `network_share` is the share of the network's answer
    that rests on it (integrated gradients), NaN where no network serves; it ranks nothing.
    """

    signal: str
    unit: Unit
    family: str
    resource: str
    value: float
    expected_low: float
    expected_high: float
    surprise: float
    direction: Direction = Direction.UNKNOWN
    recent_low: float = nan
    recent_high: float = nan
    network_share: float = nan


class Resource(StrEnum):
    """What a unit or a process can take so much of that the host shows it, and what it can wait for.

    The value is how a sentence says it.
    """

    CPU = "CPU time"
    MEMORY = "memory"
    READS = "disk reads"
    WRITES = "disk writes"
    DESCRIPTORS = "open files"
    CPU_WAIT = "a processor"
    MEMORY_WAIT = "free memory"
    DISK_WAIT = "the disk"


WAITS = (Resource.CPU_WAIT, Resource.MEMORY_WAIT, Resource.DISK_WAIT)


@dataclass(frozen=True, slots=True)
class Culprit:
    """Who took an unusual part of a resource, or, where `resource` is one of WAITS, who waited unusually long for it.

    `unit` or `process` may be "", never both. `share` is of the host's use (of its memory for memory, of the
    time for waiting), `usual` what the unit's share used to be, `times` how many times its usual amount it takes;
    NaN where that is not known. `process` is the kernel's short name, never a command line.
    """

    unit: str
    process: str
    resource: Resource
    share: float
    usual: float = nan
    times: float = nan


class ChangeKind(StrEnum):
    """What was changed on the host."""

    MARK = "mark"  # an operator said so
    PACKAGE = "package"
    BOOT = "boot"
    KERNEL = "kernel"
    UNIT = "unit"
    OOM = "oom"
    TIMER = "timer"
    MOUNT = "mount"
    DEVICE = "device"
    INTERFACE = "interface"


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was done to the host. `text` stands behind "after": "nginx.service restarted"."""

    time_ms: int
    kind: ChangeKind
    text: str


class FailureKind(StrEnum):
    """What of the host failed: the events that its risk is about, and learns from."""

    OOM_KILL = "oom_kill"
    UNIT_FAILED = "unit_failed"
    FILESYSTEM_FULL = "filesystem_full"
    FILESYSTEM_READ_ONLY = "filesystem_read_only"
    UNCLEAN_REBOOT = "unclean_reboot"
    IO_ERROR = "io_error"
    MACHINE_CHECK = "machine_check"
    HUNG_TASK = "hung_task"
    SMART = "smart"
    OPERATOR = "operator"  # somebody says so


@dataclass(frozen=True, slots=True)
class Precedent:
    """The earlier occurrence that is most like this one; `likeness` is the cosine of their contributors, 0 to 1."""

    occurrence: str
    started_ms: int
    lasted_seconds: float
    likeness: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition that holds at this tick.

    `alertname` is a name of the policy table, `network` the detector ("anomaly", "host", ...),
    `resource` what it is about ("" = the host). `detail` is one sentence without the contributors.
    `score` and `threshold` are shown, never part of the identity. `change` is the one that came last
    before it.
    """

    alertname: str
    network: str
    resource: str
    strength: Strength
    detail: str
    score: float | None = None
    threshold: float | None = None
    contributors: tuple[Contributor, ...] = ()
    culprits: tuple[Culprit, ...] = ()
    change: Change | None = None
    precedent: Precedent | None = None
