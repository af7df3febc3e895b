"""How likely the host fails, and what of it has failed."""

from mixin import scales
from mixin.board import ONE, Board
from mixin.boards.host import firing
from mixin.panels import BLUE, RED, Query, gauges, lines, number

NO_EVIDENCE = "not enough evidence yet"


def risk() -> Board:
    """Return the dashboard of the failure risk."""
    text = "How likely this host fails within an hour and a day, what that rests on, and what has failed already."
    board = Board("risk", "Risk", text, since="now-24h")
    _figures(board)
    board.add(
        9,
        lines(
            "Probability of a failure",
            "Within an hour and within a day; a ticket from 50 % and from 70 % on.",
            [Query(f"presaged_failure_probability_ratio{{{ONE}}}", "within {{horizon}}")],
            unit="percentunit",
            steps=((None, "transparent"), (0.5, "orange"), (0.7, RED)),
            high=1,
            nothing=NO_EVIDENCE,
        ),
        firing(),
        widths=(14, 10),
    )
    board.row("What failed")
    _failures(board)
    board.row("What runs short")
    _short(board)
    return board


def _figures(board: Board) -> None:
    board.add(
        4,
        number(
            "Within 1 h",
            "Probability of a failure within an hour.",
            f'presaged_failure_probability_ratio{{{ONE}, horizon="1h"}}',
            unit="percentunit",
            steps=scales.RISK_HOUR,
            nothing=NO_EVIDENCE,
            decimals=0,
        ),
        number(
            "Within 24 h",
            "Probability of a failure within a day.",
            f'presaged_failure_probability_ratio{{{ONE}, horizon="24h"}}',
            unit="percentunit",
            steps=scales.RISK_DAY,
            nothing=NO_EVIDENCE,
            decimals=0,
        ),
        number(
            "On what it rests",
            "The evidence behind both: simulated hosts, or this host's own failures, and how many.",
            f"presaged_failure_evidence_info{{{ONE}}}",
            unit="short",
            steps=scales.EVIDENCE,
            nothing=NO_EVIDENCE,
            legend="{{basis}}",
        ),
        number(
            "Failures",
            "Failures that were recorded within the range.",
            f"sum(increase(presaged_failure_events_total{{{ONE}}}[$__range]))",
            unit="short",
            steps=((None, "green"), (1, RED)),
            nothing="not known yet",
            decimals=0,
        ),
        widths=(4, 4, 12, 4),
    )


def _failures(board: Board) -> None:
    board.add(
        8,
        lines(
            "Failures over time",
            "What the host recorded: OOM kills, failed units, file systems full or read-only, disk errors and others.",
            [Query(f"increase(presaged_failure_events_total{{{ONE}}}[$__rate_interval])", "{{kind}}")],
            unit="short",
            bars=True,
        ),
        gauges(
            "Failures by kind",
            "The same, counted over the range.",
            Query(f"sort_desc(increase(presaged_failure_events_total{{{ONE}}}[$__range]))", "{{kind}}"),
            unit="short",
            steps=((None, BLUE), (1, RED)),
            nothing="not known yet",
        ),
        widths=(14, 10),
    )


def _short(board: Board) -> None:
    board.add(
        8,
        lines(
            "Memory and swap",
            "Used share of memory, and of swap where there is any.",
            [Query(f'presaged_capacity_used_ratio{{{ONE}, resource=~"memory|swap"}}', "{{resource}}")],
            unit="percentunit",
            steps=((None, "transparent"), (0.98, RED)),
            high=1,
            nothing="memory is not measured ([collectors])",
        ),
        lines(
            "Processes and descriptors",
            "Used shares of what the kernel gives out: threads, and open files of all processes.",
            [Query(f'presaged_signal_ratio{{{ONE}, signal=~"kernel\\\\..+"}}', "{{signal}}")],
            unit="percentunit",
            nothing="not among the exported signals ([metrics] signals)",
        ),
    )
