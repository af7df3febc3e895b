"""All hosts at a glance: which one needs a person, and where that leads."""

from grafana_foundation_sdk.builders import table

from mixin import scales
from mixin.board import MANY, Board, of_the_row
from mixin.panels import ANY_IS_BAD, BLUE, GREEN, ORANGE, RED, Column, Query, lines, number, rows

KNOWN = f"instance:presaged_known:group{{{MANY}}}"
RUNS_OUT = 'resource!~"cpu|.+ (receive|transmit)"'
LOAD_RULES = "none: are the recording rules of the mixin loaded?"
HOST = Column("Host", label="instance", link=("This host", of_the_row("host")))
JOB = Column("Job", label="job")


def hosts() -> Board:
    """Return the overview over `job` and `instance`."""
    text = "Every host that presaged watches: what fires, what runs out, what is unlike itself."
    board = Board("hosts", "Hosts", text, many=True)
    _figures(board)
    board.add(10, _every_host())
    board.row("What fires, and what runs out")
    board.add(9, _firing(), _endangered())
    board.row("Over time")
    _curves(board)
    return board


def _figures(board: Board) -> None:
    board.add(
        4,
        number(
            "Hosts",
            "Hosts whose presaged this Prometheus has scraped and still knows.",
            f"count({KNOWN})",
            unit="short",
            nothing=LOAD_RULES,
        ),
        number(
            "Down",
            "Hosts whose presaged cannot be scraped now: nobody watches them.",
            f"count({KNOWN} and on (job, instance) up == 0) or vector(0)",
            unit="short",
            steps=ANY_IS_BAD,
            nothing="none",
        ),
        number(
            "Pages",
            "Alerts that ask for a person now, without those that are silenced, in maintenance, or explained.",
            f'sum(instance:presaged_alerts:count{{{MANY}, severity="critical"}}) or vector(0)',
            unit="short",
            steps=ANY_IS_BAD,
            nothing="none",
        ),
        number(
            "Tickets",
            "Alerts that ask for a person within days.",
            f'sum(instance:presaged_alerts:count{{{MANY}, severity="warning"}}) or vector(0)',
            unit="short",
            steps=((None, GREEN), (1, ORANGE)),
            nothing="none",
        ),
        number(
            "Full within a week",
            "Hosts of which a resource is used up within seven days, with a probability of 60 % or more.",
            f"count(instance:presaged_exhaustion_7d:max{{{MANY}}} >= 0.6) or vector(0)",
            unit="short",
            steps=((None, GREEN), (1, ORANGE)),
            nothing="none",
        ),
        number(
            "Drifted",
            "Hosts of which a tenth of the signals or more no longer follow the days that were learned from.",
            f"count(presaged_drift_score_ratio{{{MANY}}} >= 0.1) or vector(0)",
            unit="short",
            steps=((None, GREEN), (1, BLUE)),
            nothing="none",
        ),
    )


def _every_host() -> table.Panel:
    return rows(
        "Hosts",
        "A row for each host. Empty cells are not known yet: a score comes after 60 samples, drift after days.",
        [
            HOST,
            Column(
                "presaged", f"min by (job, instance) (up{{{MANY}}} and on (job, instance) {KNOWN})", words=[scales.UP]
            ),
            Column(
                "To be told",
                f'sum by (job, instance) (instance:presaged_alerts:count{{{MANY}, severity=~"critical|warning"}})'
                f" or 0 * {KNOWN}",
                steps=ANY_IS_BAD,
            ),
            Column(
                "Score",
                f"max by (job, instance) (presaged_anomaly_score{{{MANY}}})",
                unit="percentunit",
                steps=scales.SCORE,
                link=("Why", of_the_row("anomaly")),
                decimals=0,
            ),
            Column(
                "Full within 7 d",
                f"instance:presaged_exhaustion_7d:max{{{MANY}}}",
                unit="percentunit",
                steps=scales.FULL,
                link=("What is full when", of_the_row("capacity")),
                decimals=0,
            ),
            Column(
                "First one full in",
                f"clamp(instance:presaged_exhaustion_timestamp_seconds:min{{{MANY}}} - time(), 0,"
                f" {scales.LONGEST_SECONDS})",
                unit="s",
                steps=scales.LEFT,
                words=[scales.NOT_IN_SIGHT],
            ),
            Column(
                "Fails within 24 h",
                f'max by (job, instance) (presaged_failure_probability_ratio{{{MANY}, horizon="24h"}})',
                unit="percentunit",
                steps=scales.RISK_DAY,
                link=("The risk", of_the_row("risk")),
                decimals=0,
            ),
            Column(
                "Drift",
                f"max by (job, instance) (presaged_drift_score_ratio{{{MANY}}})",
                unit="percentunit",
                steps=scales.DRIFT,
                link=("What drifted", of_the_row("learning")),
                decimals=0,
            ),
            Column(
                "Last sample",
                f"max by (job, instance) (time() - presaged_last_sample_timestamp_seconds{{{MANY}}})",
                unit="s",
                steps=scales.STALE,
                link=("The daemon itself", of_the_row("itself")),
                decimals=0,
            ),
            JOB,
        ],
        nothing=LOAD_RULES,
        sort="To be told",
    )


def _firing() -> table.Panel:
    return rows(
        "Fires now",
        "Alerts that fire, and since when. Kept ones are records, silenced, in maintenance, or explained by another.",
        [
            HOST,
            Column("Alert", label="alertname"),
            Column("About", label="resource"),
            Column("Severity", label="severity", words=[scales.SEVERITY]),
            Column("Since", f"1000 * presaged_alert_fired_timestamp_seconds{{{MANY}}}", unit="dateTimeFromNow"),
            Column(
                "Told",
                f"1 * presaged_alert_held{{{MANY}}} or 0 * presaged_alert_active{{{MANY}}}",
                words=[scales.TOLD],
            ),
            JOB,
        ],
        nothing="nothing fires",
        sort="Since",
    )


def _endangered() -> table.Panel:
    chance = f'presaged_capacity_exhaustion_probability_ratio{{{MANY}, within="7d"}}'
    return rows(
        "Used up first",
        "The ten resources that are most likely used up within a week.",
        [
            HOST,
            Column("Resource", label="resource", link=("Its forecast", of_the_row("capacity"))),
            Column(
                "Within 7 d",
                f"topk(10, max by (job, instance, resource) ({chance}))",
                unit="percentunit",
                steps=scales.FULL,
                decimals=0,
            ),
            JOB,
        ],
        nothing="no resource is known yet",
        sort="Within 7 d",
    )


def _curves(board: Board) -> None:
    board.add(
        8,
        lines(
            "Alerts to be told",
            "Pages and tickets of each host, without what is silenced or in maintenance.",
            [
                Query(
                    f'sum by (instance) (instance:presaged_alerts:count{{{MANY}, severity=~"critical|warning"}})'
                    f" or 0 * sum by (instance) ({KNOWN})",
                    "{{instance}}",
                )
            ],
            unit="short",
            stacked=True,
            nothing=LOAD_RULES,
        ),
        lines(
            "Anomaly score",
            "How unlike itself each host is; above 0.8 it is an episode. It begins after 60 samples.",
            [Query(f"presaged_anomaly_score{{{MANY}}}", "{{instance}}")],
            unit="percentunit",
            steps=((None, "transparent"), (0.8, RED)),
            high=1,
            nothing="learning: a score comes after 60 samples",
        ),
    )
    board.add(
        8,
        lines(
            "Fails within 24 hours",
            "Probability that each host records a failure within a day; a ticket from 70 % on.",
            [Query(f'presaged_failure_probability_ratio{{{MANY}, horizon="24h"}}', "{{instance}}")],
            unit="percentunit",
            steps=((None, "transparent"), (0.7, RED)),
            high=1,
            nothing="not enough evidence yet",
        ),
        lines(
            "Fullest resource",
            "Used share of the fullest file system, its inodes, memory or swap of each host; processor and network are "
            "no resource that runs out.",
            [
                Query(
                    f"max by (instance) (presaged_capacity_used_ratio{{{MANY}, {RUNS_OUT}}})",
                    "{{instance}}",
                )
            ],
            unit="percentunit",
            steps=((None, "transparent"), (0.98, RED)),
            high=1,
            nothing="no resource is known yet",
        ),
    )
