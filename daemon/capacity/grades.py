"""What became of past forecasts on this host: they are kept until they are judged, and then for a while.

Enters: forecasts as they are made, and later what really came. Leaves: the accuracy of each resource over each
horizon. A step is judged when it is over and at least half of it was measured.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from daemon.capacity.points import Uses, points_of
from daemon.capacity.state import HI80, HI95, LO80, LO95, MEAN, Accuracy, Made
from daemon.history import History
from detectors.forecasts import DAYS, HOURS, MONTHS, STEPS, Floats, Horizon

# So many steps a forecast is remembered: four days, two months, three years.
_KEPT = {HOURS.name: 96, DAYS.name: 60, MONTHS.name: 36}
_APART = 0.9  # of a step: one forecast a step is kept, however often it is made
_MEASURED = 0.5  # of a step
_EXACT = 1e-5  # of a value: history keeps float32, and a capacity is the quotient of two of them
_FLAT = 1e-9  # of the largest value: a smaller change is of arithmetic


class Grades:
    """Keeps and judges in history.db; its methods block."""

    def __init__(self, history: History) -> None:
        self._history = history

    def keep(self, horizon: Horizon, made: Mapping[str, Made]) -> None:
        """Keep forecasts of one moment, at most one a step and resource; forget those that are too old."""
        told = {name: one for name, one in made.items() if one.bands is not None}
        if not told:
            return
        now_ms = next(iter(told.values())).made_ms
        step_ms = 1000.0 * horizon.step_seconds
        last: dict[str, int] = dict(
            self._history.read(
                "SELECT resource, max(made_ms) FROM forecasts WHERE horizon = ? GROUP BY 1", horizon.name
            )
        )
        rows = [
            (horizon.name, one.made_ms, name, seasonal_error(one.points, horizon.season), _packed(one))
            for name, one in told.items()
            if not 0 <= one.made_ms - last.get(name, -step_ms) < _APART * step_ms
        ]
        oldest = round(now_ms - (_KEPT[horizon.name] + STEPS) * step_ms)
        self._history.write(
            (
                # what a clock that was wrong has dated into the future is never judged
                "DELETE FROM forecasts WHERE horizon = ? AND (made_ms < ? OR made_ms > ?)",
                [(horizon.name, oldest, now_ms)],
            ),
            (
                "INSERT OR REPLACE INTO forecasts (horizon, made_ms, resource, scale, bands) VALUES (?, ?, ?, ?, ?)",
                rows,
            ),
        )

    def judge(self, horizon: Horizon, names: Sequence[str], uses: Uses, now_ms: int) -> None:
        """Compare with what came since then: `uses` of the resources `names`."""
        place = {name: row for row, name in enumerate(names)}
        step_ms = 1000.0 * horizon.step_seconds
        waiting: dict[int, list[tuple[str, bytes]]] = {}
        for made_ms, name, bands in self._history.read(
            "SELECT made_ms, resource, bands FROM forecasts WHERE horizon = ? AND known < ? AND made_ms <= ?",
            horizon.name, STEPS, round(now_ms - step_ms),
        ):  # fmt: skip
            if name in place:
                waiting.setdefault(made_ms, []).append((name, bands))
        rows: list[tuple[object, ...]] = []
        for made_ms, forecasts in waiting.items():
            end_ms = round(made_ms + STEPS * step_ms)
            came = points_of(uses, end_ms=end_ms, step_seconds=horizon.step_seconds, count=STEPS)
            over = min(int((now_ms - made_ms) // step_ms), STEPS)
            which = [place[name] for name, _ in forecasts]
            truth = np.where(came.seconds >= _MEASURED * horizon.step_seconds, came.used, np.nan)[which]
            truth[:, over:] = np.nan
            bands = np.stack([np.frombuffer(packed, "<f4").reshape(5, STEPS) for _, packed in forecasts])
            error = np.abs(truth - bands[:, MEAN])
            slack = _EXACT * np.abs(truth)
            inside80 = (truth >= bands[:, LO80] - slack) & (truth <= bands[:, HI80] + slack)
            inside95 = (truth >= bands[:, LO95] - slack) & (truth <= bands[:, HI95] + slack)
            sums = (np.isfinite(truth).sum(1), np.nansum(error, 1), inside80.sum(1), inside95.sum(1))
            rows += [
                (over, *(float(one[row]) for one in sums), horizon.name, made_ms, name)
                for row, (name, _) in enumerate(forecasts)
            ]
        if rows:
            self._history.write(
                (
                    "UPDATE forecasts SET known = ?, judged = ?, error = ?, inside80 = ?, inside95 = ?"
                    " WHERE horizon = ? AND made_ms = ? AND resource = ?",
                    rows,
                )
            )

    def accuracy(self, horizon: Horizon) -> Mapping[str, Accuracy]:
        """Return how the kept forecasts did, by resource."""
        return {
            name: Accuracy(count, np.nan if mase is None else mase, inside80, inside95)
            for name, count, mase, inside80, inside95 in self._history.read(
                "SELECT resource, count(*), avg(error / judged / scale), 1.0 * sum(inside80) / sum(judged),"
                " 1.0 * sum(inside95) / sum(judged) FROM forecasts WHERE horizon = ? AND judged > 0 GROUP BY 1",
                horizon.name,
            )
        }


def seasonal_error(points: Floats, season: int) -> float | None:
    """Return the mean absolute error of "as a season before" within `points` (P,); None where they are flat.

    Of a history shorter than two seasons it is that of "as the step before". Hyndman and Koehler, "Another look at
    measures of forecast accuracy" (2006).
    """
    known = points[np.isfinite(points)]
    back = season if len(known) >= 2 * season else 1
    if len(known) <= back:
        return None
    error = float(np.abs(known[back:] - known[:-back]).mean())
    return error if error > _FLAT * float(np.abs(known).max()) else None


def _packed(made: Made) -> bytes:
    assert made.bands is not None  # noqa: S101 - the caller looked
    return made.bands.astype("<f4").tobytes()
