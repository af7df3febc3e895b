"""What a line of the journal belongs to: who speaks, how bad it is, and what it is about.

Enters: entries of the journal. Leaves: counts by severity and family, and of each family the newest message, redacted
as [privacy] asks for. Left out is what says nothing of the host's health: logins, packets that a firewall refuses,
audit records, and our own lines. The number of families is fixed, and so is what is kept of each.
"""

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from alerting.redact import plain
from daemon.collectors.errors import (
    EXHAUSTED,
    UNIT_FAILED,
    UNIT_RESTARTED,
    ErrorCounts,
    KernelFamily,
    Severity,
    Speaker,
)
from daemon.failures.journal import KERNEL, MAX_MESSAGE, RESTART_SCHEDULED, JournalEntry

MOST_TEMPLATES = 8  # of a family and severity
_KEPT_PER_SECOND = 20  # of a family and severity: the rest is only counted
_READ_LETTERS = 300
SHOWN_LETTERS = 200
_OLD_MS = 120_000  # the follower is a minute behind at most; what is older was said before we ran
_ERROR, _WARNING = 3, 4
_OWN = "presaged"

_NOISE = frozenset((
    "sshd", "sshd-session", "sshd-auth", "dropbear", "sudo", "su", "login", "systemd-logind", "polkitd", "pkexec",
    "audit", "auditd", "fail2ban-server", "unix_chkpwd", "passwd", "useradd", "usermod", "lightdm",
))  # fmt: skip
_NOISE_WORDS = ("pam_unix(", "pam_sss(", "authentication failure", " in= out=", " mac=", "audit: ")

# In a message of small letters. The first family that is found: a hot processor also speaks of machine checks, a file
# system of the disk below it. Words and not patterns: a storm of long lines must cost little.
_KERNEL_WORDS: tuple[tuple[KernelFamily, tuple[str, ...]], ...] = (
    (
        KernelFamily.HUNG,
        ("blocked for more than", "soft lockup", "hard lockup", "detected stall", "self-detected", "kthread starved"),
    ),
    (
        KernelFamily.THERMAL,
        ("temperature above", "over temperature", "overtemperature", "throttled", "critical temperature", "thermal"),
    ),
    (
        KernelFamily.HARDWARE,
        ("machine check", "mce: ", "hardware error", "edac ", ": aer: ", "bus error", "uncorrect", "corrected error"),
    ),
    (
        KernelFamily.MEMORY,
        ("out of memory", "oom-kill", "oom_kill", "oom_reaper", "allocation failure", "killed process", "bad page"),
    ),
    (
        KernelFamily.FILESYSTEM,
        ("read-only", "ext4-fs", "ext3-fs", "ext2-fs", "xfs (", "btrfs", "f2fs", "fat-fs", "jbd2", "nfs: "),
    ),
    (
        KernelFamily.IO,
        ("i/o error", "i/o timeout", "blk_update_request", "medium error", "sense key", "device offline", "scsi"),
    ),
    (
        KernelFamily.NETWORK,
        ("link is down", "link is not ready", "netdev watchdog", "transmit queue", "nf_conntrack", "flooding", "tcp: "),
    ),
)
_KERNEL_BEGINS = re.compile(
    r"(?P<io>ata\d|nvme|sd \d|sd[a-z]|dm-\d|md/|md\d|mmc|device-mapper|usb )|(?P<network>eth\d|en[ops]\w*\d|wl|bond)"
)
_SAID_SOFTLY = ("link is down", "link is not ready")  # at "info", and no small thing
_EXHAUSTION = (
    "no space left on device", "too many open files", "cannot allocate memory", "out of memory", "quota exceeded",
    "enospc", "emfile", "enfile", "enomem", "cannot fork", "fork: retry",
)  # fmt: skip
_FAILED = re.compile(r"Failed with result '([a-z-]{1,30})'")
# What systemd says of how a unit ended: systemd.exec(5), $SERVICE_RESULT.
_RESULTS = frozenset((
    "protocol", "timeout", "exit-code", "signal", "core-dump", "watchdog", "start-limit-hit", "resources", "oom-kill",
))  # fmt: skip
_MASKED = re.compile(r"""(?P<quoted>"[^"]*"|'[^']*')|(?P<path>(?<![\w.])/[^\s,;:)\]]+)|(?P<number>\w*\d[\w:.-]*)""")


@dataclass(frozen=True, slots=True)
class Belongs:
    """Where a line belongs: `family` is one of a fixed set for each speaker. `counted` are names of COUNTED."""

    speaker: Speaker
    family: str
    severity: Severity
    counted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ErrorPattern:
    """The newest message of a family: `text` is redacted, `count` how often its like came at least since `first_ms`."""

    belongs: Belongs
    text: str
    count: int
    first_ms: int
    last_ms: int


def belongs_to(entry: JournalEntry) -> Belongs | None:
    """Tell what a line belongs to, None where it is no sign of anything wrong."""
    text = entry.message[:_READ_LETTERS].lower()
    if entry.transport == KERNEL:
        return _of_kernel(entry.priority, text)
    if entry.identifier == _OWN or entry.transport == "audit":
        return None
    of_unit = _of_unit(entry)
    if of_unit is not None or entry.about:  # what else systemd says of a unit is a part of the same story
        return of_unit
    return _of_program(entry, text)


def _of_program(entry: JournalEntry, text: str) -> Belongs | None:
    severity = severity_of(entry.priority)
    if _has(text, _EXHAUSTION):
        counted = (EXHAUSTED, f"{Speaker.JOURNAL}.{severity}") if severity else (EXHAUSTED,)
        return Belongs(Speaker.JOURNAL, "exhausted", severity or Severity.WARNING, counted)
    if severity is None or entry.identifier in _NOISE or _has(text, _NOISE_WORDS):
        return None
    return Belongs(Speaker.JOURNAL, "other", severity, (f"{Speaker.JOURNAL}.{severity}",))


def severity_of(priority: int) -> Severity | None:
    """Return the severity of a priority of syslog, None of one that is no trouble."""
    if priority < _ERROR:
        return Severity.CRITICAL
    return {_ERROR: Severity.ERROR, _WARNING: Severity.WARNING}.get(priority)


def template(message: str) -> str:
    """Return the head of a message with marks for what differs between two of a kind: numbers, paths, quotations."""
    return _MASKED.sub(lambda found: f"<{found.lastgroup}>", message[:_READ_LETTERS])


def _of_kernel(priority: int, text: str) -> Belongs | None:
    severity = severity_of(priority) or (Severity.WARNING if _has(text, _SAID_SOFTLY) else None)
    if severity is None or _has(text, _NOISE_WORDS):
        return None
    family = next((family for family, words in _KERNEL_WORDS if _has(text, words)), None)
    begins = _KERNEL_BEGINS.match(text) if family is None else None
    name = family or (begins and begins.lastgroup) or KernelFamily.OTHER
    return Belongs(Speaker.KERNEL, name, severity, (f"{Speaker.KERNEL}.{name}", f"{Speaker.KERNEL}.{severity}"))


def _has(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text for word in words)


def _of_unit(entry: JournalEntry) -> Belongs | None:
    if entry.identifier != "systemd":
        return None
    if entry.message_id == RESTART_SCHEDULED:
        return Belongs(Speaker.UNITS, "restarted", Severity.WARNING, (UNIT_RESTARTED,))
    said = _FAILED.search(entry.message)
    if said is None:
        return None
    result = entry.result or said[1]
    return Belongs(Speaker.UNITS, result if result in _RESULTS else "other", Severity.ERROR, (UNIT_FAILED,))


@dataclass(slots=True)
class _Kind:
    """Messages of one template: how many, since when, and the newest as it was said."""

    count: int
    first_ms: int
    last_ms: int
    newest: str


@dataclass(slots=True)
class _Kept:
    """What is kept of one family and severity, by template; in the second `second` it took `taken` lines."""

    belongs: Belongs
    kinds: dict[str, _Kind] = field(default_factory=dict)
    second: int = 0
    taken: int = 0

    def keep(self, entry: JournalEntry, second: int) -> None:
        """Take up a line, unless there were too many in this second."""
        self.taken = self.taken + 1 if second == self.second else 1
        self.second = second
        if self.taken > _KEPT_PER_SECOND:
            return
        said = _said(entry)
        kind = self.kinds.setdefault(template(said), _Kind(0, entry.time_ms, 0, ""))
        kind.count += 1
        kind.first_ms = min(kind.first_ms, entry.time_ms)
        if entry.time_ms >= kind.last_ms:
            kind.last_ms, kind.newest = entry.time_ms, said
        if len(self.kinds) > MOST_TEMPLATES:
            del self.kinds[min(self.kinds, key=lambda key: self.kinds[key].last_ms)]


class ErrorPatterns:
    """Counts lines and keeps the newest messages of each family and severity; what is kept is bounded.

    `redact` is applied to all that leaves; `now_ms` is a seam for tests.
    """

    def __init__(
        self,
        counts: ErrorCounts,
        redact: Callable[[str], str],
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._counts = counts
        self._redact = redact
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._kept: dict[tuple[Speaker, str, Severity], _Kept] = {}

    def take(self, entries: Sequence[JournalEntry]) -> None:
        """Take in some lines. What was said long before now is kept as a message and not counted."""
        now_ms = self._now_ms()
        counted: list[str] = []
        with self._lock:
            for entry in reversed(entries):  # of too many, the newest are kept
                belongs = belongs_to(entry)
                if belongs is None:
                    continue
                if entry.time_ms >= now_ms - _OLD_MS:
                    counted += belongs.counted
                key = (belongs.speaker, belongs.family, belongs.severity)
                self._kept.setdefault(key, _Kept(belongs)).keep(entry, now_ms // 1000)
        self._counts.add(counted)

    def newest(self) -> tuple[ErrorPattern, ...]:
        """Return the newest message of each family and severity, the latest first, redacted."""
        with self._lock:
            latest = [
                (kept.belongs, replace(max(kept.kinds.values(), key=lambda kind: kind.last_ms)))
                for kept in self._kept.values()
            ]
        shown = [
            ErrorPattern(belongs, self._shown(kind.newest), kind.count, kind.first_ms, kind.last_ms)
            for belongs, kind in latest
        ]
        return tuple(sorted(shown, key=lambda one: -one.last_ms))

    def _shown(self, text: str) -> str:
        text = plain(self._redact(plain(text)))
        return text if len(text) <= SHOWN_LETTERS else f"{text[: SHOWN_LETTERS - 3]}..."


def _said(entry: JournalEntry) -> str:
    """Return who said what. Of a message that was cut its last word goes too: half of a token looks like none."""
    message = entry.message
    if len(message) >= MAX_MESSAGE:
        message = message.rpartition(" ")[0]
    return f"{entry.identifier}: {message}" if entry.identifier and entry.transport != KERNEL else message
