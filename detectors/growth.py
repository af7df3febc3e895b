"""Growth in the raw samples: whether something is being filled right now, how fast, and whether it will go on.

Enters, each sample: what is used of every resource and its limit, in one unit. Leaves: the run of sustained growth of
a resource, if it has one. Never looks at the clock, and never at more than the newest sample: what it has to know of
a run is a few sums.

Nearly every run ends by itself: a copy is done, a backup is deleted. The sizes of files and the lifetimes of
processes follow Pareto with an exponent near 1 (Harchol-Balter and Downey, "Exploiting process lifetime distributions
for dynamic load balancing", 1997): one that has come to `a` grows by another `f` with probability a / (a + f). What
this host's own runs came to corrects that. Beside the ordinary ones there are runaways, which end only when all is
full: a run is the more likely one of them the fewer ordinary runs come as far.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, hypot, log, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from detectors.forecasts import Floats

LEAST_SAMPLES, _LEAST_GROWN = 10, 5  # before a run is one; writes may come in bursts
KEPT = 100  # past runs of a resource
NOTABLE = 0.003  # of the limit: smaller runs are everywhere, and say nothing of large ones
NOTABLE_MEMORY = 0.05  # a program that starts takes a good part of the memory, and then no more
_RUNAWAYS, _AMONG = 1, 50  # what is believed before anything was seen
_CLIFF, _TAIL = 4.0, 0.1  # twice as large as a past one is as unusual as 2 ** -4; but one in ten ends as Pareto has it
_LARGE = 10.0  # times what is notable: remembered even when it was over in a moment
_DROP = 0.1  # of what a run came to: such a fall ends it, which also tells it from a random walk
_PAUSE, _PAUSES = 10, 3  # samples without growth, or times the longest pause that this run has had
_USUAL, _STALL_SECONDS = 2.0, 6.0  # samples or time without growth that mean nothing: the kernel writes every 5 s
_JUMP = 20.0  # times what was expected
_STEPPED = 0.5  # of a run in one step: that is none
_MEMORY = 30  # peaks: a rate is that of the last ones
_SPREAD, _NOISY = 0.1, 0.5  # log of the rate: never known better than the first, useless beyond the second
_CLUSTERED = 2.0  # writes come in bursts: samples are worth less than their number
_EIGHTY = 1.2815515655446004
_NORMAL = NormalDist()
_FORGET = 1000  # names

_LEVEL, _START, _PEAK, _GREW, _SAMPLES, _ELAPSED, _WAITED = range(7)
_LARGEST, _STILL, _LONGEST, _STEP, _SECONDS, _NOISE, _OWED = range(7, 14)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Growth that goes on: what it came to and how fast it is, in the unit of the resource.

    `amount` is without the largest single step: a step is no growth. `spread` is the standard deviation of the log of
    `rate`, and `rate_lo` to `rate_hi` its 80 % interval. `alive` falls from 1 while nothing grows. `above`: how much
    higher than its newest level it comes in a day, `wait_seconds` from now. `ends`: the exponent of Pareto.
    """

    elapsed_seconds: float
    amount: float
    rate: float
    rate_lo: float
    rate_hi: float
    spread: float
    alive: float
    runaway: float
    scale: float
    past: Floats
    above: float = 0.0
    wait_seconds: float = 0.0
    ends: float = 1.0

    def seconds_to_fill(self, free: float) -> float:
        """Return when it has grown by `free` at its rate: by itself, or at its daily peak."""
        peak = max((free - self.above) / self.rate, self.wait_seconds)
        return min(free / self.rate, peak)

    def goes_on(self, free: float) -> float:
        """Return the probability that this run grows by another `free`."""
        reached = _reach(self.past, self.scale, self.amount)
        ordinary = float((_reach(self.past, self.scale, self.amount + max(free, 0.0)) / reached) ** self.ends)
        return self.alive * (self.runaway + (1 - self.runaway) * ordinary)

    def fills_within(self, free: float, seconds: float) -> float:
        """Return the probability that it grows by another `free`, and within `seconds`; its rate is log-normal."""
        left = self.seconds_to_fill(free)
        return self.goes_on(free) * (_NORMAL.cdf(log(seconds / left) / self.spread) if left > 0 else 1.0)


def _reach(past: Floats, scale: float, amount: float) -> float:
    """Return the probability that an ordinary run comes to `amount`, after those of the `past` and one more."""
    if amount <= 0:
        return 1.0
    near = np.minimum(past / amount, 1.0)
    known = float(((1 - _TAIL) * near**_CLIFF + _TAIL * near).sum())
    return (known + min(scale / amount, 1.0)) / (len(past) + 1)


def make_run(
    *,
    elapsed_seconds: float,
    amount: float,
    rate: float,
    spread: float,
    scale: float,
    past: Floats,
    full: int = 0,
    alive: float = 1.0,
    above: float = 0.0,
    wait_seconds: float = 0.0,
    ends: float = 1.0,
) -> Run:
    """Return the run of what grew by `amount`, where others came to the `past` (N,), and `full` more filled all.

    `scale`: what an ordinary run easily comes to.
    """
    prior = (_RUNAWAYS + full) / (_AMONG + full + len(past))
    ordinary = (1 - prior) * _reach(past, scale, amount)
    return Run(
        elapsed_seconds=elapsed_seconds,
        amount=amount,
        rate=rate,
        rate_lo=rate * exp(-_EIGHTY * spread),
        rate_hi=rate * exp(_EIGHTY * spread),
        spread=spread,
        alive=alive,
        runaway=prior / (prior + ordinary),
        scale=scale,
        past=past,
        above=above,
        wait_seconds=wait_seconds,
        ends=ends,
    )


class GrowthWatch:
    """Follows all resources at once; they come, go and change places by name."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._row: dict[str, int] = {}
        self._state = np.zeros((_OWED + 1, 0))
        self._limit = self._scale = np.zeros(0)
        self._past: dict[str, list[float]] = {}
        self._full: dict[str, int] = {}

    def follow(
        self,
        names: Sequence[str],
        used: Floats,
        limit: Floats,
        seconds: float,
        notable: Floats | float = NOTABLE,
    ) -> None:
        """Take one sample of each resource: `used` and `limit` (R,), NaN where missing; `seconds` since the former.

        `notable` (R,) or one for all: the share of the limit that an ordinary run easily comes to.
        """
        if len(names) != len(self._names) or tuple(names) != self._names:
            self._rename(tuple(names))
        state = self._state
        self._limit = limit = np.asarray(limit, np.float64)
        self._scale = limit * notable
        used = np.asarray(used, np.float64)
        state[_OWED] += max(seconds, 0.0)
        there = np.isfinite(used) & np.isfinite(limit)
        known = there & np.isfinite(state[_LEVEL]) & (state[_OWED] > 0)
        running = state[_SAMPLES] > 0
        begins = known & ~running & (used > state[_LEVEL])
        state[_START, begins] = state[_PEAK, begins] = state[_LEVEL, begins]
        jumped = self._count(known & (running | begins), used, state[_OWED])
        self._end(known & running, used, jumped)
        state[_LEVEL, there] = used[there]
        state[_OWED, there] = 0.0

    def _count(self, on: NDArray[np.bool_], used: Floats, taken: Floats) -> NDArray[np.bool_]:
        """Add a sample to the runs that are `on`; return which jumped (R,): another growth begins, or it was a step.

        A rate is measured from one peak to the next, so that bursts and what the level does between them are no noise
        of it; sums weigh the newest peaks most.
        """
        state = self._state
        grows = on & (used > state[_PEAK])
        state[_WAITED] += np.where(on, taken, 0.0)
        state[_ELAPSED] += np.where(on, taken, 0.0)
        state[_SAMPLES] += on
        state[_GREW] += grows
        gained = np.where(grows, used - state[_PEAK], 0.0)
        weight = np.where(grows, np.maximum(1.5 / (state[_GREW] + 0.5), 1.0 / _MEMORY), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            expected = np.where(state[_SECONDS] > 0, state[_STEP] / state[_SECONDS] * state[_WAITED], gained)
        jumped: NDArray[np.bool_] = (state[_GREW] > _LEAST_GROWN) & (gained > _JUMP * expected)
        state[_NOISE] = (1 - weight) * (state[_NOISE] + weight * (gained - expected) ** 2)
        state[_STEP] += weight * (gained - state[_STEP])
        state[_SECONDS] += weight * (state[_WAITED] - state[_SECONDS])
        state[_LARGEST] = np.maximum(state[_LARGEST], gained)
        state[_LONGEST] = np.where(grows, np.maximum(state[_LONGEST], state[_STILL]), state[_LONGEST])
        state[_STILL] = np.where(grows, 0.0, state[_STILL] + on)
        state[_WAITED, grows] = 0.0
        state[_PEAK, grows] = used[grows]
        whole = state[_PEAK] - state[_START]
        jumped |= (state[_GREW] >= LEAST_SAMPLES) & (state[_LARGEST] > _STEPPED * whole)
        return jumped

    def _end(self, running: NDArray[np.bool_], used: Floats, jumped: NDArray[np.bool_]) -> None:
        """End the runs that fell back, jumped or have stood still for long, and remember what they came to."""
        state = self._state
        amount = state[_PEAK] - state[_START]
        fell = state[_PEAK] - used > _DROP * amount
        rests = state[_STILL] > np.maximum(_PAUSE, _PAUSES * state[_LONGEST])
        over = running & (fell | rests | jumped)
        if not over.any():
            return
        lasted = (state[_SAMPLES] >= LEAST_SAMPLES) | (amount >= _LARGE * self._scale)  # the rest is noise
        for row in np.flatnonzero(over & lasted & (amount >= self._scale)).tolist():
            self._remember(self._names[row], float(amount[row]), full=bool(state[_PEAK, row] >= self._limit[row]))
        state[_START:_OWED, over] = 0.0

    def _remember(self, name: str, amount: float, *, full: bool) -> None:
        """Keep a past run. The largest are not pushed out by the many: the oldest of the smaller half makes room."""
        if full:
            self._full[name] = self._full.get(name, 0) + 1
            return
        past = self._past.setdefault(name, [])
        if len(past) >= KEPT:
            middle = sorted(past)[len(past) // 2]
            past.pop(next(at for at, one in enumerate(past) if one <= middle))
        past.append(amount)

    def _rename(self, names: tuple[str, ...]) -> None:
        """Give each resource its place, and what is known of it; new ones begin, lost ones keep only their past."""
        state = np.zeros((_OWED + 1, len(names)))
        state[_LEVEL] = np.nan
        for row, name in enumerate(names):
            if (before := self._row.get(name)) is not None:
                state[:, row] = self._state[:, before]
        self._names, self._row, self._state = names, {name: row for row, name in enumerate(names)}, state
        for known in (self._past, self._full):
            while len(known) > _FORGET:
                known.pop(next(iter(known)))

    def run(self, name: str) -> Run | None:
        """Return the run that a resource is in, or None: nothing grows, too short, or too noisy to have a rate."""
        row = self._row.get(name)
        if row is None or self._state[_SAMPLES, row] < LEAST_SAMPLES or self._state[_GREW, row] < _LEAST_GROWN:
            return None
        state = self._state[:, row].tolist()
        amount = state[_PEAK] - state[_START] - state[_LARGEST]
        scale = float(self._scale[row])
        if state[_STEP] <= 0 or state[_SECONDS] <= 0 or amount <= 0 or not scale > 0:
            return None
        worth = min(0.75 * state[_GREW], 2.0 * _MEMORY) / _CLUSTERED
        spread = hypot(_SPREAD, sqrt(state[_NOISE] / worth) / state[_STEP])
        if spread > _NOISY:
            return None
        usual = max(_USUAL, state[_LONGEST], _STALL_SECONDS * state[_SAMPLES] / state[_ELAPSED])
        return make_run(
            elapsed_seconds=state[_ELAPSED],
            amount=amount,
            rate=state[_STEP] / state[_SECONDS],
            spread=spread,
            scale=scale,
            past=np.array(self._past.get(name, ())),
            full=self._full.get(name, 0),
            alive=min(1.0, usual / max(state[_STILL], 1.0)),
        )

    def remember(self) -> dict[str, dict[str, list[float] | int]]:
        """Return what the past runs of each resource came to, as JSON takes it."""
        names = [*self._past, *(name for name in self._full if name not in self._past)]
        return {name: {"amounts": list(self._past.get(name, ())), "full": self._full.get(name, 0)} for name in names}

    def restore(self, remembered: Mapping[str, object]) -> None:
        """Take back what `remember` gave; what does not look like it is left out."""
        for name, entry in remembered.items():
            if not isinstance(entry, Mapping):
                continue
            amounts, full = entry.get("amounts"), entry.get("full")
            if isinstance(amounts, list):
                past = [float(one) for one in amounts if isinstance(one, int | float) and 0 < one < float("inf")]
                if past:
                    self._past[name] = past[-KEPT:]
            if isinstance(full, int) and full > 0:
                self._full[name] = full
