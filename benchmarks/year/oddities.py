"""Eight kinds of oddity that hurt nobody, and three changes of hardware.

Enters: a stage, the row at which it begins, for most a stream of chance. Leaves: the row at which it is over. What
moves jobs or requests comes before the demand of the units is drawn (`EARLY`), the rest after it.
"""

from collections.abc import Callable

import numpy as np

from benchmarks.year.host import APP, LOG, REPORT, VAR
from benchmarks.year.stage import Stage


def _holiday(stage: Stage, row: int) -> int:
    """Two days with a third of the visitors."""
    rows = 2 * stage.host.day
    stage.host.traffic *= 1 - 0.65 * stage.within(row, row + rows)
    return row + rows


def _campaign(stage: Stage, row: int) -> int:
    """Half as many visitors again, for a day."""
    rows = stage.host.day
    rise = stage.ramp(row, stage.host.hour)
    stage.host.traffic *= 1 + 0.5 * rise * stage.within(row, row + rows)
    return row + rows


def _late_backup(stage: Stage, row: int) -> int:
    """The backup runs at noon, twice as long."""
    host = stage.host
    day = row // host.day
    host.skipped.add(("backup", day))
    host.move("backup", host.at(day, 13.0), 120.0)
    return host.at(day, 16.0)


EARLY: dict[str, Callable[[Stage, int], int]] = {
    "holiday": _holiday,
    "campaign": _campaign,
    "backup at another hour": _late_backup,
}


def _release(stage: Stage, row: int, rng: np.random.Generator) -> int:
    """A new release costs more for good, and takes an hour to be rolled out."""
    host = stage.host
    host.cpu[APP] *= 1 + rng.uniform(0.1, 0.2) * stage.ramp(row, host.hour)
    for part in range(3):
        host.said.notes.setdefault(row + part, []).append(("package", f"app 2.{part} installed"))
        stage.restarted(row + part * max(host.hour // 3, 1), APP)
    return row + host.day


def _report(stage: Stage, row: int, rng: np.random.Generator) -> int:
    """The report of the quarter computes through a night."""
    host = stage.host
    first = host.at(row // host.day, 22.0)
    ended = min(first + stage.span(rng, 2, 4), host.rows - 1)
    during = stage.within(first, ended)
    host.cpu[REPORT] += 0.3 * host.cores * during
    host.reads[REPORT] += 0.35 * host.disk_speed * during
    host.memory[REPORT] += 0.08 * host.ram * during
    host.said.units.setdefault(first, []).append((REPORT, "started"))
    host.said.units.setdefault(ended, []).append((REPORT, "stopped"))
    return ended


def _chatty(stage: Stage, row: int, rng: np.random.Generator) -> int:
    """A service logs ten times as much until somebody turns it down; /var grows by a few hundredths."""
    host = stage.host
    ended = min(row + stage.span(rng, 3, 8), host.rows - 1)
    flow = 0.03 * host.sizes[VAR] / ((ended - row) * host.interval)
    host.writes[LOG] += flow * stage.within(row, ended)
    host.filled[VAR] += 0.03 * host.sizes[VAR] * stage.ramp(row, ended - row) * stage.within(row, row + host.day)
    return row + host.day


def _reboot(stage: Stage, row: int, rng: np.random.Generator) -> int:
    """A new kernel."""
    stage.host.reboot(row, rng.uniform(3, 6))
    stage.host.said.notes.setdefault(row - 2, []).append(("package", "linux-image 6.12 installed"))
    return row + 4 * stage.host.hour


def _copy(stage: Stage, row: int, rng: np.random.Generator) -> int:
    """Somebody copies a fifth of /var, and deletes it a day later."""
    host = stage.host
    rows, amount = stage.span(rng, 0.4, 1.2), 0.2 * host.sizes[VAR]
    ended = min(row + host.day, host.rows - 1)
    host.filled[VAR] += amount * stage.ramp(row, rows) * stage.within(row, ended)
    return ended


ODDITIES: dict[str, Callable[..., int]] = {
    **EARLY,
    "new release": _release,
    "report of the quarter": _report,
    "chatty log": _chatty,
    "reboot": _reboot,
    "big copy": _copy,
}


def _more_memory(stage: Stage, row: int) -> int:
    stage.host.ram[row:] *= 2
    stage.host.reboot(row, 10)
    return row + stage.host.day


def _other_link(stage: Stage, row: int) -> int:
    stage.host.other_link_from = row
    stage.host.reboot(row, 15)
    return row + stage.host.day


def _third_disk(stage: Stage, row: int) -> int:
    stage.host.data_from = row
    stage.host.said.notes.setdefault(row, []).append(("mount", "/data was mounted"))
    return row + stage.host.day


HARDWARE: dict[str, Callable[[Stage, int], int]] = {
    "twice the memory": _more_memory,
    "another network card": _other_link,
    "a new disk": _third_disk,
}
