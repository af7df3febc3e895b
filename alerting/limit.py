"""The limit on notifications: a bucket of tokens for each sink, refilled over time.

Enters: monotonic time. Leaves: whether one more notification may go. What may not is not lost: it stays owed,
and the next notification says it all in one. A part of the bucket is for pages alone.
"""

from dataclasses import dataclass, field

_FOR_PAGES = 0.3


@dataclass(frozen=True, slots=True)
class Limits:
    """At most `burst` notifications at once to a sink, and `per_hour` over time; `per_hour` 0 = no limit."""

    burst: int
    per_hour: float


@dataclass(slots=True)
class Limiter:
    """One bucket a sink; a new process begins with full ones."""

    limits: Limits
    _tokens: dict[str, float] = field(default_factory=dict)
    _filled_ns: dict[str, int] = field(default_factory=dict)

    def take(self, sink: str, now_ns: int, *, page: bool) -> bool:
        """Take a token for one notification to `sink`; False when there is none for it."""
        if not self.limits.per_hour:
            return True
        burst = float(self.limits.burst)
        passed_hours = (now_ns - self._filled_ns.get(sink, now_ns)) / 3.6e12
        tokens = min(burst, self._tokens.get(sink, burst) + passed_hours * self.limits.per_hour)
        self._filled_ns[sink] = now_ns
        reserved = 0.0 if page else int(_FOR_PAGES * burst)
        allowed = tokens - reserved >= 1.0 - 1e-9  # an hour of rounding must not cost a notification
        self._tokens[sink] = tokens - allowed
        return allowed
