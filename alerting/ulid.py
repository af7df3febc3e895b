"""ULIDs: 48 bits of milliseconds and 80 bits of randomness, in 26 letters that sort as they were made.

Enters: the wall clock's milliseconds. Leaves: an id above every id given before, also within one
millisecond and after the clock went back. It never reads a clock itself. Format: github.com/ulid/spec.
"""

import secrets
from collections.abc import Callable

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80
_TIME_LIMIT = 1 << 48
_LETTERS = 26


class UlidSource:
    """Gives monotonic ULIDs; `random_bytes` is replaced in tests."""

    def __init__(self, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._random_bytes = random_bytes
        self._last = -1

    def __call__(self, time_ms: int) -> str:
        """Return the next id for the moment `time_ms` (UTC milliseconds)."""
        moment = min(max(time_ms, 0), _TIME_LIMIT - 1)
        fresh = (moment << _RANDOM_BITS) | int.from_bytes(self._random_bytes(_RANDOM_BITS // 8), "big")
        # The same millisecond, or a clock that went back: one above the last keeps the order.
        self._last = fresh if moment > self._last >> _RANDOM_BITS else self._last + 1
        return "".join(_CROCKFORD[(self._last >> shift) & 31] for shift in range(5 * (_LETTERS - 1), -1, -5))
