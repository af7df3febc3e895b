"""What the package managers did, from the end of their logs: dpkg, rpm by dnf or yum, pacman.

Enters: log files that grow. Leaves: one change for each burst of the same action, "dpkg upgraded
postgresql-16 and 3 more". At most 256 KiB of a log are read at once, and nothing of before the start
but its last hour.
"""

import io
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from daemon.collectors.base import Noticed, printable
from detectors.findings import ChangeKind

_TAIL_BYTES = 256 * 1024
_BACK_SECONDS = 3600.0
_NAME_LETTERS = 100
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Line = tuple[datetime, str, str]

_DPKG = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (install|upgrade|remove|purge) ([^ :]+)")
_RPM = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d{4})) \w+ (Installed|Upgrade|Upgraded|Erase|Removed): (\S+)"
)
_YUM = re.compile(r"([A-Z][a-z]{2}) ([ \d]\d) (\d\d:\d\d:\d\d) (Installed|Updated|Erased): (?:\d+:)?(\S+)")
_PACMAN = re.compile(r"\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4})\] \[ALPM\] (installed|upgraded|removed) (\S+)")
_VERBS = {
    "install": "installed", "upgrade": "upgraded", "remove": "removed", "purge": "removed", "erase": "removed",
    "erased": "removed", "updated": "upgraded",
}  # fmt: skip
_RPM_VERSION = re.compile(r"-[^-]+-[^-]+$")


def _dpkg(line: str) -> Line | None:
    match = _DPKG.match(line)
    return match and (datetime.fromisoformat(match[1]).astimezone(), match[2], match[3])


def _rpm(line: str) -> Line | None:
    match = _RPM.match(line)
    if match is None or match[2] == "Upgraded":  # the old version; the new one has its own line
        return None
    return datetime.fromisoformat(match[1]), match[2].lower(), _RPM_VERSION.sub("", match[3])


def _yum(line: str) -> Line | None:
    match = _YUM.match(line)
    if match is None or match[1] not in _MONTHS:
        return None
    now = datetime.now(UTC).astimezone()
    hour, minute, second = map(int, match[3].split(":"))
    moment = datetime(now.year, _MONTHS.index(match[1]) + 1, int(match[2]), hour, minute, second).astimezone()
    if moment > now:  # the log has no year: this is of the last one
        moment = moment.replace(year=now.year - 1)
    return moment, match[4].lower(), _RPM_VERSION.sub("", match[5])


def _pacman(line: str) -> Line | None:
    match = _PACMAN.match(line)
    return match and (datetime.fromisoformat(match[1]), match[2], match[3])


LOGS: tuple[tuple[str, str, Callable[[str], Line | None]], ...] = (
    ("dpkg", "var/log/dpkg.log", _dpkg),
    ("dnf", "var/log/dnf.rpm.log", _rpm),
    ("dnf", "var/log/dnf5.log", _rpm),
    ("yum", "var/log/yum.log", _yum),
    ("pacman", "var/log/pacman.log", _pacman),
)


@dataclass(slots=True)
class _Place:
    """How far a log has been read; `offset` -1 = not at all."""

    inode: int = 0
    offset: int = -1


class PackageLogs:
    """Follows every log that there is below `root`."""

    def __init__(self, root: Path, now_seconds: Callable[[], float] = time.time) -> None:
        self._logs = [(tool, root / place, parse, _Place()) for tool, place, parse in LOGS]
        self._now = now_seconds

    @property
    def found(self) -> bool:
        """Whether any log is there."""
        return any(place.offset >= 0 for *_, place in self._logs)

    def new(self) -> Iterator[Noticed]:
        """Yield what was done since the last call; at the first one, during the last hour."""
        for tool, path, parse, place in self._logs:
            try:
                status = path.stat()
            except OSError:
                continue
            first = place.offset < 0
            if status.st_ino != place.inode and not first:  # rotated: a new log begins
                place.offset = 0
            place.inode = status.st_ino
            if status.st_size == place.offset:
                continue
            lines = self._read(path, place, status.st_size)
            since = self._now() - _BACK_SECONDS if first else 0.0
            done = (line for line in (_parsed(parse, text) for text in lines) if line is not None)
            yield from _told(tool, (line for line in done if line[0].timestamp() >= since))

    @staticmethod
    def _read(path: Path, place: _Place, size: int) -> Iterator[str]:
        """Return the whole lines behind `place`, and move it behind them."""
        start = max(place.offset if 0 <= place.offset <= size else 0, size - _TAIL_BYTES)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # not ours to read
            place.offset = size
            return iter(())
        try:
            text = os.pread(descriptor, size - start, start)
        finally:
            os.close(descriptor)
        whole = text[: text.rfind(b"\n") + 1]
        place.offset = start + len(whole)
        return (printable(line.removesuffix(b"\n")) for line in io.BytesIO(whole))


def _parsed(parse: Callable[[str], Line | None], text: str) -> Line | None:
    try:
        return parse(text)
    except ValueError:  # 99 o'clock: somebody else's line
        return None


def _told(tool: str, lines: Iterable[Line]) -> Iterator[Noticed]:
    for action, group in groupby(lines, key=lambda line: line[1]):
        burst = list(group)
        names = list(dict.fromkeys(name for _, _, name in burst))
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        text = f"{tool} {_VERBS.get(action, action)} {names[0][:_NAME_LETTERS]}{more}"
        yield Noticed(ChangeKind.PACKAGE, text, round(burst[-1][0].timestamp() * 1000))
