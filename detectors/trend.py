"""Growth in the points: what has grown for hours or days, through its daily or weekly pattern.

Enters: points of one resource over its horizons, equally spaced, the newest last, and its limit. Leaves: for each
horizon at most one run of growth, as `growth` finds it in the raw samples. Where a leak is younger than most of the
history, what a forecaster learned from that history is too slow; a run says what happens if it goes on, and how
likely that is.

A point is compared with the one a season before, so that a daily rotation or a nightly job is no growth. What the
resource came to before it fell back, earlier in its history, is how far its ordinary runs come.
"""

from collections.abc import Sequence
from math import hypot

import numpy as np

from detectors.forecasts import Floats, Horizon
from detectors.growth import NOTABLE, Run, make_run

_LEAST = 8  # points
_SPREAD, _NOISY = 0.15, 0.7  # of the log of a rate
_ENDS = 0.5  # what has grown for hours and days ends less readily than a process does
_DOUBT = 2.0  # scatters by which a season may have brought less, without having stopped
_FALL = 0.3  # of a rise: less is no end of it


def trends(limit: float, points: Sequence[tuple[Horizon, Floats]], notable: float = NOTABLE) -> tuple[Run, ...]:
    """Return the runs of growth that the `points` (T,) of each horizon end with.

    `notable`: the share of the limit that an ordinary run easily comes to, as in `growth`.
    """
    rows = [(horizon, _newest(row)) for horizon, row in points]
    scale = notable * limit
    past = np.concatenate([_rises(row, scale) for _, row in rows] or [np.zeros(0)])
    found = (_trend(scale, horizon, row, past) for horizon, row in rows)
    return tuple(run for run in found if run is not None)


def _newest(row: Floats) -> Floats:
    """Return the points after the last one that is missing."""
    row = np.asarray(row, np.float64)
    missing = np.flatnonzero(~np.isfinite(row))
    return row[missing[-1] + 1 :] if len(missing) else row


def _rises(row: Floats, least: float) -> Floats:
    """Return what each rise came to that is over: it fell back by a good part of what it was."""
    found = []
    low = high = row[0] if len(row) else 0.0
    for value in row.tolist():
        if value > high:
            high = value
        elif high - value > _FALL * (high - low) and high > low:
            if high - low >= least:
                found.append(high - low)
            low = high = value
        low, high = (value, value) if value < low else (low, high)
    return np.array(found)


def _trend(scale: float, horizon: Horizon, row: Floats, past: Floats) -> Run | None:
    """Return the run that a row (T,) without gaps ends with: each point is above the one a season before it."""
    season = horizon.season if len(row) >= horizon.season + max(_LEAST, horizon.season // 2) else 1
    if len(row) < season + _LEAST - 1:
        return None
    grown = row[season:] - row[:-season]
    recent = max(season // 4, 3)
    still = np.flatnonzero(grown <= 0)  # places; behind the last one it has grown ever since
    lasts = len(grown) - (int(still[-1]) + 1 if len(still) else 0)
    if lasts < 2 * recent:
        return None
    begun = lasts < len(grown)
    age = np.minimum(np.arange(1, lasts + 1), season) if begun else season  # a younger leak grew in less than one
    paces = (grown[-lasts:] / age)[-max(season, _LEAST) :]
    rate = float(np.median(paces[-recent:]))
    scatter = 1.4826 * float(np.median(np.abs(paces - np.median(paces))))
    spread = hypot(_SPREAD, scatter / rate)
    elapsed = lasts if begun else len(row) - 1
    amount = float(row[-1] - row[-1 - elapsed])
    if spread > _NOISY or amount <= 0:
        return None
    slower = float(grown[-1] - grown[-1 - recent]) + _DOUBT * scatter * season  # below 0 if it stopped since
    peak = int(row[-season:].argmax())
    above = float(row[peak - season] - row[-1])
    return make_run(
        elapsed_seconds=elapsed * horizon.step_seconds,
        amount=amount,
        rate=rate / horizon.step_seconds,
        spread=spread,
        scale=scale,
        past=past,
        alive=min(max(1.0 + slower / (rate * recent), 0.0), 1.0),
        above=above,
        wait_seconds=(peak + 1) * horizon.step_seconds if above > 0 else 0.0,
        ends=_ENDS,
    )
