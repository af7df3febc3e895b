"""What befalls the host in its year: incidents that hurt, oddities that do not, new hardware, nights of sleep.

Enters: a `Host` before its jobs are drawn. Leaves: the plan, which is the truth that only the simulator knows: when
each cause began, when it hurt first, when it was mended, and which unit did it. Kinds come in random order at random
times, pace and strength by the seed. What hurts is defined as the daemon's own failure log and an operator would: a
unit failed, the kernel killed for want of memory, a file system is full or read-only, or answers take three times as
long.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.year.host import APP, DATABASE, LOG, QUEUE, REPORT, ROOT, VAR, Floats, Host
from benchmarks.year.physics import World, lived

CALM_DAYS = 9  # before anything happens: a week is learned
SLOW = 3.0  # times as slow as without the incident
_SLOW_ROWS = 2

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


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something unusual that hurts nobody, from one row to another."""

    kind: str
    began: int
    ended: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All that befalls a host."""

    incidents: tuple[Incident, ...]
    oddities: tuple[Oddity, ...]
    hardware: tuple[Oddity, ...]
    suspends: tuple[Oddity, ...]


def play(seed: int, days: int, interval: float, crowding: float = 1.0) -> tuple[World, Plan]:
    """Return a year of one host, and the truth about it. Raises ValueError where an incident hurts nobody.

    `crowding`: how many times as much happens in the same time.
    """
    host = Host(seed, days, interval)
    script = Script(host, crowding)
    script.before()
    host.settle()
    quiet = lived(host).slow
    script.after()
    world = lived(host)
    return world, script.plan(world, quiet)


class Script:
    """Draws the plan and writes it into the host: what moves jobs or requests first, the rest once demand is known."""

    def __init__(self, host: Host, crowding: float = 1.0) -> None:
        self.host = host
        share = crowding * host.days / 365
        rng = host.rng("plan")
        kinds = [
            *_some(rng, INCIDENTS, 12 * share),
            *_some(rng, ODDITIES, 8 * share),
            *_some(rng, HARDWARE, 3 * share),
            *_some(rng, ["suspend"], 3 * share),
        ]
        rng.shuffle(kinds)
        calm = min(CALM_DAYS, host.days / 2)
        slot = (host.days - calm) / len(kinds)
        begins = [calm + (place + rng.uniform(0.0, 0.5)) * slot for place in range(len(kinds))]
        self._at = [(kind, round(day * host.day)) for kind, day in zip(kinds, begins, strict=True)]
        self.most = max(int((0.45 * slot) * host.day), 4 * host.hour)  # rows of one event
        self.incidents: list[Incident] = []
        self.oddities: list[Oddity] = []
        self.hardware: list[Oddity] = []
        self.suspends: list[Oddity] = []

    def before(self) -> None:
        """Do what moves jobs and requests."""
        for kind, row in self._at:
            if kind in _EARLY:
                self.oddities.append(Oddity(kind, row, _EARLY[kind](self, row)))

    def after(self) -> None:
        """Do the rest."""
        for kind, row in self._at:
            rng = self.host.rng(f"{kind} {row}")
            if kind in INCIDENTS:
                self.incidents.append(INCIDENTS[kind](self, row, rng))
            elif kind in ODDITIES and kind not in _EARLY:
                self.oddities.append(Oddity(kind, row, ODDITIES[kind](self, row, rng)))
            elif kind in HARDWARE:
                self.hardware.append(Oddity(kind, row, HARDWARE[kind](self, row)))
            elif kind == "suspend":
                rows = round(rng.uniform(2, 9) * self.host.hour)
                self.host.suspend(row, rows)
                self.suspends.append(Oddity(kind, row, row + rows))

    def plan(self, world: World, without: Floats) -> Plan:
        """Return the plan, with when each incident hurt first. `without`: how slow it would have been else (T,).

        Raises ValueError for an incident that hurts nobody: it would be none.
        """
        for one in self.incidents:
            one.hurt = _first_harm(one, world, without)
        return Plan(tuple(self.incidents), tuple(self.oddities), tuple(self.hardware), tuple(self.suspends))

    # --- what incidents are made of

    def span(self, rng: np.random.Generator, least: float, most: float) -> int:
        """Return rows of so many hours, drawn evenly on a scale of ratios; not longer than there is room for."""
        hours = float(np.exp(rng.uniform(np.log(least), np.log(most))))
        return max(min(round(hours * self.host.hour), self.most), 2)

    def ramp(self, began: int, rows: int, bend: float = 1.0) -> Floats:
        """Return 0 before `began`, rising to 1 in so many rows, 1 after (T,)."""
        return np.clip((np.arange(self.host.rows) - began) / rows, 0, 1) ** bend

    def within(self, began: int, ended: int) -> Floats:
        """Return 1 from one row to another, else 0 (T,)."""
        at = np.arange(self.host.rows)
        return ((at >= began) & (at < ended)).astype(np.float64)

    def restarted(self, row: int, unit: str, *, failed: bool = False) -> None:
        """Let systemd tell that a unit was started again, or failed for good."""
        said = self.host.said
        if failed:
            said.failed.setdefault(row, []).append(unit)
            said.units.setdefault(row, []).append((unit, "stopped"))
        else:
            said.units.setdefault(row, []).append((unit, "restarted"))


def _some(rng: np.random.Generator, kinds: object, count: float) -> list[str]:
    """Return so many of `kinds`, each once before any twice."""
    names = list(kinds)  # type: ignore[call-overload]
    rng.shuffle(names)
    number = max(1, round(count))
    return [names[place % len(names)] for place in range(number)]


def _first_harm(one: Incident, world: World, without: Floats) -> int:
    rows = range(one.began, min(one.ended + 1, len(world.slow)))
    slow = world.slow[one.began : one.ended + 1] >= SLOW * without[one.began : one.ended + 1]
    held = np.convolve(slow, np.ones(_SLOW_ROWS), "valid") >= _SLOW_ROWS
    found = [one.began + int(held.argmax()) + _SLOW_ROWS - 1] if held.any() else []
    found += [row for row in rows if row in world.said.failed or row in world.said.kills]
    for full in world.full.values():
        at = np.flatnonzero(full[one.began : one.ended + 1])
        found += [one.began + int(at[0])] if len(at) else []
    if one.hurt >= 0:
        found.append(one.hurt)
    if not found:
        raise ValueError(f"{one.kind} at row {one.began} hurts nobody")
    return min(found)


# --- incidents


def _leak(script: Script, row: int, rng: np.random.Generator) -> Incident:
    """A release leaks until the kernel kills the service; it leaks on after the restart, until it is rolled back."""
    host, rows = script.host, script.span(rng, 5, 40)
    killed = row + rows
    ended = min(killed + script.span(rng, 1, 3), host.rows - 1)
    every = sum(float(part[killed]) for part in host.memory.values())
    amount = 1.005 * host.ram[killed] * 0.93 + host.swap_bytes - every
    leak = amount * script.ramp(row, rows)
    at = np.arange(host.rows)
    leak[killed:] = amount / rows * (at[killed:] - killed)
    host.memory[APP] += leak * (at < ended)
    host.said.kills.setdefault(killed, []).append(APP)
    script.restarted(killed, APP)
    script.restarted(ended, APP)
    return Incident("memory leak", APP, row, ended)


def _limited_leak(script: Script, row: int, rng: np.random.Generator) -> Incident:
    """A unit with a limit of memory of its own leaks towards it and is killed again and again; the host has room."""
    host, rows = script.host, script.span(rng, 2, 20)
    base = float(host.limited[QUEUE][row])
    kills = int(rng.integers(2, 5))
    every = max(2, min(rows, script.most // (kills + 1)))
    ended = min(row + every * kills + host.hour // 2, host.rows - 1)
    for number in range(kills):
        first, last = row + number * every, row + (number + 1) * every
        grown = (1.0 - base) * script.ramp(first, every) * script.within(first, last)
        host.limited[QUEUE] += grown
        host.memory[QUEUE] += grown * 2.0**30
        host.said.kills.setdefault(last, []).append(QUEUE)
        script.restarted(last, QUEUE)
    return Incident("leak in a limited unit", QUEUE, row, ended)


def _filled(script: Script, span: tuple[int, int, int], mount: str, unit: str) -> int:
    """Let a unit write a mount full. `span`: the row, rows until it is full, and until it is mended; return its end."""
    host = script.host
    row, rows, mended = span
    full, ended = row + rows, min(row + rows + mended, host.rows - 1)
    base = {ROOT: 0.30, VAR: 0.42}[mount]
    amount = (1.001 - base) * host.sizes[mount] - host.filled[mount][full]
    host.filled[mount] += 1.02 * amount * script.ramp(row, rows) * script.within(row, ended)
    host.writes[unit] += amount / (rows * host.interval) * script.within(row, full)
    return ended


def _fill_slowly(script: Script, row: int, rng: np.random.Generator) -> Incident:
    """The archive of the database is not taken away any more: /var fills over a day or two, then the database stops."""
    rows = script.span(rng, 8, 48)
    ended = _filled(script, (row, rows, script.span(rng, 0.7, 2)), VAR, DATABASE)
    script.restarted(row + rows + 1, DATABASE, failed=True)
    script.host.cut += script.within(row + rows + 1, ended) * (1 - script.host.cut)
    return Incident("disk fills over a day", DATABASE, row, ended)


def _fill_fast(script: Script, row: int, rng: np.random.Generator) -> Incident:
    """A job writes temporary files into / until it is full."""
    rows = script.span(rng, 0.7, 5)
    ended = _filled(script, (row, rows, script.span(rng, 0.7, 2)), ROOT, QUEUE)
    return Incident("disk fills within hours", QUEUE, row, ended)


def _no_inodes(script: Script, row: int, rng: np.random.Generator) -> Incident:
    """Sessions are files, and nobody deletes them: the inodes of /var end."""
    host, rows = script.host, script.span(rng, 8, 60)
    full, ended = row + rows, min(row + rows + script.span(rng, 0.7, 2), host.rows - 1)
    host.inodes[VAR] += 0.9 * script.ramp(row, rows) * script.within(row, ended)
    host.writes[APP] += 0.4e6 * script.within(row, full)
    script.restarted(min(full + 1, host.rows - 1), APP, failed=True)
    host.cut += 0.8 * script.within(full + 1, ended)
    return Incident("inodes run out", APP, row, ended)


def _crash_loop(script: Script, row: int, rng: np.random.Generator) -> Incident:
    """A service ends some minutes after each start, until systemd gives it up."""
    host = script.host
    burst, within = START_LIMIT
    every = rng.uniform(360, min(1500, 0.9 * within / burst))  # seconds
    for start in range(burst):
        seconds = start * every
        at = row + int(np.ceil(seconds / host.interval))
        host.said.restarts.setdefault(at, []).append((QUEUE, (at - row) * host.interval - seconds))
        script.restarted(at, QUEUE)
        host.cpu[QUEUE][at] += 0.2  # it starts anew
    last = row + int(np.ceil(burst * every / host.interval))
    script.restarted(last, QUEUE, failed=True)
    ended = min(last + script.span(rng, 0.7, 2), host.rows - 1)
    host.cpu[QUEUE] *= 1 - script.within(last, ended)
    return Incident("crash loop", QUEUE, row, ended)


def _hog(script: Script, row: int, rng: np.random.Generator) -> Incident:
    """A job takes all processors, and the site waits."""
    host, rows = script.host, script.span(rng, 1.5, 6)
    rise = script.ramp(row, max(1, round(rng.uniform(0.1, 0.7) * host.hour)))
    ended = min(row + rows, host.rows - 1)
    host.cpu[QUEUE] += rng.uniform(1.5, 3.0) * host.cores * rise * script.within(row, ended)
    return Incident("processor hog", QUEUE, row, ended)


def _storm(script: Script, row: int, rng: np.random.Generator) -> Incident:
    """A query reads a table again and again: the disk is saturated."""
    host, rows = script.host, script.span(rng, 1, 5)
    ended = min(row + rows, host.rows - 1)
    wanted = (
        rng.uniform(1.5, 2.5) * host.disk_speed * script.ramp(row, max(1, round(rng.uniform(0.1, 0.5) * host.hour)))
    )
    host.reads[DATABASE] += wanted * script.within(row, ended)
    return Incident("disk storm", DATABASE, row, ended)


def _link_decays(script: Script, row: int, rng: np.random.Generator) -> Incident:
    """A cable or a port goes bad: it loses more and more, until it is changed."""
    host, rows = script.host, script.span(rng, 3, 15)
    ended = min(row + rows + script.span(rng, 1, 3), host.rows - 1)
    host.loss += rng.uniform(0.09, 0.15) * script.ramp(row, rows, 2.0) * script.within(row, ended)
    return Incident("link decays", "", row, ended)


def _swap_storm(script: Script, row: int, rng: np.random.Generator) -> Incident:
    """A report needs more memory than there is: all swap."""
    host, rows = script.host, script.span(rng, 1.2, 4)
    ended = min(row + rows, host.rows - 1)
    every = sum(float(part[row : ended + 1].mean()) for part in host.memory.values())
    rise = script.ramp(row, max(1, round(rng.uniform(0.3, 1.0) * host.hour)))
    host.memory[REPORT] += (rng.uniform(1.0, 1.04) * host.ram[row] - every) * rise * script.within(row, ended)
    host.cpu[REPORT] += 0.3 * script.within(row, ended)
    host.said.units.setdefault(row, []).append((REPORT, "started"))
    host.said.units.setdefault(ended, []).append((REPORT, "stopped"))
    return Incident("swap storm", REPORT, row, ended)


def _descriptors(script: Script, row: int, rng: np.random.Generator) -> Incident:
    """A service leaks open files until it can accept no connection."""
    host, rows = script.host, script.span(rng, 5, 40)
    full = row + rows
    ended = min(full + script.span(rng, 0.7, 2), host.rows - 1)
    room = 1.02 - float(host.open_files[APP][full])
    host.open_files[APP] += room * script.ramp(row, rows) * script.within(row, ended)
    host.cut += 0.8 * script.within(full, ended)
    script.restarted(ended, APP)
    return Incident("open files leak", APP, row, ended, hurt=full)


def _disk_dies(script: Script, row: int, rng: np.random.Generator) -> Incident:
    """A disk answers with errors, seldom at first, until the kernel mounts its file system read-only."""
    host, rows = script.host, script.span(rng, 2, 20)
    dead = row + rows
    ended = min(dead + script.span(rng, 1, 3), host.rows - 1)
    host.io_errors += 1.5 * script.ramp(row, rows, 4.0) * script.within(row, ended)
    host.read_only[VAR] += script.within(dead, ended)
    script.restarted(dead + 1, DATABASE, failed=True)
    host.cut += script.within(dead + 1, ended) * (1 - host.cut)
    return Incident("disk dies", "", row, ended, hurt=dead)


INCIDENTS: dict[str, Callable[[Script, int, np.random.Generator], Incident]] = {
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
    "open files leak": _descriptors,
    "disk dies": _disk_dies,
}


# --- what hurts nobody


def _holiday(script: Script, row: int) -> int:
    """Two days with a third of the visitors."""
    rows = 2 * script.host.day
    script.host.traffic *= 1 - 0.65 * script.within(row, row + rows)
    return row + rows


def _campaign(script: Script, row: int) -> int:
    """Half as many visitors again, for a day."""
    rows = script.host.day
    rise = script.ramp(row, script.host.hour)
    script.host.traffic *= 1 + 0.5 * rise * script.within(row, row + rows)
    return row + rows


def _late_backup(script: Script, row: int) -> int:
    """The backup runs at noon, twice as long."""
    host = script.host
    day = row // host.day
    host.skipped.add(("backup", day))
    host.move("backup", host.at(day, 13.0), 120.0)
    return host.at(day, 16.0)


_EARLY: dict[str, Callable[[Script, int], int]] = {
    "holiday": _holiday,
    "campaign": _campaign,
    "backup at another hour": _late_backup,
}


def _release(script: Script, row: int, rng: np.random.Generator) -> int:
    """A new release costs more for good, and takes an hour to be rolled out."""
    host = script.host
    host.cpu[APP] *= 1 + rng.uniform(0.1, 0.2) * script.ramp(row, host.hour)
    for part in range(3):
        host.said.notes.setdefault(row + part, []).append(("package", f"app 2.{part} installed"))
        script.restarted(row + part * max(host.hour // 3, 1), APP)
    return row + host.day


def _report(script: Script, row: int, rng: np.random.Generator) -> int:
    """The report of the quarter computes through a night."""
    host = script.host
    first = host.at(row // host.day, 22.0)
    ended = min(first + script.span(rng, 2, 4), host.rows - 1)
    during = script.within(first, ended)
    host.cpu[REPORT] += 0.3 * host.cores * during
    host.reads[REPORT] += 0.35 * host.disk_speed * during
    host.memory[REPORT] += 0.08 * host.ram * during
    host.said.units.setdefault(first, []).append((REPORT, "started"))
    host.said.units.setdefault(ended, []).append((REPORT, "stopped"))
    return ended


def _chatty(script: Script, row: int, rng: np.random.Generator) -> int:
    """A service logs ten times as much until somebody turns it down; /var grows by a few hundredths."""
    host = script.host
    ended = min(row + script.span(rng, 3, 8), host.rows - 1)
    flow = 0.03 * host.sizes[VAR] / ((ended - row) * host.interval)
    host.writes[LOG] += flow * script.within(row, ended)
    host.filled[VAR] += 0.03 * host.sizes[VAR] * script.ramp(row, ended - row) * script.within(row, row + host.day)
    return row + host.day


def _reboot(script: Script, row: int, rng: np.random.Generator) -> int:
    """A new kernel."""
    script.host.reboot(row, rng.uniform(3, 6))
    script.host.said.notes.setdefault(row - 2, []).append(("package", "linux-image 6.12 installed"))
    return row + 4 * script.host.hour


def _copy(script: Script, row: int, rng: np.random.Generator) -> int:
    """Somebody copies a fifth of /var, and deletes it a day later."""
    host = script.host
    rows, amount = script.span(rng, 0.4, 1.2), 0.2 * host.sizes[VAR]
    ended = min(row + host.day, host.rows - 1)
    host.filled[VAR] += amount * script.ramp(row, rows) * script.within(row, ended)
    return ended


ODDITIES: dict[str, Callable[..., int]] = {
    **_EARLY,
    "new release": _release,
    "report of the quarter": _report,
    "chatty log": _chatty,
    "reboot": _reboot,
    "big copy": _copy,
}


# --- hardware


def _more_memory(script: Script, row: int) -> int:
    script.host.ram[row:] *= 2
    script.host.reboot(row, 10)
    return row + script.host.day


def _other_link(script: Script, row: int) -> int:
    script.host.other_link_from = row
    script.host.reboot(row, 15)
    return row + script.host.day


def _third_disk(script: Script, row: int) -> int:
    script.host.data_from = row
    script.host.said.notes.setdefault(row, []).append(("mount", "/data was mounted"))
    return row + script.host.day


HARDWARE: dict[str, Callable[[Script, int], int]] = {
    "twice the memory": _more_memory,
    "another network card": _other_link,
    "a new disk": _third_disk,
}
