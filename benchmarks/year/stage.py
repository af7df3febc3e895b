"""What events are made of: ramps, stretches of time, and what systemd says of a unit.

Enters: a host whose demand is known. Leaves: changes of it. Which event comes when is decided elsewhere.
"""

import numpy as np

from benchmarks.year.host import Floats, Host


class Stage:
    """A host to write events into; `most` is how many rows one event may last."""

    def __init__(self, host: Host, most: int) -> None:
        self.host = host
        self.most = most

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
