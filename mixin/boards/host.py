"""One host: what is wrong with it now, what comes, and what it does."""

from grafana_foundation_sdk.builders import stat, table, timeseries

from mixin import scales
from mixin.board import ONE, Board, of_this_host
from mixin.panels import Column, Query, gauges, lines, number, rows


def host() -> Board:
    """Return the dashboard of one host."""
    board = Board("host", "Host", "One host: what is wrong now, what comes, and what it does.")
    _figures(board)
    board.add(8, firing(), _full(), widths=(14, 10))
    board.row("Unlike itself")
    _anomaly(board)
    board.row("What it does")
    _signals(board)
    return board


def score(nothing: str) -> stat.Panel:
    """Return the score now; `nothing`: what is said where there is none."""
    return number(
        "Score",
        "How unlike itself the host is; from 0.8 on it is an episode.",
        f"presaged_anomaly_score{{{ONE}}}",
        unit="percentunit",
        steps=scales.SCORE,
        nothing=nothing,
        decimals=0,
    )


def _figures(board: Board) -> None:
    board.add(
        4,
        score("learning: after 60 samples"),
        number(
            "Fails within 1 h",
            "Probability of a failure within an hour.",
            f'presaged_failure_probability_ratio{{{ONE}, horizon="1h"}}',
            unit="percentunit",
            steps=scales.RISK_HOUR,
            nothing="not enough evidence yet",
            decimals=0,
        ),
        number(
            "Fails within 24 h",
            "Probability of a failure within a day.",
            f'presaged_failure_probability_ratio{{{ONE}, horizon="24h"}}',
            unit="percentunit",
            steps=scales.RISK_DAY,
            nothing="not enough evidence yet",
            decimals=0,
        ),
        number(
            "First one full in",
            "Time until the first resource is used up, as the median of its forecast.",
            f"min({scales.left(ONE)})",
            unit="s",
            steps=scales.LEFT,
            mapped=[scales.NOT_IN_SIGHT],
            nothing="no resource is known yet",
        ),
        number(
            "Drift",
            "Share of the signals that no longer follow the days that were learned from; known after days.",
            f"presaged_drift_score_ratio{{{ONE}}}",
            unit="percentunit",
            steps=scales.DRIFT,
            nothing="too little data",
            decimals=0,
        ),
        number(
            "Last sample",
            "How long ago the host was read last.",
            f"time() - presaged_last_sample_timestamp_seconds{{{ONE}}}",
            unit="s",
            steps=scales.STALE,
            nothing="none: is presaged running?",
            decimals=0,
        ),
    )


def firing() -> table.Panel:
    """Return the table of what fires on this host."""
    return rows(
        "Fires now",
        "Alerts that fire, and since when. Kept ones are records, silenced, in maintenance, or explained by another. "
        "On the host: presage explain latest.",
        [
            Column("Alert", label="alertname", link=("What was unusual then", of_this_host("anomaly"))),
            Column("About", label="resource"),
            Column("Severity", label="severity", words=[scales.SEVERITY]),
            Column("Since", f"1000 * presaged_alert_fired_timestamp_seconds{{{ONE}}}", unit="dateTimeFromNow"),
            Column(
                "Told", f"1 * presaged_alert_held{{{ONE}}} or 0 * presaged_alert_active{{{ONE}}}", words=[scales.TOLD]
            ),
        ],
        nothing="nothing fires",
        sort="Since",
    )


def _full() -> table.Panel:
    return rows(
        "Resources",
        "How full each resource is, and how likely it is used up within a week.",
        [
            Column(
                "Resource",
                label="resource",
                link=("Its forecast", of_this_host("capacity", "&var-resource=${__value.raw}")),
            ),
            Column(
                "Used",
                f"sum by (resource) (presaged_capacity_used_ratio{{{ONE}}})",
                unit="percentunit",
                steps=scales.USED,
                decimals=0,
            ),
            Column(
                "Full within 7 d",
                f'sum by (resource) (presaged_capacity_exhaustion_probability_ratio{{{ONE}, within="7d"}})',
                unit="percentunit",
                steps=scales.FULL,
                decimals=0,
            ),
            Column(
                "Full in",
                f"sum by (resource) ({scales.left(ONE)})",
                unit="s",
                steps=scales.LEFT,
                words=[scales.NOT_IN_SIGHT],
            ),
        ],
        nothing="no resource is known yet",
        sort="Full within 7 d",
    )


def _anomaly(board: Board) -> None:
    board.add(
        7,
        lines(
            "Score",
            "How unlike itself the host is; from 0.8 on it is an episode.",
            [Query(f"presaged_anomaly_score{{{ONE}}}", "score")],
            unit="percentunit",
            steps=((None, "transparent"), (0.8, "red")),
            high=1,
            nothing="learning: a score comes after 60 samples",
        ),
        gauges(
            "What makes the score",
            "The signals that make most of the score now, and their shares of it.",
            Query(f"sort_desc(presaged_anomaly_contribution_ratio{{{ONE}}})", "{{signal}}"),
            unit="percentunit",
            steps=((None, "blue"),),
            nothing="learning: a score comes after 60 samples",
            high=1,
        ),
        widths=(15, 9),
    )


def _signals(board: Board) -> None:
    board.add(
        8,
        _of("Processor", "What the processors do.", "ratio", "cpu\\\\.(user|system|iowait|irq|steal)", stacked=True),
        _of(
            "Pressure and load",
            "Share of the time that tasks waited for processor, memory or disk, where it is told; and the load per "
            "processor: 100 % is one task for each.",
            "ratio",
            "pressure\\\\..+|load\\\\..+_per_cpu",
        ),
        _of("Memory", "What memory is used for.", "bytes", "memory\\\\..+_bytes", unit="bytes"),
    )
    board.add(
        8,
        _of(
            "Disk",
            "What is read and written.",
            "bytes_per_second",
            "disk\\\\..+\\\\.(read|write)_bytes_per_second",
            unit="Bps",
        ),
        _of(
            "Network",
            "What is received and sent.",
            "bytes_per_second",
            "network\\\\..+\\\\.(receive|transmit)_bytes_per_second",
            unit="Bps",
        ),
        _of("File systems", "Used shares of space and inodes.", "ratio", "filesystem\\\\..+used"),
    )


def _of(
    title: str, text: str, kind: str, signal: str, *, unit: str = "percentunit", stacked: bool = False
) -> timeseries.Panel:
    return lines(
        title,
        text,
        [Query(f'presaged_signal_{kind}{{{ONE}, signal=~"{signal}"}}', "{{signal}}")],
        unit=unit,
        stacked=stacked,
        nothing="not read on this host, or not among the exported signals ([metrics] signals)",
    )
