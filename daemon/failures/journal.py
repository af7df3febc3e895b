"""The host's journal, followed: what the kernel says, and what programs say at "warning" and above.

Enters: the lines of a child, `journalctl --follow`. Leaves: entries in order, in batches, each of which may be taken
up once: `position` is where the next process goes on. Never: /dev/kmsg, which needs a capability. A storm of lines
costs a bounded share of a processor, for both processes: what is read is paced, the pipe holds the rest back, and when
that does not help it goes on from the present and says so.
"""

import asyncio
import json
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from daemon.collectors.base import HostPaths

_log = structlog.get_logger()

KERNEL = "kernel"
# systemd.journal-fields(7), `systemd-analyze` of messages: "Scheduled restart job" is said at "info".
RESTART_SCHEDULED = "5eb03494b6584870a536b337290809b3"
MAX_MESSAGE = 2000  # letters

_FIELDS = "MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,_TRANSPORT,UNIT,UNIT_RESULT,MESSAGE_ID"
_WARNING, _INFO = 4, 6
_LATEST_MS = 253_402_300_799_999  # the end of the year 9999: what is later stands in no calendar
_TAKEN = (
    "_TRANSPORT=kernel",
    *(f"PRIORITY={level}" for level in range(_WARNING + 1)),
    f"MESSAGE_ID={RESTART_SCHEDULED}",
)
_READ_BYTES = 65_536
_LONGEST_LINE = 1 << 20
_LINES_PER_SECOND = 1000
_MOST_BEHIND_SECONDS = 60
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 60.0
_END_SECONDS = 1.0
_ENVIRONMENT = ("PATH", "TZ")

Take = Callable[[Sequence["JournalEntry"]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One line of the journal. `priority` is syslog's, 0 = emergency to 7 = debug; `time_ms` UTC.

    `unit` is the unit that speaks, "" for the kernel; `about` the one that systemd speaks of, `result` how that failed.
    `message` is as it was said: redact it before it leaves the host.
    """

    time_ms: int
    priority: int
    identifier: str
    unit: str
    transport: str
    message: str
    cursor: str = ""
    about: str = ""
    result: str = ""
    message_id: str = ""


class JournalFollower:
    """Follows from `position`: `beginning` of a moment, or what an earlier follower had as its own.

    `problem` says why there is nothing to follow, "" = it follows. `skips` counts how often it left out what it
    could not keep up with. `command` is a seam for tests.
    """

    def __init__(self, *, paths: HostPaths, position: str, command: Sequence[str] = ("journalctl",)) -> None:
        self._paths = paths
        self._command = command
        self.position = position
        self.problem = self._obstacle()  # known before the first sample: what is absent must not seem to have stopped
        self._told = ""
        self.skips = 0

    async def run(self, take: Take) -> None:
        """Hand every batch to `take`, for ever; what ends is started again, later each time. Cancel it to stop."""
        wait = _FIRST_WAIT_SECONDS
        while True:
            problem = self._obstacle()
            began = time.monotonic()
            if not problem:
                self._tell("")
                problem = await self._follow(take)
            if problem:
                self._tell(problem)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS) if time.monotonic() - began < wait else _FIRST_WAIT_SECONDS
            await asyncio.sleep(wait)

    def _obstacle(self) -> str:
        return unreadable(self._paths) or _missing(self._command[0])

    def _tell(self, problem: str) -> None:
        if problem and problem != self._told:
            _log.info("journal_not_followed", reason=problem)
        self.problem = self._told = problem

    async def _follow(self, take: Take) -> str:
        """Follow with one child until it ends; return why it did, "" when it is to be started again at once."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                # Without --merge, --follow shows the present boot only: what was said before a crash would be lost.
                *((f"--root={self._paths.root}",) if self._paths.is_elsewhere else ()),
                *("--follow", "--merge", "--no-tail", "--quiet", "--output=json", f"--output-fields={_FIELDS}"),
                _from(self.position),
                *_matches(self._paths),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_READ_BYTES,
                env={"LC_ALL": "C", **{key: os.environ[key] for key in _ENVIRONMENT if key in os.environ}},
            )
        except OSError as error:
            return f"{self._command[0]} cannot be started: {error.strerror}"
        assert process.stdout and process.stderr  # noqa: S101, PT018 - pipes were asked for
        complaint = asyncio.ensure_future(_last_line(process.stderr))
        before = self.position
        try:
            if await self._read(process.stdout, take):
                return ""
            code = await process.wait()
            said = await complaint
            if self.position == before and code:
                self.position = before.partition(" ")[0]  # a cursor that it does not know: its time will do
            return f"{self._command[0]} ended with code {code}: {said or 'it said nothing'}"
        finally:
            complaint.cancel()
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                with suppress(TimeoutError):  # a child of the child may hold the pipes
                    await asyncio.wait_for(_drained(process), _END_SECONDS)

    async def _read(self, stream: asyncio.StreamReader, take: Take) -> bool:
        """Take up the lines of `stream` until it ends; tell whether it was left because it comes too fast."""
        known = self.position.partition(" ")[2]
        pace = _Pace()
        rest = b""
        while chunk := await stream.read(_READ_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                rest = b""  # what is left of the line is not understood, and left out
            entries = [entry for entry in map(parse, lines) if entry is not None and entry.cursor != known]
            if entries:
                self.position = f"{beginning(entries[-1].time_ms)} {entries[-1].cursor}"
                await take(entries)
            if await pace.keep(len(lines)):
                self.position = beginning(time.time_ns() // 1_000_000)
                self.skips += 1
                _log.warning("journal_skipped", reason=f"more than {_LINES_PER_SECOND} lines a second for a minute")
                return True
        return False


class _Pace:
    """At most 1000 lines a second, on average over each second; counts the seconds in a row that were full."""

    def __init__(self) -> None:
        self._lines, self._full = 0, 0
        self._until = time.monotonic() + 1.0

    async def keep(self, lines: int) -> bool:
        """Count `lines`, wait where they are too many; tell whether a minute of it was in vain."""
        now = time.monotonic()
        if now >= self._until:
            self._lines, self._full, self._until = 0, 0, now + 1.0
        self._lines += lines
        if self._lines < _LINES_PER_SECOND:
            return False
        await asyncio.sleep(self._until - now)
        self._lines, self._full, self._until = 0, self._full + 1, time.monotonic() + 1.0
        return self._full >= _MOST_BEHIND_SECONDS


def parse(line: bytes) -> JournalEntry | None:
    """Return the entry of one line of `--output=json`, None for what is none."""
    try:
        fields = json.loads(line)
        time_ms = int(fields["__REALTIME_TIMESTAMP"]) // 1000
        if not 0 <= time_ms <= _LATEST_MS:
            return None
        return JournalEntry(
            time_ms=time_ms,
            priority=int(_text(fields.get("PRIORITY")) or _INFO),
            identifier=_text(fields.get("SYSLOG_IDENTIFIER")),
            unit=_text(fields.get("_SYSTEMD_UNIT")),
            transport=_text(fields.get("_TRANSPORT")),
            message=_text(fields.get("MESSAGE"))[:MAX_MESSAGE],
            cursor=str(fields["__CURSOR"]),
            about=_text(fields.get("UNIT")),
            result=_text(fields.get("UNIT_RESULT")),
            message_id=_text(fields.get("MESSAGE_ID")),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None


def _text(value: object) -> str:
    """Return a field as text: a list of numbers is bytes that are no text, another one a field that was given twice."""
    if isinstance(value, list):
        if value and all(isinstance(one, int) for one in value):
            return bytes(value).decode("utf-8", "backslashreplace")
        return _text(value[0]) if value and not isinstance(value[0], list) else ""
    return value if isinstance(value, str) else ""


def _matches(paths: HostPaths) -> list[str]:
    """Return what to show, of this host alone: others may send it their journals."""
    own = ""
    with suppress(OSError):
        own = (paths.root / "etc" / "machine-id").read_text(encoding="ascii", errors="replace").strip()
    if not any(file.parent.name == own for file in _system_journals(paths)):
        own = ""
    machine = [f"_MACHINE_ID={own}"] if own else []
    return [word for one in _TAKEN for word in ("+", *machine, one)][1:]


def unreadable(paths: HostPaths) -> str:
    """Return why the journal of this host cannot be read, "" where it can."""
    files = list(_system_journals(paths))
    if not files:
        return "this host keeps no journal"
    if not any(os.access(file, os.R_OK) for file in files):
        return f"{files[0]} is not ours to read: it takes the group systemd-journal"
    return ""


def _system_journals(paths: HostPaths) -> Iterator[Path]:
    for folder in ("run/log/journal", "var/log/journal"):
        with suppress(OSError):
            for machine in (paths.root / folder).iterdir():
                with suppress(OSError):
                    (machine / "system.journal").stat()
                    yield machine / "system.journal"


def _missing(program: str) -> str:
    return "" if shutil.which(program) else f"{program} is not installed"


def beginning(time_ms: int) -> str:
    """Return the position of a moment, UTC."""
    return f"{time_ms / 1000:.3f}"


def _from(position: str) -> str:
    """Return the option to begin at `position`. The entry itself comes once more: one that is gone skips no other."""
    seconds, _, cursor = position.partition(" ")
    return f"--cursor={cursor}" if cursor else f"--since=@{seconds}"


async def _drained(process: asyncio.subprocess.Process) -> None:
    """Read what a killed child left: asyncio waits for the end of a pipe that nobody reads."""
    while process.stdout and await process.stdout.read(_READ_BYTES):
        pass
    await process.wait()


async def _last_line(stream: asyncio.StreamReader) -> str:
    tail = b""
    while part := await stream.read(_READ_BYTES):
        tail = (tail + part)[-_READ_BYTES:]
    return " ".join(tail.decode(errors="replace").strip().splitlines()[-1:])[:200]
