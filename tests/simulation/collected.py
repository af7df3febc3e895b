"""What our own collectors take of a simulated host (`exporter`), through a /proc of its own.

Enters: the host and a folder. Leaves: the signals, and what was measured at each row.
"""

from daemon.collectors import CollectorContext, build_collectors
from daemon.collectors.base import HostPaths
from daemon.collectors.filesystem import FilesystemCollector

UNMAPPED = frozenset({"temperature", "latency", "unit", "limits", "changes", "errors", "self", "filesystem"})
# The kernel adds up nanoseconds of all processors and shows them in jiffies; the exporter shows each
# processor's jiffies: six kinds of busy time that may each be a jiffy off, of 3,000 in 30 seconds.
TOGETHER = {f"cpu.{name}" for name in ("busy", "user", "system", "iowait", "steal", "irq")}


def collect(host, top, starts):
    """Return what the real collectors measure, row by row; at each row of `starts` they begin anew."""
    paths = HostPaths(proc=top / "proc", sys=top / "sys", root=top / "root")
    host.write_sys(paths.sys)
    rows, specs, collectors, now = [], {}, [], [0]
    for row in range(host.rows):
        host.write_proc(paths.proc, row)
        now[0] = row
        if row in starts:
            for collector in collectors:
                collector.close()
            collectors = build_collectors(CollectorContext(paths=paths, gap_seconds=60.0, disabled=UNMAPPED))
            collectors.append(FilesystemCollector(paths=paths, ask=host.ask(paths.root, lambda: now[0])))
        measured = [one for collector in collectors for one in collector.collect(int(host.time_ms[row]) * 10**6)]
        specs |= {spec.name: spec for spec, _ in measured}
        rows.append({spec.name: value for spec, value in measured})
    for collector in collectors:
        collector.close()
    return specs, rows
