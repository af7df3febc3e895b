"""What a source reports of a failure, and the event that all reports of it become.

A report is one source's word. An event is one failure, whoever saw it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from detectors.findings import FailureKind

MAX_DETAIL = 300  # letters


class Source(StrEnum):
    """Who saw it, the one that tells most first."""

    OPERATOR = "operator"
    KERNEL_LOG = "kernel log"
    SMARTD = "smartd"
    SYSTEMD = "systemd"
    JOURNAL = "journal"
    MOUNTS = "mounts"
    CGROUP = "cgroup"
    BOOT = "boot id"
    VMSTAT = "vmstat"


RICHEST = {source: rank for rank, source in enumerate(Source)}


@dataclass(frozen=True, slots=True)
class FailureReport:
    """One source saw one failure. It happened between `since_ms` and `time_ms`, UTC; the two are equal where it knows.

    `mark` names what the source saw: the same again has the same. `resource`: the unit, mount or disk, "" = the host
    or not known. `detail` is one line, ready to be shown.
    """

    kind: FailureKind
    source: Source
    mark: str
    since_ms: int
    time_ms: int
    resource: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FailureEvent:
    """One failure of the host. `source` is whose `detail` and time stand here; `marks` holds the last of every source.

    It happened between `since_ms` and `time_ms`. What goes on is one event: `last_ms` and `times` say how long and
    how often it was reported.
    """

    id: int
    kind: FailureKind
    source: Source
    since_ms: int
    time_ms: int
    last_ms: int
    times: int
    resource: str
    detail: str
    marks: Mapping[Source, str] = field(default_factory=dict)
