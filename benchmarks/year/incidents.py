"""Twelve kinds of incident, each of which hurts: by its definition, and by a test.

Enters: a stage, the row at which the cause begins, a stream of chance. Leaves: the demand, room or link that changes,
and the truth about it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.year.host import APP, DATABASE, QUEUE, REPORT, ROOT, VAR
from benchmarks.year.stage import Stage

# The limit of starts that the operator of the simulated host has set for the unit that restarts again and again.
START_LIMIT = (8, 4 * 3600)


@dataclass
class Incident:
    """Something that hurts. `unit` did it, "" = no unit. Rows: it began, hurt first (-1: not known yet), was mended."""

    kind: str
    unit: str
    began: int
    ended: int
    hurt: int = -1


def _leak(stage: Stage, row: int, rng: np.random.Generator) -> Incident:
    """A release leaks until the kernel kills the service; it leaks on after the restart, until it is rolled back."""
    host, rows = stage.host, stage.span(rng, 5, 40)
    killed = row + rows
    ended = min(killed + stage.span(rng, 1, 3), host.rows - 1)
    every = sum(float(part[killed]) for part in host.memory.values())
    amount = 1.005 * host.ram[killed] * 0.93 + host.swap_bytes - every
    leak = amount * stage.ramp(row, rows)
    at = np.arange(host.rows)
    leak[killed:] = amount / rows * (at[killed:] - killed)
    host.memory[APP] += leak * (at < ended)
    host.said.kills.setdefault(killed, []).append(APP)
    stage.restarted(killed, APP)
    stage.restarted(ended, APP)
    return Incident("memory leak", APP, row, ended)


def _limited_leak(stage: Stage, row: int, rng: np.random.Generator) -> Incident:
    """A unit with a limit of memory of its own leaks towards it and is killed again and again; the host has room."""
    host, rows = stage.host, stage.span(rng, 2, 20)
    base = float(host.limited[QUEUE][row])
    kills = int(rng.integers(2, 5))
    every = max(2, min(rows, stage.most // (kills + 1)))
    ended = min(row + every * kills + host.hour // 2, host.rows - 1)
    for number in range(kills):
        first, last = row + number * every, row + (number + 1) * every
        grown = (1.0 - base) * stage.ramp(first, every) * stage.within(first, last)
        host.limited[QUEUE] += grown
        host.memory[QUEUE] += grown * 2.0**30
        host.said.kills.setdefault(last, []).append(QUEUE)
        stage.restarted(last, QUEUE)
    return Incident("leak in a limited unit", QUEUE, row, ended)


def _filled(stage: Stage, span: tuple[int, int, int], mount: str, unit: str) -> int:
    """Let a unit write a mount full. `span`: the row, rows until it is full, and until it is mended; return its end."""
    host = stage.host
    row, rows, mended = span
    full, ended = row + rows, min(row + rows + mended, host.rows - 1)
    base = {ROOT: 0.30, VAR: 0.42}[mount]
    amount = (1.001 - base) * host.sizes[mount] - host.filled[mount][full]
    host.filled[mount] += 1.02 * amount * stage.ramp(row, rows) * stage.within(row, ended)
    host.writes[unit] += amount / (rows * host.interval) * stage.within(row, full)
    return ended


def _fill_slowly(stage: Stage, row: int, rng: np.random.Generator) -> Incident:
    """The archive of the database is not taken away any more: /var fills over a day or two, then the database stops."""
    rows = stage.span(rng, 8, 48)
    ended = _filled(stage, (row, rows, stage.span(rng, 0.7, 2)), VAR, DATABASE)
    stage.restarted(row + rows + 1, DATABASE, failed=True)
    stage.host.cut += stage.within(row + rows + 1, ended) * (1 - stage.host.cut)
    return Incident("disk fills over a day", DATABASE, row, ended)


def _fill_fast(stage: Stage, row: int, rng: np.random.Generator) -> Incident:
    """A job writes temporary files into / until it is full."""
    rows = stage.span(rng, 0.7, 5)
    ended = _filled(stage, (row, rows, stage.span(rng, 0.7, 2)), ROOT, QUEUE)
    return Incident("disk fills within hours", QUEUE, row, ended)


def _no_inodes(stage: Stage, row: int, rng: np.random.Generator) -> Incident:
    """Sessions are files, and nobody deletes them: the inodes of /var end."""
    host, rows = stage.host, stage.span(rng, 8, 60)
    full, ended = row + rows, min(row + rows + stage.span(rng, 0.7, 2), host.rows - 1)
    host.inodes[VAR] += 0.9 * stage.ramp(row, rows) * stage.within(row, ended)
    host.writes[APP] += 0.4e6 * stage.within(row, full)
    stage.restarted(min(full + 1, host.rows - 1), APP, failed=True)
    host.cut += 0.8 * stage.within(full + 1, ended)
    return Incident("inodes run out", APP, row, ended)


def _crash_loop(stage: Stage, row: int, rng: np.random.Generator) -> Incident:
    """A service ends some minutes after each start, until systemd gives it up."""
    host = stage.host
    burst, within = START_LIMIT
    every = rng.uniform(360, min(1500, 0.9 * within / burst))  # seconds
    for start in range(burst):
        seconds = start * every
        at = row + int(np.ceil(seconds / host.interval))
        host.said.restarts.setdefault(at, []).append((QUEUE, (at - row) * host.interval - seconds))
        stage.restarted(at, QUEUE)
        host.cpu[QUEUE][at] += 0.2  # it starts anew
    last = row + int(np.ceil(burst * every / host.interval))
    stage.restarted(last, QUEUE, failed=True)
    ended = min(last + stage.span(rng, 0.7, 2), host.rows - 1)
    host.cpu[QUEUE] *= 1 - stage.within(last, ended)
    return Incident("crash loop", QUEUE, row, ended)


def _hog(stage: Stage, row: int, rng: np.random.Generator) -> Incident:
    """A job takes all processors, and the site waits."""
    host, rows = stage.host, stage.span(rng, 1.5, 6)
    rise = stage.ramp(row, max(1, round(rng.uniform(0.1, 0.7) * host.hour)))
    ended = min(row + rows, host.rows - 1)
    host.cpu[QUEUE] += rng.uniform(1.5, 3.0) * host.cores * rise * stage.within(row, ended)
    return Incident("processor hog", QUEUE, row, ended)


def _storm(stage: Stage, row: int, rng: np.random.Generator) -> Incident:
    """A query reads a table again and again: the disk is saturated."""
    host, rows = stage.host, stage.span(rng, 1, 5)
    ended = min(row + rows, host.rows - 1)
    wanted = rng.uniform(1.5, 2.5) * host.disk_speed * stage.ramp(row, max(1, round(rng.uniform(0.1, 0.5) * host.hour)))
    host.reads[DATABASE] += wanted * stage.within(row, ended)
    return Incident("disk storm", DATABASE, row, ended)


def _link_decays(stage: Stage, row: int, rng: np.random.Generator) -> Incident:
    """A cable or a port goes bad: it loses more and more, until it is changed."""
    host, rows = stage.host, stage.span(rng, 3, 15)
    ended = min(row + rows + stage.span(rng, 1, 3), host.rows - 1)
    host.loss += rng.uniform(0.09, 0.15) * stage.ramp(row, rows, 2.0) * stage.within(row, ended)
    return Incident("link decays", "", row, ended)


def _swap_storm(stage: Stage, row: int, rng: np.random.Generator) -> Incident:
    """A report needs more memory than there is: all swap."""
    host, rows = stage.host, stage.span(rng, 1.2, 4)
    ended = min(row + rows, host.rows - 1)
    every = sum(float(part[row : ended + 1].mean()) for part in host.memory.values())
    rise = stage.ramp(row, max(1, round(rng.uniform(0.3, 1.0) * host.hour)))
    host.memory[REPORT] += (rng.uniform(1.0, 1.04) * host.ram[row] - every) * rise * stage.within(row, ended)
    host.cpu[REPORT] += 0.3 * stage.within(row, ended)
    host.said.units.setdefault(row, []).append((REPORT, "started"))
    host.said.units.setdefault(ended, []).append((REPORT, "stopped"))
    return Incident("swap storm", REPORT, row, ended)


def _destageors(stage: Stage, row: int, rng: np.random.Generator) -> Incident:
    """A service leaks open files until it can accept no connection."""
    host, rows = stage.host, stage.span(rng, 5, 40)
    full = row + rows
    ended = min(full + stage.span(rng, 0.7, 2), host.rows - 1)
    room = 1.02 - float(host.open_files[APP][full])
    host.open_files[APP] += room * stage.ramp(row, rows) * stage.within(row, ended)
    host.cut += 0.8 * stage.within(full, ended)
    stage.restarted(ended, APP)
    return Incident("open files leak", APP, row, ended, hurt=full)


def _disk_dies(stage: Stage, row: int, rng: np.random.Generator) -> Incident:
    """A disk answers with errors, seldom at first, until the kernel mounts its file system read-only."""
    host, rows = stage.host, stage.span(rng, 2, 20)
    dead = row + rows
    ended = min(dead + stage.span(rng, 1, 3), host.rows - 1)
    host.io_errors += 1.5 * stage.ramp(row, rows, 4.0) * stage.within(row, ended)
    host.read_only[VAR] += stage.within(dead, ended)
    stage.restarted(dead + 1, DATABASE, failed=True)
    host.cut += stage.within(dead + 1, ended) * (1 - host.cut)
    return Incident("disk dies", "", row, ended, hurt=dead)


INCIDENTS: dict[str, Callable[[Stage, int, np.random.Generator], Incident]] = {
    "memory leak": _leak,
    "leak in a limited unit": _limited_leak,
    "disk fills over a day": _fill_slowly,
    "disk fills within hours": _fill_fast,
    "inodes run out": _no_inodes,
    "crash loop": _crash_loop,
    "processor hog": _hog,
    "disk storm": _storm,
    "link decays": _link_decays,
    "swap storm": _swap_storm,
    "open files leak": _destageors,
    "disk dies": _disk_dies,
}
