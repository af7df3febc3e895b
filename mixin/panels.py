"""The vocabulary of the dashboards: what a panel may be, and where it stands.

Enters: titles, descriptions, expressions. Leaves: panels of Grafana's own schema. A panel without a description, a
unit or a word for "nothing" cannot be made; it knows nothing of what is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH = 24  # columns of Grafana's grid

GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "text"
Steps = Sequence[tuple[float | None, str]]
NEUTRAL: Steps = ((None, BLUE),)
ANY_IS_BAD: Steps = ((None, GREEN), (1, RED))


@dataclass(frozen=True, slots=True)
class Query:
    """One expression; `legend` is how each of its series is called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the expression or the label that fills it, and how it is shown.

    `link` is where a cell leads. Rows of several expressions are one where their labels are the same.
    """

    title: str
    expr: str = ""
    label: str = ""
    unit: str = "short"
    steps: Steps = ()
    words: Sequence[model.ValueMap | model.RangeMap] = ()
    link: tuple[str, str] | None = None
    decimals: int | None = None


def words(**named: tuple[str, str]) -> model.ValueMap:
    """Return what to show instead of a value: `v1=("up", GREEN)` for 1."""
    return model.ValueMap(
        {
            value.removeprefix("v"): model.ValueMappingResult(text=text, color=color, index=place)
            for place, (value, (text, color)) in enumerate(named.items())
        }
    )


def word_from(low: float, text: str, color: str) -> model.RangeMap:
    """Return what to show instead of any value from `low` on."""
    return model.RangeMap(
        model.DashboardRangeMapOptions(from_val=low, to=1e18, result=model.ValueMappingResult(text=text, color=color))
    )


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Return the colours by value; the first step is that of everything below the second."""
    return (
        dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps([model.Threshold(*one) for one in steps])
    )


def number(
    title: str,
    text: str,
    expr: str,
    *,
    unit: str,
    steps: Steps = NEUTRAL,
    nothing: str,
    mapped: Sequence[model.ValueMap | model.RangeMap] = (),
    decimals: int | None = None,
    legend: str = "",
) -> stat.Panel:
    """Return one figure, as it is now. With `legend`, a name in place of the figure."""
    panel = (
        stat.Panel()
        .title(title)
        .description(text)
        .datasource(DATASOURCE)
        .with_target(_target(Query(expr, legend), "A").instant())
        .unit(unit)
        .no_value(nothing)
        .thresholds(thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .mappings(list(mapped))
        .graph_mode(options.BigValueGraphMode.NONE)
        .color_mode(options.BigValueColorMode.VALUE)
        .justify_mode(options.BigValueJustifyMode.AUTO)
        .text_mode(options.BigValueTextMode.NAME if legend else options.BigValueTextMode.AUTO)
        .orientation(options.VizOrientation.AUTO)
        .reduce_options(_last())
    )
    return panel if decimals is None else panel.decimals(decimals)


def lines(
    title: str,
    text: str,
    queries: Sequence[Query],
    *,
    unit: str,
    nothing: str = "no data in this range",
    steps: Steps = (),
    low: float | None = 0,
    high: float | None = None,
    stacked: bool = False,
    bars: bool = False,
) -> timeseries.Panel:
    """Return curves over time; `steps` are drawn as lines across."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(text)
        .datasource(DATASOURCE)
        .unit(unit)
        .no_value(nothing)
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
        .draw_style(options.GraphDrawStyle.BARS if bars else options.GraphDrawStyle.LINE)
        .line_width(1)
        .fill_opacity(60 if bars else 25 if stacked else 8)
        .show_points(options.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(options.LegendDisplayMode.LIST)
            .placement(options.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs([])
        )
        .tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI).sort(options.SortOrder.DESCENDING))
    )
    for place, query in enumerate(queries):
        panel = panel.with_target(_target(query, chr(ord("A") + place)).range())
    if steps:
        style = common.GraphThresholdsStyleConfig().mode(options.GraphTresholdsStyleMode.DASHED)
        panel = panel.thresholds(thresholds(steps)).thresholds_style(style)
    if stacked or bars:
        panel = panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL).group("A"))
    if low is not None:
        panel = panel.min(low)
    return panel if high is None else panel.max(high)


def states(
    title: str, text: str, query: Query, *, mapped: Sequence[model.ValueMap], nothing: str
) -> statetimeline.Panel:
    """Return a bar for each series whose colour is its value."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(text)
        .datasource(DATASOURCE)
        .with_target(_target(query, "A").range())
        .unit("short")
        .no_value(nothing)
        .mappings(list(mapped))
        .show_value(options.VisibilityMode.NEVER)
        .merge_values(True)
        .row_height(0.8)
        .legend(
            common.VizLegendOptions()
            .display_mode(options.LegendDisplayMode.LIST)
            .placement(options.LegendPlacement.BOTTOM)
            .show_legend(False)
            .calcs([])
        )
        .tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.SINGLE).sort(options.SortOrder.NONE))
    )


def gauges(
    title: str, text: str, query: Query, *, unit: str, steps: Steps, nothing: str, high: float | None = None
) -> bargauge.Panel:
    """Return a horizontal bar for each series, as it is now."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(text)
        .datasource(DATASOURCE)
        .with_target(_target(query, "A").instant())
        .unit(unit)
        .no_value(nothing)
        .min(0)
        .thresholds(thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .display_mode(options.BarGaugeDisplayMode.BASIC)
        .value_mode(options.BarGaugeValueMode.COLOR)
        .orientation(options.VizOrientation.HORIZONTAL)
        .show_unfilled(True)
        .reduce_options(_last())
    )
    return panel if high is None else panel.max(high)


def rows(title: str, text: str, columns: Sequence[Column], *, nothing: str, sort: str = "") -> table.Panel:
    """Return a table of what is now. Labels that no column names are left out; `sort` names a column, highest first."""
    panel = (
        table.Panel()
        .title(title)
        .description(text)
        .datasource(DATASOURCE)
        .no_value(nothing)
        .unit("short")
        .show_header(True)
        .frame_index(0)
        .cell_height(options.TableCellHeight.SM)
    )
    asked = [one for one in columns if one.expr]
    fields: dict[str, str] = {}
    for place, column in enumerate(asked):
        letter = chr(ord("A") + place)
        panel = panel.with_target(_target(Query(column.expr), letter).instant().format(PromQueryFormat.TABLE))
        fields["Value" if len(asked) == 1 else f"Value #{letter}"] = column.title
    fields |= {one.label: one.title for one in columns if one.label}
    names = {title: name for name, title in fields.items()}
    panel = panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    kept = {"include": {"names": list(fields)}}
    panel = panel.with_transformation(model.DataTransformerConfig(id_val="filterFieldsByName", options=kept))
    order = {names[one.title]: place for place, one in enumerate(columns)}
    shown = {"excludeByName": {}, "indexByName": order, "renameByName": fields}
    panel = panel.with_transformation(model.DataTransformerConfig(id_val="organize", options=shown))
    for column in columns:
        panel = panel.override_by_name(column.title, _cells(column))
    if sort:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(True)])
    return panel


def _cells(column: Column) -> list[model.DynamicConfigValue]:
    cells = [model.DynamicConfigValue("unit", column.unit)]
    if column.decimals is not None:
        cells.append(model.DynamicConfigValue("decimals", column.decimals))
    if column.words:
        cells.append(model.DynamicConfigValue("mappings", [one.to_json() for one in column.words]))
    if column.steps:
        steps = [{"value": value, "color": color} for value, color in column.steps]
        cells.append(model.DynamicConfigValue("thresholds", {"mode": "absolute", "steps": steps}))
    if column.steps or column.words:
        cells.append(model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
    if column.link:
        title, url = column.link
        cells.append(model.DynamicConfigValue("links", [{"title": title, "url": url}]))
    return cells


def _target(query: Query, letter: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(letter).datasource(DATASOURCE)
    return target.legend_format(query.legend) if query.legend else target


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False)
