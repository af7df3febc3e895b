"""The rules, by Prometheus' own word: each is valid, fires when it should, and is quiet when it should be."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from alerting.policy import RULES
from mixin.rules import OWN, RECORDS, Places, alerts, told_rules

FOLDER = Path(__file__).parents[2] / "mixin" / "rules"
FILES = [str(FOLDER / "presaged-records.yaml"), str(FOLDER / "presaged-alerts.yaml")]
HOST = 'job="node",instance="web 1:9736"'
FIRED = 1_795_000_000
AROUND = f"from={FIRED - 3600}000&to={FIRED + 3600}000"


@pytest.fixture
def promtool(tmp_path):
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not on PATH: it comes with Prometheus, https://prometheus.io/download/")

    def run(*words, document=None):
        if document is not None:
            (tmp_path / "test.yaml").write_text(yaml.safe_dump(document))
            words = (*words, str(tmp_path / "test.yaml"))
        done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


@pytest.fixture
def judge(promtool):
    """Run cases: series (name to values, a value each 30 s), and what fires when: (minutes, name, alerts)."""

    def run(*cases):
        tests = [
            {
                "interval": "30s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    {"eval_time": f"{minutes}m", "alertname": name, "exp_alerts": expected}
                    for minutes, name, expected in asked
                ],
            }
            for series, asked in cases
        ]
        order = ["presaged-records", "presaged", "presaged-itself"]
        document = {
            "rule_files": FILES, "evaluation_interval": "30s", "group_eval_order": order, "tests": tests,
        }  # fmt: skip
        promtool("test", "rules", document=document)

    return run


def test_promtool_accepts_the_files(promtool):
    promtool("check", "rules", *FILES)


def series(alertname, resource="/srv"):
    rule = RULES[alertname]
    labels = f'{HOST},alertname="{alertname}",severity="{rule.severity.value}"'
    labels += f',resource="{resource}"' if rule.about else ',resource=""'
    return {
        f"presaged_alert_active{{{labels}}}": "1x20",
        f"presaged_alert_fired_timestamp_seconds{{{labels}}}": f"{FIRED}x20",
    }, {f"presaged_alert_held{{{labels}}}": "1x20"}


def told(rule, resource="/srv"):
    boards = {"capacity": "capacity", "failure": "risk", "anomaly": "anomaly", "drill": "itself"}
    board = "itself" if rule.alertname == "StoppedCollecting" else boards.get(rule.network, "host")
    drill = "DRILL: " if rule.alertname == "Drill" else ""
    about = f" {resource}" if rule.about else ""
    more = "&var-resource=%2Fsrv" if rule.network == "capacity" else ""
    labels = {"job": "node", "instance": "web 1:9736", "severity": rule.severity.value, "network": rule.network}
    return {
        "exp_labels": labels | ({"resource": resource} if rule.about else {}),
        "exp_annotations": {
            "summary": f"{drill}web 1:9736: {rule.alertname}{about}",
            "description": f"{drill}{rule.summary} On the host: presage explain latest",
            "dashboard": f"/d/presaged-{board}?var-job=node&var-instance=web+1%3A9736{more}&{AROUND}",
            "runbook_url": f"docs/runbooks/{rule.alertname}.md",
        },
    }


@pytest.mark.parametrize("rule", list(told_rules()), ids=lambda rule: rule.alertname)
def test_an_alert_of_the_policy_fires_unless_it_is_held_or_another(rule, judge):
    fires, held = series(rule.alertname)
    others = {}
    for other in RULES:
        if other != rule.alertname:
            others |= series(other)[0]
    name = rule.alertname
    judge(
        (fires, [(0, name, [told(rule)]), (5, name, [told(rule)])]),
        (fires | held, [(5, name, [])]),
        (others, [(5, name, [])]),
    )


def test_of_two_resources_only_the_one_that_is_not_held_fires(judge):
    first, _ = series("UnitFailed", "a.service")
    second, held = series("UnitFailed", "b.service")
    rule = RULES["UnitFailed"]
    judge((first | second | held, [(5, "UnitFailed", [told(rule, "a.service")])]))


def test_an_alert_outlives_a_restart_of_the_daemon_but_not_its_end(judge):
    fires, _ = series("UnitFailed")
    away = {
        name: values.replace("x20", "x4 stale _x1 " + values.replace("x20", "x4 stale"))
        for name, values in fires.items()
    }
    rule = RULES["UnitFailed"]
    judge((away, [(1, "UnitFailed", [told(rule)]), (3, "UnitFailed", [told(rule)]), (30, "UnitFailed", [])]))


def test_a_drill_is_told_though_it_is_over_before_the_next_look(judge):
    fires, held = series("Drill")
    short = {name: values.replace("x20", "x1 stale") for name, values in fires.items()}
    kept = {name: values.replace("x20", "x1 stale") for name, values in held.items()}
    rule = RULES["Drill"]
    judge(
        (short, [(2, "Drill", [told(rule)]), (5, "Drill", [])]),
        (short | kept, [(2, "Drill", [])]),
    )


def own(alertname, minutes, labels, summary, **more):
    (rule,) = [one for one in OWN if one.alertname == alertname]
    around = f"from={minutes * 60000 - 3600_000}&to={minutes * 60000 + 3600_000}"
    return {
        "exp_labels": {"job": "node", "instance": "web 1:9736", "network": "presaged"}
        | {"severity": rule.severity.value}
        | labels,
        "exp_annotations": {
            "summary": f"web 1:9736: {summary}",
            "description": more.get("description", rule.description),
            "dashboard": f"/d/presaged-itself?var-job=node&var-instance=web+1%3A9736&{around}",
            "runbook_url": f"docs/runbooks/{alertname}.md",
        },
    }


def test_presaged_down(judge):
    up, build = f"up{{{HOST}}}", f'presaged_build_info{{{HOST},version="1",backend="jit"}}'
    other = {'up{job="other",instance="x"}': "0x60"}
    gone = "1x10 stale"
    fires = own("PresagedDown", 20, {}, "presaged cannot be reached")
    judge(
        ({up: "1x10 0x100", build: gone, **other}, [(8, "PresagedDown", []), (20, "PresagedDown", [fires])]),
        ({up: "1x10 0x6 1x40", build: "1x10 stale _x5 1x40"}, [(m, "PresagedDown", []) for m in (6, 9, 15)]),  # restart
        ({up: "1x10 stale", build: gone}, [(20, "PresagedDown", [])]),  # no target any more
    )


def test_presaged_is_known_for_as_long_as_it_is_a_target(judge):
    """Beyond the five minutes that Prometheus looks back: a host that is down for hours is still one of ours."""
    up, build = f"up{{{HOST}}}", f'presaged_build_info{{{HOST},version="1",backend="jit"}}'
    fires = own("PresagedDown", 180, {}, "presaged cannot be reached")
    judge(({up: "1x10 0x380", build: "1x10 stale"}, [(180, "PresagedDown", [fires])]))


def test_presaged_stale(judge):
    name = f"presaged_last_sample_timestamp_seconds{{{HOST}}}"
    fires = own("PresagedStale", 30, {}, "presaged takes no samples")
    judge(
        ({name: "100+30x20 700x60"}, [(9, "PresagedStale", []), (30, "PresagedStale", [fires])]),
        ({name: "100+30x80"}, [(30, "PresagedStale", [])]),
        ({name: "100x8 400x9 700x9 1000x9 1300x9 1600x9"}, [(m, "PresagedStale", []) for m in (5, 15, 20, 25)]),  # slow
    )


def counters(sent, failed, dead="0x80"):
    labels = f'{{{HOST},sink="ops"}}'
    return {
        f"presaged_notifications_total{labels}": sent,
        f"presaged_notifications_failed_total{labels}": failed,
        f"presaged_notifications_dead_total{labels}": dead,
    }


def test_presaged_notify_failing(judge):
    name, text = (
        "PresagedNotifyFailing",
        "The sink ops refuses notifications, or some were given up: people are not told.",
    )
    fires = [
        own(name, minutes, {"sink": "ops"}, "notifications do not reach the sink ops", description=text)
        for minutes in (30, 35)
    ]
    judge(
        (counters("5x80", "0x10 0+1x70"), [(8, name, []), (30, name, fires[:1])]),
        (counters("5x80", "0x80", "0x30 1x50"), [(15, name, []), (35, name, fires[1:])]),
        (counters("5+1x80", "0+1x80"), [(30, name, [])]),  # it works, at the second attempt
        (counters("5x80", "0x10 1x70"), [(30, name, [])]),  # one attempt
        (counters("5x80", "0x80"), [(30, name, [])]),
    )


def test_presaged_outbox_stuck(judge):
    name, pending = "PresagedOutboxStuck", f"presaged_outbox_pending{{{HOST}}}"
    fires = own(name, 40, {}, "3 notifications wait and nothing moves")
    judge(
        ({pending: "0x10 3x80", **counters("5x90", "0x90")}, [(15, name, []), (40, name, [fires])]),
        ({pending: "0x10 3x80", **counters("5x90", "0+1x90")}, [(40, name, [])]),  # refused: another alert
        ({pending: "0x10 3x80", **counters("5+1x90", "0x90")}, [(40, name, [])]),  # on its way
        ({pending: "0x90", **counters("5x90", "0x90")}, [(40, name, [])]),
    )


def test_presaged_degraded(judge):
    name = "PresagedDegraded"
    disk, memory = (f'presaged_degraded{{{HOST},mode="{mode}"}}' for mode in ("disk", "memory"))
    fires = own(name, 30, {"mode": "disk"}, "presaged is short of disk")
    judge(
        ({disk: "0x10 1x90", memory: "0x100"}, [(15, name, []), (30, name, [fires])]),
        ({disk: "0x100", memory: "0x10 1x25 0x70"}, [(m, name, []) for m in (15, 20, 30)]),  # over in time
        ({disk: "0x100", memory: "0x100"}, [(45, name, [])]),
    )


def test_presaged_costly(judge):
    name, build = "PresagedCostly", {f'presaged_build_info{{{HOST},version="1",backend="jit"}}': "1x400"}
    cpu, resident = f"process_cpu_seconds_total{{{HOST}}}", f"process_resident_memory_bytes{{{HOST}}}"
    fires = own(name, 180, {}, "presaged takes more than a watcher should")
    usual = {cpu: "0+0.1x400", resident: "90000000x400"}
    judge(
        (build | usual | {cpu: "0+3x400"}, [(60, name, []), (180, name, [fires])]),  # 10 %
        (build | usual | {resident: "90000000x20 350000000x380"}, [(60, name, []), (180, name, [fires])]),
        (build | usual, [(180, name, [])]),
        (build | usual | {cpu: "0+0.1x100 70+0.1x299"}, [(m, name, []) for m in (60, 90, 120, 180)]),  # a minute of it
        (build | usual | {resident: "90000000x20 350000000x100 90000000x280"}, [(m, name, []) for m in (60, 69, 90)]),
        (usual | {cpu: "0+3x400"}, [(180, name, [])]),  # another program's
    )


def test_what_is_recorded(promtool):
    labels = f'{HOST},alertname="A",resource="/",severity='
    series = {
        f'presaged_alert_active{{{labels}"critical"}}': "1x20",
        f'presaged_alert_active{{{labels}"warning"}}': "1x20",
        f'presaged_alert_held{{{labels}"warning"}}': "1x20",
        f'presaged_capacity_exhaustion_probability_ratio{{{HOST},resource="/",within="7d"}}': "0.5x20",
        f'presaged_capacity_exhaustion_probability_ratio{{{HOST},resource="/",within="30d"}}': "0.9x20",
        f'presaged_capacity_exhaustion_probability_ratio{{{HOST},resource="/srv",within="7d"}}': "0.25x20",
        f'presaged_capacity_exhaustion_timestamp_seconds{{{HOST},resource="/",bound="median"}}': "7000x20",
        f'presaged_capacity_exhaustion_timestamp_seconds{{{HOST},resource="/srv",bound="median"}}': " ".join(
            ["+Inf"] * 20
        ),
        f'presaged_tick_seconds_bucket{{{HOST},le="0.5"}}': "0+1x20",
        f'presaged_tick_seconds_bucket{{{HOST},le="+Inf"}}': "0+1x20",
        f"process_cpu_seconds_total{{{HOST}}}": "0+3x20",
        'process_cpu_seconds_total{job="other",instance="x"}': "0+3x20",
        f'presaged_build_info{{{HOST},version="1"}}': "1x20",
    }
    recorded = {
        "instance:presaged_alerts:count": ("1", ', severity="critical"'),
        "instance:presaged_exhaustion_7d:max": ("0.5", ""),
        "instance:presaged_exhaustion_timestamp_seconds:min": ("7000", ""),
        "instance:presaged_tick_seconds:p95": ("0.475", ""),
        "instance:presaged_cpu:rate5m": ("0.1", ""),
        "instance:presaged_known:group": ("1", ""),
    }
    assert set(recorded) == {name for name, _ in RECORDS}
    document = {
        "rule_files": FILES[:1],
        "evaluation_interval": "30s",
        "tests": [
            {
                "interval": "30s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": name,
                        "eval_time": "8m",
                        "exp_samples": [{"labels": f"{name}{{{HOST}{more}}}", "value": float(value)}],
                    }
                    for name, (value, more) in recorded.items()
                ],
            }
        ],
    }
    promtool("test", "rules", document=document)


def test_every_alert_that_may_be_sent_has_a_rule_and_no_record_has():
    names = [rule["alert"] for group in yaml.safe_load(alerts(Places()))["groups"] for rule in group["rules"]]
    assert len(set(names)) == len(names)
    assert set(names) == {rule.alertname for rule in RULES.values() if rule.sent != "never"} | {
        "PresagedDown", "PresagedStale", "PresagedNotifyFailing", "PresagedOutboxStuck", "PresagedDegraded",
        "PresagedCostly",
    }  # fmt: skip


def test_links_lead_where_they_are_told_to():
    text = alerts(Places("https://grafana.example.org/", "https://docs.example.org/runbooks/"))
    for group in yaml.safe_load(text)["groups"]:
        for rule in group["rules"]:
            written = rule["annotations"]
            assert written["runbook_url"] == f"https://docs.example.org/runbooks/{rule['alert']}.md"
            assert written["dashboard"].startswith("https://grafana.example.org/d/presaged-")
