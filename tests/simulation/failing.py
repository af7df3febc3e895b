"""A failure log on a real state.db with a door that waits for nothing; reports and lines of the journal to feed it."""

import json
import sys

from daemon.errors import StateError
from daemon.failures.journal import JournalEntry
from daemon.failures.log import FailureLog
from daemon.failures.record import FailureReport, Source
from daemon.offload import Inline
from daemon.state import StateDatabase
from detectors.findings import FailureKind

NOW_MS = 1_772_344_800_000
SECOND_MS = 1000
MINUTE_MS = 60_000


class Kept:
    """A failure log that can be opened again, as after a restart."""

    def __init__(self, path):
        self.path = path
        self.counted = []
        self.failures = 0
        self.full = False
        self.open()

    def open(self):
        self.state = StateDatabase(self.path)
        self.writes = 0
        kept, write = self, self.state.record_failures

        def record(events, values):
            kept.writes += 1
            if kept.full:
                raise StateError("no room on the disk")
            write(events, values)

        self.state.record_failures = record
        self.log = FailureLog(table=self.state, offload=Inline(), counted=self.counted.append, failed=self._failed)
        self.log.restore()
        return self.log

    def _failed(self):
        self.failures += 1

    def again(self):
        """Open what is stored, as if the process had been killed."""
        self.state.close()
        return self.open()

    def stored(self):
        return list(reversed(self.state.recent_failures(1000)))


def report(
    kind=FailureKind.OOM_KILL, source=Source.KERNEL_LOG, mark="m", at=0, *, since=None, resource="", detail="a detail"
):
    """A report at `at` seconds, or somewhen from `since` on."""
    time_ms = NOW_MS + int(at * SECOND_MS)
    since_ms = time_ms if since is None else NOW_MS + int(since * SECOND_MS)
    return FailureReport(kind, source, mark, since_ms, time_ms, resource, detail)


def entry(message, at=0, *, cursor="", priority=3, transport="kernel", **fields):
    """A line of the journal at `at` seconds."""
    return JournalEntry(
        NOW_MS + int(at * SECOND_MS),
        priority,
        fields.pop("identifier", "kernel"),
        fields.pop("unit", ""),
        transport,
        message,
        cursor or f"c{at}",
        **fields,
    )


FAKE_JOURNALCTL = '''#!{python}
"""Prints the lines of a file that come at or after what is asked for, then follows it."""
import json, os, sys, time

path, options = os.environ["PATH"].split(os.pathsep)[0] + "/journal", sys.argv[1:]
with open(path + ".asked", "a") as asked:
    asked.write(json.dumps(options) + "\\n")
cursor = next((one[9:] for one in options if one.startswith("--cursor=")), None)
since = next((float(one[9:]) for one in options if one.startswith("--since=@")), None)
if os.path.exists(path + ".refused") and cursor:
    sys.exit("Failed to seek to cursor: Invalid argument")
if os.path.exists(path + ".broken"):
    sys.exit("No journal files were opened due to insufficient permissions.")
reached, parent = cursor is None, os.getppid()
with open(path, "rb") as file:
    while True:
        line = file.readline()
        if not line:
            if os.path.exists(path + ".end") or os.getppid() != parent:
                sys.exit(0)
            sys.stdout.flush()
            time.sleep(0.01)
            continue
        try:
            fields = json.loads(line)
            reached = reached or fields["__CURSOR"] == cursor
            late = since is None or int(fields["__REALTIME_TIMESTAMP"]) >= since * 1e6
        except (ValueError, KeyError, TypeError, RecursionError):  # what is no entry is shown as it is
            late = True
        if reached and late:
            sys.stdout.buffer.write(line)
'''


class FakeJournal:
    """A host with a journal, and a journalctl of our own on the PATH, which shows the lines that are written here."""

    def __init__(self, folder):
        self.bin = folder / "bin"
        self.bin.mkdir()
        program = self.bin / "journalctl"
        program.write_text(FAKE_JOURNALCTL.format(python=sys.executable))
        program.chmod(0o755)
        self.path = self.bin / "journal"
        self.path.touch()
        self.root = folder / "root"
        self.system = self.root / "var/log/journal/0123/system.journal"
        self.system.parent.mkdir(parents=True)
        self.system.touch()
        self.written = 0

    def say(self, message, *, at=0.0, **fields):
        """Write a line at `at` seconds; return its cursor."""
        self.written += 1
        cursor = f"s=1;i={self.written}"
        line = {
            "__CURSOR": cursor,
            "__REALTIME_TIMESTAMP": str(NOW_MS * 1000 + int(at * 1e6)),
            "PRIORITY": "3",
            "_TRANSPORT": "kernel",
            "SYSLOG_IDENTIFIER": "kernel",
            "MESSAGE": message,
            **fields,
        }
        self.raw(json.dumps(line).encode() + b"\n")
        return cursor

    def raw(self, line):
        with self.path.open("ab") as file:
            file.write(line)

    def mark(self, name):
        """Make the fake behave: "refused", "broken" or "end"."""
        self.path.with_name(f"journal.{name}").touch()

    @property
    def asked(self):
        said = self.path.with_name("journal.asked")
        return [json.loads(line) for line in said.read_text().splitlines()] if said.exists() else []
