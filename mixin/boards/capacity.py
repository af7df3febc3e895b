"""When resources run out."""

from grafana_foundation_sdk.builders import bargauge, table

from mixin import scales
from mixin.board import ONE, Board
from mixin.panels import RED, Column, Query, gauges, lines, number, rows

WHERE = f'{ONE}, resource=~"$resource"'
NONE_YET = "no resource is known yet"
NOT_DUE = "no forecast has come due yet"


def capacity() -> Board:
    """Return the dashboard of capacity."""
    text = "How full resources are, what they will be, and when they are used up. The most endangered are exported."
    board = Board("capacity", "Capacity", text, since="now-24h")
    board.variable("resource", "Resources", f"label_values(presaged_capacity_used_ratio{{{ONE}}}, resource)", many=True)
    board.add(9, _outlook(), _probability(), widths=(14, 10))
    board.row("What is, and what comes")
    _curves(board)
    board.row("Can the forecasts be trusted?")
    _accuracy(board)
    return board


def _outlook() -> table.Panel:
    def until(bound: str) -> str:
        return f"sum by (resource) ({scales.left(WHERE, bound)})"

    return rows(
        "Used up when",
        "Used share now, and time until it is used up: the median of the forecast, and the bounds of 80 %.",
        [
            Column("Resource", label="resource"),
            Column(
                "Used",
                f"sum by (resource) (presaged_capacity_used_ratio{{{WHERE}}})",
                unit="percentunit",
                steps=scales.USED,
                decimals=0,
            ),
            Column(
                "Within 4 h",
                f'sum by (resource) (presaged_capacity_exhaustion_probability_ratio{{{WHERE}, within="4h"}})',
                unit="percentunit",
                steps=scales.FULL,
                decimals=0,
            ),
            Column(
                "Within 7 d",
                f'sum by (resource) (presaged_capacity_exhaustion_probability_ratio{{{WHERE}, within="7d"}})',
                unit="percentunit",
                steps=scales.FULL,
                decimals=0,
            ),
            Column("At the earliest", until("lo80"), unit="s", steps=scales.LEFT, words=[scales.NOT_IN_SIGHT]),
            Column("Expected", until("median"), unit="s", steps=scales.LEFT, words=[scales.NOT_IN_SIGHT]),
            Column("At the latest", until("hi80"), unit="s", steps=scales.LEFT, words=[scales.NOT_IN_SIGHT]),
        ],
        nothing=NONE_YET,
        sort="Within 7 d",
    )


def _probability() -> bargauge.Panel:
    return gauges(
        "Used up within 30 days",
        "Probability that each resource is used up within a month.",
        Query(f'sort_desc(presaged_capacity_exhaustion_probability_ratio{{{WHERE}, within="30d"}})', "{{resource}}"),
        unit="percentunit",
        steps=scales.FULL,
        nothing=NONE_YET,
        high=1,
    )


def _curves(board: Board) -> None:
    board.add(
        9,
        lines(
            "Used",
            "Used share of each resource.",
            [Query(f"presaged_capacity_used_ratio{{{WHERE}}}", "{{resource}}")],
            unit="percentunit",
            steps=((None, "transparent"), (0.98, RED)),
            high=1,
            nothing=NONE_YET,
        ),
        lines(
            "Used up within 4 hours, within 7 days",
            "How these probabilities moved: 90 % within four hours is a page, 60 % within a week a ticket.",
            [
                Query(
                    f'presaged_capacity_exhaustion_probability_ratio{{{WHERE}, within=~"4h|7d"}}',
                    "{{resource}} {{within}}",
                )
            ],
            unit="percentunit",
            steps=((None, "transparent"), (0.6, "orange"), (0.9, RED)),
            high=1,
            nothing=NONE_YET,
        ),
    )
    board.add(
        9,
        *(
            lines(
                f"What was forecast for {words} later",
                f"Each point is what was forecast, at that moment, for {words} later, with the bounds of 80 %.",
                [Query(f'presaged_capacity_forecast_ratio{{{WHERE}, horizon="{horizon}"}}', "{{resource}} {{bound}}")],
                unit="percentunit",
                high=1,
                nothing="no forecast yet: it needs hours of history",
            )
            for horizon, words in (("4h", "4 hours"), ("24h", "a day"))
        ),
    )


def _accuracy(board: Board) -> None:
    board.add(
        8,
        lines(
            "What came, and what was forecast for it 4 hours before",
            "What is used, beside what had been forecast four hours before; the second appears four hours after the "
            "first forecast.",
            [
                Query(f"presaged_capacity_used_ratio{{{WHERE}}}", "{{resource}}"),
                Query(
                    f'presaged_capacity_forecast_ratio{{{WHERE}, horizon="4h", bound="mean"}} offset 4h',
                    "{{resource}}: forecast",
                ),
            ],
            unit="percentunit",
            high=1,
            nothing=NONE_YET,
        ),
        number(
            "Error of past forecasts",
            "Mean error of forecasts that came due, where 1 is as good as assuming the last season again.",
            f"max(presaged_capacity_error_ratio{{{ONE}}})",
            unit="short",
            steps=((None, "green"), (1, "orange")),
            nothing=NOT_DUE,
            decimals=2,
        ),
        number(
            "Inside the 80 % bounds",
            "Share of what came that lay within the bounds of past forecasts; 80 % is meant.",
            f'min(presaged_capacity_coverage_ratio{{{ONE}, interval="80"}})',
            unit="percentunit",
            nothing=NOT_DUE,
            decimals=0,
        ),
        number(
            "Resources",
            "Resources that are watched; of them the most endangered ([metrics] resources) are exported.",
            f"presaged_capacity_resources{{{ONE}}}",
            unit="short",
            nothing=NONE_YET,
        ),
        widths=(12, 4, 4, 4),
    )
