"""The rules for Prometheus: what it records, and of what it alerts, for `[alerting] authority = "prometheus"`.

Enters: the policy table of `alerting/policy`, and where dashboards and runbooks are. Leaves: two rule files. They judge
nothing that the daemon has judged already: a rule rests on `presaged_alert_active`, which has held for its time, and
leaves out what is held (records, the learning week, silences, maintenance, what another alert explains). Only what a
daemon cannot tell of itself is judged here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from alerting.policy import DRILL, RULES, PolicySettings, Rule, Severity, Timing, timing_of
from daemon.config import Config
from daemon.dashboard.answers import COSTLY_BYTES, COSTLY_CPU_RATIO
from mixin.board import TAG

Tree = dict[str, object]

# So long an alert outlives a scrape that failed or a daemon that is restarted; more would only delay its end.
_LONGEST_KEPT_SECONDS = 180
_AROUND_SECONDS = 3600
_BOARDS = {"anomaly": "anomaly", "capacity": "capacity", "failure": "risk", "host": "host", "drill": "itself"}


@dataclass(frozen=True, slots=True)
class Places:
    """Where the links of an alert lead: both are what comes before a path, "" = relative."""

    grafana: str = ""
    runbooks: str = "docs/runbooks"


@dataclass(frozen=True, slots=True)
class Own:
    """An alert about presaged that it cannot raise itself."""

    alertname: str
    severity: Severity
    expr: str
    for_seconds: int
    summary: str
    description: str


OWN = (
    Own(
        alertname="PresagedDown",
        severity=Severity.PAGE,
        # A target that has served presaged before, under whatever job, and is still meant to be scraped.
        expr="up == 0 and on (job, instance) instance:presaged_known:group",
        for_seconds=300,
        summary="presaged cannot be reached",
        description="Prometheus has not reached presaged for five minutes: nobody watches this host.",
    ),
    Own(
        alertname="PresagedStale",
        severity=Severity.PAGE,
        # Of the counter's clock alone: the clocks of two hosts may differ. Sound up to an interval of five minutes.
        expr="changes(presaged_last_sample_timestamp_seconds[5m]) == 0",
        for_seconds=600,
        summary="presaged takes no samples",
        description="presaged answers, but has read nothing for a quarter of an hour: what it says is old.",
    ),
    Own(
        alertname="PresagedNotifyFailing",
        severity=Severity.TICKET,
        # Between two attempts lie at most five minutes. A sink that took anything is no sink that fails.
        expr=(
            "(increase(presaged_notifications_failed_total[15m]) > 1"
            " unless increase(presaged_notifications_total[15m]) > 0)"
            " or increase(presaged_notifications_dead_total[1h]) > 0"
        ),
        for_seconds=600,
        summary="notifications do not reach the sink {{ $labels.sink }}",
        description="The sink {{ $labels.sink }} refuses notifications, or some were given up: people are not told.",
    ),
    Own(
        alertname="PresagedOutboxStuck",
        severity=Severity.TICKET,
        # Nothing was taken and nothing was refused: nobody even tries. A sink that refuses is the alert above.
        expr=(
            "presaged_outbox_pending > 0 unless on (job, instance)"
            " sum by (job, instance) (increase(presaged_notifications_total[15m])"
            " + increase(presaged_notifications_failed_total[15m])) > 0"
        ),
        for_seconds=900,
        summary="{{ $value }} notifications wait and nothing moves",
        description="Notifications have waited for a quarter of an hour, and no delivery was even tried.",
    ),
    Own(
        alertname="PresagedDegraded",
        severity=Severity.TICKET,
        expr="presaged_degraded == 1",
        for_seconds=900,
        summary="presaged is short of {{ $labels.mode }}",
        description="For a quarter of an hour it has done without something: `presage status` says what, and why.",
    ),
    Own(
        alertname="PresagedCostly",
        severity=Severity.TICKET,
        # Over an hour: a start, a training that is read in, a page that is drawn are none of it.
        expr=(
            f"(rate(process_cpu_seconds_total[1h]) > {COSTLY_CPU_RATIO:g}"
            f" or process_resident_memory_bytes > {COSTLY_BYTES}) and on (job, instance) presaged_build_info"
        ),
        for_seconds=3600,
        summary="presaged takes more than a watcher should",
        description=(
            f"For an hour it has taken more than {COSTLY_CPU_RATIO * 100:.0f} % of a processor"
            f" or {COSTLY_BYTES / 1e6:.0f} MB of memory."
        ),
    ),
)

RECORDS: tuple[tuple[str, str], ...] = (
    (
        # What was presaged once stays known while it is a target: else a host that is down would be no host.
        "instance:presaged_known:group",
        "group by (job, instance) (presaged_build_info)"
        " or group by (job, instance) (last_over_time(instance:presaged_known:group[1d])) and on (job, instance) up",
    ),
    (
        "instance:presaged_alerts:count",
        "count by (job, instance, severity) (presaged_alert_active == 1 unless presaged_alert_held)",
    ),
    (
        "instance:presaged_exhaustion_7d:max",
        'max by (job, instance) (presaged_capacity_exhaustion_probability_ratio{within="7d"})',
    ),
    (
        "instance:presaged_exhaustion_timestamp_seconds:min",
        'min by (job, instance) (presaged_capacity_exhaustion_timestamp_seconds{bound="median"})',
    ),
    (
        "instance:presaged_tick_seconds:p95",
        "histogram_quantile(0.95, sum by (job, instance, le) (rate(presaged_tick_seconds_bucket[10m])))",
    ),
    (
        "instance:presaged_cpu:rate5m",
        "rate(process_cpu_seconds_total[5m]) and on (job, instance) presaged_build_info",
    ),
)


def told_rules() -> Iterator[Rule]:
    """Yield the rows of the policy that may be sent; a record has no rule."""
    yield from (rule for rule in RULES.values() if rule.sent != "never")


def expression(rule: Rule) -> str:
    """Return what is true while an alert of `rule` is to be told; its value is when it fired, in UTC seconds."""

    def of(name: str) -> str:
        series = f'presaged_alert_{name}{{alertname="{rule.alertname}"}}'
        # A drill is over with the next sample: one that fell between two evaluations would never be told.
        return f"last_over_time({series}[2m])" if rule.timing == Timing(0.0, 0.0) else series

    return f"{of('active')} * {of('fired_timestamp_seconds')} unless {of('held')}"


def alerts(places: Places) -> str:
    """Return the file of alerting rules."""
    ours = [_of_the_policy(rule, places) for rule in told_rules()]
    own = [_of_itself(one, places) for one in OWN]
    return _file([("presaged", ours), ("presaged-itself", own)])


def records() -> str:
    """Return the file of recording rules."""
    return _file([("presaged-records", [{"record": name, "expr": expr} for name, expr in RECORDS])])


def _of_the_policy(rule: Rule, places: Places) -> Tree:
    settings = Config().alerting
    defaults = PolicySettings("with_impact", settings.for_seconds, settings.keep_firing_seconds)
    kept = min(timing_of(rule.alertname, defaults).keep_firing_seconds, _LONGEST_KEPT_SECONDS)
    drill = "DRILL: " if rule.alertname == DRILL else ""
    about = " {{ $labels.resource }}" if rule.about else ""
    resource = "&var-resource={{ $labels.resource | urlquery }}" if rule.network == "capacity" else ""
    board = "itself" if rule.alertname == "StoppedCollecting" else _BOARDS[rule.network]
    tree: Tree = {"alert": rule.alertname, "expr": expression(rule)}
    if kept:
        tree["keep_firing_for"] = f"{kept:.0f}s"
    return tree | {
        "labels": {"network": rule.network, "severity": rule.severity.value},
        "annotations": {
            "summary": f"{drill}{{{{ $labels.instance }}}}: {rule.alertname}{about}",
            "description": f"{drill}{rule.summary} On the host: presage explain latest",
            "dashboard": _dashboard(places, board, resource, "$value"),
            "runbook_url": _runbook(places, rule.alertname),
        },
    }


def _of_itself(one: Own, places: Places) -> Tree:
    return {
        "alert": one.alertname,
        "expr": one.expr,
        "for": f"{one.for_seconds}s",
        "labels": {"network": "presaged", "severity": one.severity.value},
        "annotations": {
            "summary": f"{{{{ $labels.instance }}}}: {one.summary}",
            "description": one.description,
            "dashboard": _dashboard(places, "itself", "", ""),
            "runbook_url": _runbook(places, one.alertname),
        },
    }


def _dashboard(places: Places, board: str, more: str, moment: str) -> str:
    """Return a link to a dashboard of the alert's host, an hour before and after `moment` ("" = now)."""

    def milliseconds(offset: int) -> str:
        if moment:
            asked = f'printf "vector(1000 * (%f {offset:+d}))" {moment} | query'
        else:
            asked = f'query "vector(1000 * (time() {offset:+d}))"'
        return f'{{{{ with {asked} }}}}{{{{ . | first | value | printf "%.0f" }}}}{{{{ end }}}}'

    host = "var-job={{ $labels.job | urlquery }}&var-instance={{ $labels.instance | urlquery }}"
    time = f"from={milliseconds(-_AROUND_SECONDS)}&to={milliseconds(_AROUND_SECONDS)}"
    return f"{places.grafana.rstrip('/')}/d/{TAG}-{board}?{host}{more}&{time}"


def _runbook(places: Places, alertname: str) -> str:
    return f"{places.runbooks.rstrip('/')}/{alertname}.md"


def _file(groups: list[tuple[str, list[Tree]]]) -> str:
    tree = {"groups": [{"name": name, "rules": rules} for name, rules in groups]}
    head = "# Generated from alerting/policy.py and mixin/rules.py by `make mixin`; do not edit here.\n"
    return head + yaml.safe_dump(tree, sort_keys=False, width=1000, allow_unicode=True)
