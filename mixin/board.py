"""One dashboard: its variables, its links to the others, and its panels from left to right and downwards.

Enters: panels with their sizes, row by row. Leaves: a dashboard as JSON that says nothing of the machine it was made
on. Panels of a row are as high as each other, so none can overlap.
"""

import json
from collections.abc import Sequence

from grafana_foundation_sdk.builders import bargauge, dashboard, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from mixin.panels import DATASOURCE, WIDTH

TAG = "presaged"
ONE = 'job="$job", instance="$instance"'
_OF_INTERVALS_ALONE = ("auto", "auto_count", "auto_min")  # the SDK gives them to every variable
_OF_A_HOST = f"{TAG}-host"  # the tag of dashboards that are of one host
MANY = 'job=~"$job", instance=~"$instance"'


Panel = bargauge.Panel | stat.Panel | statetimeline.Panel | table.Panel | timeseries.Panel


class Board:
    """A dashboard that grows. `many`: it is of several hosts at once."""

    def __init__(self, name: str, title: str, text: str, *, many: bool = False, since: str = "now-6h") -> None:
        self.uid = f"{TAG}-{name}"
        self._y = 0
        self._panels = 0
        self._builder = (
            dashboard.Dashboard(f"presaged / {title}")
            .uid(self.uid)
            .description(text)
            .tags([TAG] if many else [TAG, _OF_A_HOST])
            .timezone("browser")
            .time(since, "now")
            .refresh("1m")
            .editable()
            .tooltip(model.DashboardCursorSync.CROSSHAIR)
            .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
            .link(
                dashboard.DashboardLink("All hosts")
                .type(model.DashboardLinkType.LINK)
                .url(f"/d/{TAG}-hosts")
                .icon("dashboard")
                .keep_time(True)
            )
            .link(
                dashboard.DashboardLink("One host")
                .type(model.DashboardLinkType.DASHBOARDS)
                .tags([_OF_A_HOST])
                .include_vars(not many)  # where several are chosen, that would be no host
                .keep_time(True)
            )
        )
        job = 'job=~"$job"' if many else 'job="$job"'
        self.variable("job", "Job", "label_values(presaged_build_info, job)", many=many)
        self.variable("instance", "Host", f"label_values(presaged_build_info{{{job}}}, instance)", many=many)
        where = MANY if many else ONE
        self._builder.annotation(
            dashboard.AnnotationQuery()
            .name("Alerts")
            .datasource(DATASOURCE)
            .enable(True)
            .icon_color("red")
            .expr(f'presaged_alert_active{{{where}, severity=~"critical|warning"}}')
        )

    def variable(self, name: str, label: str, query: str, *, many: bool) -> None:
        """Let the reader choose among what `query` returns."""
        one = (
            dashboard.QueryVariable(name)
            .label(label)
            .datasource(DATASOURCE)
            .query({"query": query, "refId": name})
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(model.VariableSort.ALPHABETICAL_ASC)
            .multi(many)
            .include_all(many)
        )
        if many:
            one = one.current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
        self._builder.with_variable(one)

    def row(self, title: str) -> None:
        """Begin a part under a heading."""
        place = model.GridPos(h=1, w=WIDTH, x=0, y=self._y)
        self._panels += 1
        self._builder.with_row(dashboard.Row(title).id(self._panels).grid_pos(place))
        self._y += 1

    def add(self, height: int, *panels: Panel, widths: Sequence[int] = ()) -> None:
        """Put panels beside each other; without `widths` they are equally wide."""
        wide = list(widths) or [WIDTH // len(panels)] * len(panels)
        if sum(wide) != WIDTH:
            raise ValueError(f"{self.uid}: a row of panels is {sum(wide)} wide, not {WIDTH}")
        x = 0
        for panel, width in zip(panels, wide, strict=True):
            self._panels += 1
            place = model.GridPos(h=height, w=width, x=x, y=self._y)
            self._builder.with_panel(panel.id(self._panels).grid_pos(place))
            x += width
        self._y += height

    def document(self) -> str:
        """Return the dashboard as Grafana imports it."""
        tree = json.loads(json.dumps(self._builder.build(), cls=JSONEncoder))
        for variable in tree["templating"]["list"]:
            for name in _OF_INTERVALS_ALONE:
                del variable[name]
            variable.setdefault("datasource", None)
        return json.dumps(tree, indent=2, sort_keys=True) + "\n"


def of_the_row(board: str) -> str:
    """Return the path of a dashboard for a cell: of the host that the row names, at the same time."""
    host = "var-job=${__data.fields.Job}&var-instance=${__data.fields.Host}"  # Grafana encodes what it puts into links
    return f"/d/{TAG}-{board}?${{datasource:queryparam}}&{host}&${{__url_time_range}}"


def of_this_host(board: str, more: str = "") -> str:
    """Return the path of a dashboard for a cell: of the host that is looked at, at the same time."""
    chosen = "${datasource:queryparam}&${job:queryparam}&${instance:queryparam}"
    return f"/d/{TAG}-{board}?{chosen}{more}&${{__url_time_range}}"
