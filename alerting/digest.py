"""The daily digest of the learning week: what would have been sent, told once a morning.

Enters: alerts that were kept because the host is not known yet. Leaves: whether it is time to tell of them. It
comes at eight in the morning, local time, and only when there is something to tell; after that week, never.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from alerting.occurrence import Occurrence

_HOUR = 8


def is_due(kept: Iterable[Occurrence], time_ms: int) -> bool:
    """Tell whether a morning has come since the first of `kept` fired; `time_ms` is the wall clock."""
    first_ms = min((one.fired_ms or one.started_ms for one in kept), default=None)
    return first_ms is not None and time_ms >= _next_morning_ms(first_ms)


def _next_morning_ms(time_ms: int) -> int:
    # Without its offset: the next morning may have another, when the clocks are changed in the night.
    local = datetime.fromtimestamp(time_ms / 1000).astimezone().replace(tzinfo=None)
    morning = local.replace(hour=_HOUR, minute=0, second=0, microsecond=0)
    if morning <= local:
        morning += timedelta(days=1)
    return int(morning.timestamp() * 1000)
