"""The watch over failures in a process of its own, for test_kill: `python watching_child.py FOLDER MODE`.

It looks at the host below FOLDER as the daemon does, 50 times a second, keeps state.db there, says "ready", and ends
when the file `stop` is there and nothing is left to be read. MODE says where it kills itself: "before" or "after" the
third transaction, or "never".
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from daemon.clock import SystemClock
from daemon.collectors.base import HostPaths
from daemon.failures import log as log_module
from daemon.failures.log import FailureLog
from daemon.failures.watch import FailureWatch, Seen
from daemon.offload import Offload
from daemon.state import StateDatabase

TICK_SECONDS = 0.02
FATAL = 3


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def fragile(database, mode):
    write, writes = database.record_failures, []

    def record(events, values):
        writes.append(1)
        if mode == "before" and len(writes) == FATAL:
            die()
        write(events, values)
        if mode == "after" and len(writes) == FATAL:
            die()

    database.record_failures = record


async def main(folder, mode):
    log_module._MOST_AN_HOUR = 10**9
    log_module._LAZY_SECONDS = 0.1
    clock, offload = SystemClock(), Offload()
    database = StateDatabase(folder / "state.db")
    fragile(database, mode)
    log = FailureLog(table=database, offload=offload, counted=lambda _: None, failed=lambda: None)
    watch = FailureWatch(
        log=log, meta=database.meta, offload=offload, clock=clock,
        paths=HostPaths(proc=folder / "proc", sys=folder / "sys", root=folder / "root"),
        redact=str, redact_mark=str,
    )  # fmt: skip
    last = folder / "last"
    watch.restore(int(last.read_text() or 0) if last.exists() else 0)
    running = asyncio.create_task(watch.run())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    quiet_since = time.monotonic()
    seen = None
    while not (folder / "stop").exists() or time.monotonic() - quiet_since < 0.5:
        now = clock.now()
        watch.after_tick(Seen(now, (), (), ()))
        last.write_text(str(now.time_ms))
        if log.recent != seen or not watch.journal.position.partition(" ")[2]:
            seen, quiet_since = log.recent, time.monotonic()
        await asyncio.sleep(TICK_SECONDS)
        if running.done():
            break
    running.cancel()
    await asyncio.wait([running])
    await watch.stop()
    database.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
