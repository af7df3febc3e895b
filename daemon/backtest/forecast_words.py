"""How the forecasts of a backtest are told: rows for a terminal of 80 columns, and values for programs.

Enters: what was judged. Leaves: words and JSON values. It computes nothing but words.
"""

from collections.abc import Iterator, Sequence

from rich.text import Text

from alerting.render import one_line
from daemon.backtest.forecasts import Accuracy, Announced, ForecastReport

Row = tuple[str, Text]

HEADINGS = ("resource", "ahead", "forecasts", "MASE", "last value", "line 6 h", "in 80 %", "in 95 %")
_WIDTHS = (9, 5, 9, 6, 10, 8, 7, 7)
_LARGEST = 99.95  # a worse figure is as bad


def rows(report: ForecastReport) -> Iterator[Row]:
    """Yield the rows for a terminal of 80 columns."""
    yield "forecasts", Text("from what was known then; a MASE below 1 beats the season repeated")
    yield "", Text(_columns(HEADINGS), "dim")
    for one in report.accuracies:
        yield "", Text(_columns(figures(one)))
    yield from _told(report)
    if report.problem:
        yield "", Text(one_line(report.problem), "yellow")


def _columns(cells: Sequence[str]) -> str:
    return " ".join(
        f"{cell:<{width}}" if place < 2 else f"{cell:>{width}}"  # noqa: PLR2004 - two columns of words, then numbers
        for place, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    ).rstrip()


def figures(one: Accuracy) -> tuple[str, ...]:
    """Return the cells of a kind of resource, in the order of the headings."""
    errors = (_error(value) for value in (one.mase, one.mase_last, one.mase_line))
    return one.kind, one.horizon, f"{one.forecasts:,}", *errors, _percent(one.coverage80), _percent(one.coverage95)


def _error(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value < _LARGEST else f"{min(value, 1e6):.0f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.0f} %"


def _told(report: ForecastReport) -> Iterator[Row]:
    """Yield which methods would have said that something is full, and whether it was; nothing where nobody looked."""
    happened = max((one.came_true + one.missed for one in report.announced), default=0)
    if not report.looks:
        return
    times = f"{happened:,} of {report.looks:,} times that it was looked at"
    if not happened and not any(one.announced for one in report.announced):
        yield (
            "full",
            Text(f"within a day: at none of {report.looks:,} times that it was looked at; nobody said so", "dim"),
        )
        return
    yield "full", Text(f"within a day: at {times}")
    for one in report.announced:
        yield "", Text(f"{one.name:<20}{announced_words(one)}")


def announced_words(one: Announced) -> str:
    """Return how often a method said that something is full within a day, and what of it came true."""
    return f"announced {one.announced:,}, of them true {one.came_true:,}; missed {one.missed:,}"


def document(report: ForecastReport) -> dict[str, object]:
    """Return JSON values: lasting keys."""
    return {
        "accuracy": [
            {
                "kind": one.kind,
                "horizon": one.horizon,
                "resources": one.resources,
                "forecasts": one.forecasts,
                "mase": one.mase,
                "mase_last_value": one.mase_last,
                "mase_predict_linear": one.mase_line,
                "coverage80": one.coverage80,
                "coverage95": one.coverage95,
            }
            for one in report.accuracies
        ],
        "full_within_a_day": {
            "looks": report.looks,
            "methods": [
                {
                    "name": one.name,
                    "announced": one.announced,
                    "came_true": one.came_true,
                    "missed": one.missed,
                }
                for one in report.announced
            ],
        },
        "problem": report.problem,
    }
