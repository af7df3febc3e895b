"""The last samples in memory: the window that is scored, and the reference that is learned from first.

Enters: samples by signal id. Leaves: rows (T, S) for any list of ids, NaN = missing. A gap in time is
one row of NaN, so nothing ever looks across it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Ids = Sequence[int] | NDArray[np.int64]

_COLUMNS_STEP = 16


class RingWindow:
    """The last `rows` samples of every signal in one float32 block; memory is rows x columns x 4 bytes.

    A signal takes a column when it is first seen; `forget` gives it back. `hours` is the local hour
    of the week of each row, `alarmed` marks rows that must not be learned from.
    """

    def __init__(self, rows: int) -> None:
        self.capacity = rows
        self._values: Float32 = np.full((rows, _COLUMNS_STEP), np.nan, np.float32)
        self._hours = np.zeros(rows, np.int64)
        self._alarmed = np.zeros(rows, np.bool_)
        self._column: dict[int, int] = {}
        self._free = list(range(_COLUMNS_STEP - 1, -1, -1))
        self._ids = np.zeros(0, np.int64)
        self._columns = self._ids
        self._asked: Ids | None = None
        self._asked_columns = self._ids
        self._next = 0
        self.filled = 0

    @property
    def signal_ids(self) -> list[int]:
        """Ids of all signals that have a column."""
        return list(self._column)

    def push(self, signal_ids: NDArray[np.int64], values: Float32, hour: int) -> None:
        """Add one sample, `values` (S,) of `signal_ids` (S,); the oldest leaves."""
        if signal_ids is not self._ids:  # the same array every tick until a signal comes or goes
            for signal in signal_ids.tolist():
                if signal not in self._column:
                    self._column[signal] = self._take_column()
            self._asked = None
            self._ids, self._columns = signal_ids, self._columns_of(signal_ids)
        row = self._values[self._next]
        row[:] = np.nan
        row[self._columns] = values
        self._advance(hour)

    def push_gap(self, hour: int) -> None:
        """Mark that time has a gap here."""
        if self.filled:
            self._values[self._next] = np.nan
            self._advance(hour)

    def _advance(self, hour: int) -> None:
        self._hours[self._next] = hour
        self._alarmed[self._next] = False
        self._next = (self._next + 1) % self.capacity
        self.filled = min(self.filled + 1, self.capacity)

    def mark_alarmed(self) -> None:
        """Exclude the newest row from what is learned."""
        self._alarmed[self._next - 1] = True

    def blank(self) -> None:
        """Forget the values of the newest row, as if time had a gap there."""
        self._values[self._next - 1] = np.nan

    def recent(self, ids: Ids, rows: int) -> Float32:
        """Return the newest `rows` rows (rows, S) of the signals `ids`, oldest first; NaN where there are none."""
        if ids is not self._asked:  # the model asks for the same ones every tick
            self._asked, self._asked_columns = ids, self._columns_of(ids)
        columns = self._asked_columns
        start = self._next - rows  # two slices cost a fifth of as many places
        parts = [self._values[start:], self._values[: self._next]] if start < 0 else [self._values[start : self._next]]
        out = np.concatenate([part.take(columns, axis=1) for part in parts])
        out[:, columns < 0] = np.nan
        out[: max(0, rows - self.filled)] = np.nan
        return out

    def recent_hours(self, rows: int) -> list[int]:
        """Return the hours of the newest `rows` rows, oldest first."""
        at = (self._next - rows + np.arange(rows)) % self.capacity
        return [int(hour) for hour in self._hours[at]]

    def _columns_of(self, ids: Ids) -> NDArray[np.int64]:
        return np.array([self._column.get(int(signal), -1) for signal in ids], np.int64)

    def reference(self, ids: Ids, oldest: int | None = None) -> tuple[Float32, NDArray[np.int64]]:
        """Return all rows that may be learned from (T, S) and their hours (T,); of the `oldest` rows only, if given.

        Alarmed rows are left out as one gap each run; when they are more than half, they are how the
        host is now, and stay.
        """
        rows = self.filled if oldest is None else oldest
        values = self.recent(ids, self.filled)[:rows]
        at = (self._next - self.filled + np.arange(rows)) % self.capacity
        hours, alarmed = self._hours[at], self._alarmed[at]
        if alarmed.any() and alarmed.mean() <= 0.5:  # noqa: PLR2004 - half
            values[alarmed] = np.nan
            keep = ~alarmed | np.r_[True, ~alarmed[:-1]]
            values, hours = values[keep], hours[keep]
        return values, hours

    def forget(self, signals: Sequence[int]) -> None:
        """Give the columns of `signals` back."""
        for signal in signals:
            column = self._column.pop(signal, None)
            if column is not None:
                self._values[:, column] = np.nan
                self._free.append(column)
        self._ids, self._asked = np.zeros(0, np.int64), None

    def _take_column(self) -> int:
        if not self._free:
            wide = self._values.shape[1]
            more = np.full((self.capacity, _COLUMNS_STEP), np.nan, np.float32)
            self._values = np.concatenate([self._values, more], axis=1)
            self._free = list(range(wide + _COLUMNS_STEP - 1, wide - 1, -1))
        return self._free.pop()
