"""What was sent in the last 30 days, and what share of it was judged real: the promise about noise, looked up.

Enters: the alerts, notifications and verdicts of state.db. Leaves: one answer. A backtest's alerts are none of these.
"""

from collections import Counter

from alerting.render import rfc3339
from alerting.verdict import VerdictKind
from daemon.dashboard.answers import MonthAnswer, SinkMonthAnswer
from daemon.state import StateDatabase

MONTH_MS = 30 * 86_400_000
_MOST = 10_000  # as many as the database keeps


def last_month(state: StateDatabase, sinks: list[str], *, now_ms: int, first_ms: int | None) -> MonthAnswer:
    """Return the answer as of `now_ms`; `first_ms` is when this host's record begins. Blocks; raises StateError."""
    since_ms = now_ms - MONTH_MS if first_ms is None else max(now_ms - MONTH_MS, min(first_ms, now_ms))
    fired = state.fired_since(since_ms, _MOST)
    verdicts = state.standing_verdicts(since_ms)
    sent = {number for number, told in fired if told}
    said = Counter(verdicts[number] for number in sent if number in verdicts)
    judged = said.total()
    counts = state.notifications_since(since_ms)
    return MonthAnswer(
        since=rfc3339(since_ms),
        fired=len(fired),
        sent=len(sent),
        kept=len(fired) - len(sent),
        real=said[VerdictKind.REAL],
        false=said[VerdictKind.FALSE],
        expected=said[VerdictKind.EXPECTED],
        share_real=said[VerdictKind.REAL] / judged if judged else None,
        sinks=[
            SinkMonthAnswer(
                name=name,
                delivered=counts.get((name, "delivered"), 0),
                failed=counts.get((name, "dead"), 0),
                pending=counts.get((name, "pending"), 0),
            )
            for name in sinks
        ],
        verdicts={number: verdicts[number].value for number, _ in fired if number in verdicts},
    )
