"""Names of disks that outlast a reboot, from /sys/block.

Enters: a kernel name. Leaves: candidates, the most telling first. Only letters, digits and `._:-`
remain in them; everything else becomes one `_`.
"""

import os
import re
from pathlib import Path

# An NVMe namespace has a wwid of its own, while its controller's serial is shared by all namespaces.
SOURCES = ("dm/name", "md/uuid", "serial", "wwid", "device/serial", "device/wwid")
UNTIDY = re.compile(r"[^A-Za-z0-9.:-]+")
HEADER_BYTES = 4  # of page 83 and of each designator in it
NAA = 3  # SPC-4, 7.8.6.1: the designator that is unique in the world
MAX_LENGTH = 80


def is_whole_disk(sys: Path, kernel: str) -> bool:
    """Tell whether `kernel` is a disk of its own: partitions stand only below theirs."""
    return os.path.isdir(_folder(sys, kernel))  # noqa: PTH112 - a Path costs more than the call


def is_partition(sys: Path, kernel: str) -> bool:
    """Tell whether `kernel` is a partition for sure."""
    return (sys / "class" / "block" / kernel.replace("/", "!") / "partition").exists()


def lasting_names(sys: Path, kernel: str) -> list[str]:
    """Return the lasting names that /sys knows of the disk, the best first; an empty list when none."""
    folder = _folder(sys, kernel)
    names = [_tidy(_content(folder / source).decode("ascii", "replace")) for source in SOURCES]
    names.append(_world_wide_name(_content(folder / "device" / "vpd_pg83")))
    return [name for name in names if name]


def _folder(sys: Path, kernel: str) -> Path:
    return sys / "block" / kernel.replace("/", "!")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # absent, not readable for us, or the device is going: the next source may know
        return b""


def _tidy(text: str) -> str:
    return UNTIDY.sub("_", text.strip(" \t\n\0"))[:MAX_LENGTH].strip("_")


def _world_wide_name(page: bytes) -> str:
    """Return the NAA name of the logical unit in SCSI page 83, "" when it has none."""
    at = HEADER_BYTES
    while at + HEADER_BYTES <= len(page):
        association_and_type, length = page[at + 1], page[at + 3]
        value = page[at + HEADER_BYTES : at + HEADER_BYTES + length]
        if association_and_type & 0x3F == NAA:  # association 0: the unit itself, not its port
            return "naa." + value.hex()
        at += HEADER_BYTES + length
    return ""
