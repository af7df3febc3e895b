import math
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from alerting.occurrence import Occurrence, State
from alerting.outbox import SinkCounts
from alerting.policy import Kept, Severity
from daemon.capacity.resources import Resource, ResourceKind
from daemon.capacity.state import Accuracy, CapacityState, Made, ResourceState
from daemon.collectors import CollectorContext, build_collectors
from daemon.config import Config
from daemon.metrics import CONTENT_TYPE, Metrics
from daemon.risk.state import RiskState
from daemon.sampler import Sampler
from daemon.signals import Kind, SignalSpec
from daemon.snapshot import AnomalyState, CollectorState, Snapshot
from detectors.exhaustion import Outlook
from detectors.failure import Estimate
from detectors.findings import Unit
from detectors.forecasts import HORIZONS

GOLDEN = Path(__file__).parent / "golden" / "metrics.txt"
T0 = 1_772_344_800_000


def occurrence(name, resource, state=State.FIRING, severity=Severity.PAGE):
    return Occurrence(
        id="01", fingerprint="f", alertname=name, network="host", resource=resource, severity=severity, state=state,
        started_ms=T0, fired_ms=T0, resolved_ms=None, score=None, threshold=None, detail="", sentence="",
        contributors=(),
    )  # fmt: skip


def spec(name, unit=Unit.RATIO):
    return SignalSpec(name, unit, Kind.GAUGE, "test")


VALUES = (
    (spec("cpu.busy"), 0.25),
    (spec("memory.available_bytes", Unit.BYTES), 2.0**33),
    (spec("network.eth0.receive_bytes_per_second", Unit.BYTES_PER_SECOND), 1234.5),
    (spec("kernel.forks_per_second", Unit.PER_SECOND), 3.0),
    (spec("latency.gateway_seconds", Unit.SECONDS), 0.0005),
    (spec("process.running_count", Unit.COUNT), 7.0),
    (spec("temperature.core_celsius", Unit.CELSIUS), 51.0),
    (spec("disk.gone.busy"), math.nan),
    (spec('filesystem."odd\\name"\n.used'), 0.5),
)

LEARNED = AnomalyState(
    shown=0.42, raw=1.5, threshold=2.75, network=0.125, contributions=(("cpu.busy", 0.75), ("disk.gone.busy", 0.25)),
    network_shares=(0.5, 0.25),
    episodes=3, learning="", model="000000002880", trained_ms=T0 - 86_400_000,
)  # fmt: skip
RISK = RiskState(hour=Estimate(0.25, 0.125, 0.5), day=Estimate(0.5, 0.25, 0.75), basis="calibrated on simulated hosts")
NOTHING = AnomalyState(None, None, None, None, (), (), 0, "learning: 1 of 60 samples", "", None)


def snapshot(**changes):
    parts = {
        "seq": 12,
        "time_ms": T0 + 500,
        "monotonic_ns": 7,
        "samples": 12,
        "values": VALUES,
        "collectors": (
            CollectorState("cpu", 0.002, "", absent=False),
            CollectorState("disk", 1.5, "did not answer", absent=False),
            CollectorState("temperature", 0.0, "no such thing", absent=True),
        ),
        "anomaly": LEARNED,
        "findings": (),
        "alerts": (
            occurrence("FilesystemReadOnly", "/srv"),
            occurrence("StoppedCollecting", "disk", State.PENDING),
            occurrence("Anomaly", "", severity=Severity.RECORD),
        ),
        "risk": RISK,
    }
    return Snapshot(**{**parts, **changes})


SINKS = {"ops": SinkCounts(sent=4, failed=2, dead=1, pending=3)}


@pytest.fixture
def metrics():
    return Metrics("1.2.3", lambda: "numpy", 200)


def families(text):
    return {family.name: family for family in text_string_to_metric_families(text)}


def series(text):
    return {line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}


def ours(text):
    """Without what only this process can say: `process_*` and durations."""
    blocks = text.split("# HELP ")
    return "".join(
        f"# HELP {block}"
        for block in blocks[1:]
        if not block.startswith(("process_", "python_", "presaged_tick_seconds", "presaged_inference_seconds"))
    )


def test_the_exposition_of_one_snapshot_is_the_golden_file(metrics):
    """Other programs parse it. After a change on purpose: PRESAGED_TEST_WRITE_GOLDEN=1, and look at the difference."""
    metrics.samples.inc(12)
    metrics.retrains.labels("anomaly", "first", "promoted").inc()
    metrics.jobs_skipped.labels("rollup").inc()
    metrics.publish(snapshot(), SINKS, (9, 1))
    got = ours(metrics.render().decode())
    if os.environ.get("PRESAGED_TEST_WRITE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(got)
    assert got == GOLDEN.read_text()


def test_promtool_finds_nothing_to_complain_about(metrics):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH: it comes with Prometheus, https://prometheus.io/download/")
    metrics.retrains.labels("anomaly", "first", "promoted").inc()
    metrics.job_failures.labels("train").inc()
    metrics.failures.labels("signal_table").inc()
    with metrics.inference_seconds.labels("anomaly").time():
        metrics.publish(snapshot(capacity=endangered(2)), SINKS)
    done = subprocess.run([promtool, "check", "metrics"], input=metrics.render(), capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_lint_wants_of_names_and_help(metrics):
    """The rules of `promtool check metrics` that can be told without it."""
    metrics.publish(snapshot(capacity=endangered(2)), SINKS)
    text = metrics.render().decode()
    for name, family in families(text).items():
        assert family.documentation, name
        assert not name.endswith(("_total", "_count", "_sum", "_bucket")), name
        if family.type == "counter":
            assert {sample.name for sample in family.samples} <= {f"{name}_total"}, name
        assert "_created" not in text
    assert CONTENT_TYPE.startswith("text/plain; version=")


def test_before_the_first_sample_there_is_no_value_that_was_not_measured(metrics):
    got = families(metrics.render().decode())
    assert "presaged_build" in got or "presaged_build_info" in got
    assert "presaged_last_sample_timestamp_seconds" not in got
    metrics.publish(snapshot(anomaly=NOTHING, risk=RiskState(), values=(), collectors=(), alerts=()), {})
    got = families(metrics.render().decode())
    assert "presaged_failure_probability_ratio" not in got
    assert "presaged_failure_evidence" not in got
    assert got["presaged_last_sample_timestamp_seconds"].samples[0].value == T0 / 1000 + 0.5
    for name in ("presaged_anomaly_score", "presaged_anomaly_raw_score", "presaged_model_trained_timestamp_seconds"):
        assert name not in got


def test_a_label_set_that_is_gone_leaves_no_series_and_counters_stay(metrics):
    metrics.retrains.labels("anomaly", "first", "failed").inc()
    metrics.samples.inc(5)
    metrics.publish(snapshot(), SINKS)
    before = series(metrics.render().decode())
    metrics.publish(snapshot(values=VALUES[:1], alerts=(), collectors=(), anomaly=NOTHING), SINKS)
    after = series(metrics.render().decode())
    gone = before - after
    for name in (
        'presaged_signal_bytes{signal="memory.available_bytes"}',
        'presaged_alert_active{alertname="FilesystemReadOnly",resource="/srv",severity="critical"}',
        'presaged_collector_success{collector="cpu"}',
        'presaged_anomaly_contribution_ratio{signal="cpu.busy"}',
    ):
        assert name in gone or _reordered(name, gone), name
    assert not any("_total" in name for name in gone)
    got = families(metrics.render().decode())
    assert got["presaged_samples"].samples[0].value == 5
    assert got["presaged_retrains"].samples[0].value == 1


def _reordered(name, found):
    head, _, labels = name.rstrip("}").partition("{")
    wanted = set(labels.split(","))
    return any(one.startswith(head + "{") and wanted == set(one[len(head) + 1 : -1].split(",")) for one in found)


def test_what_is_missing_absent_or_pending_is_not_exported(metrics):
    metrics.publish(snapshot(), SINKS)
    text = metrics.render().decode()
    assert 'signal="disk.gone.busy"} NaN' not in text
    got = families(text)
    assert {sample.labels["collector"]: sample.value for sample in got["presaged_collector_success"].samples} == {
        "cpu": 1.0,
        "disk": 0.0,
    }
    assert {sample.labels["alertname"] for sample in got["presaged_alert_active"].samples} == {
        "FilesystemReadOnly",
        "Anomaly",
    }


def test_an_alert_that_nobody_is_to_be_told_of_is_held_and_one_left_to_prometheus_is_not(metrics):
    alerts = [
        replace(occurrence("DiskHealth", "sda"), id="left"),
        replace(occurrence("UnitFailed", "a.service"), id="silenced"),
        replace(occurrence("Anomaly", "", severity=Severity.RECORD), id="kept", kept=Kept.RECORD),
        replace(occurrence("StoppedCollecting", "disk"), id="told", fired_ms=T0 + 1500),
    ]
    muted = {"left": "left to Prometheus", "silenced": "silenced by ana: left to rot"}
    metrics.publish(snapshot(alerts=tuple(alerts), muted=muted), SINKS)
    got = families(metrics.render().decode())
    held = {sample.labels["alertname"] for sample in got["presaged_alert_held"].samples}
    assert held == {"UnitFailed", "Anomaly"}
    fired = {
        sample.labels["alertname"]: sample.value for sample in got["presaged_alert_fired_timestamp_seconds"].samples
    }
    assert fired["StoppedCollecting"] == T0 / 1000 + 1.5
    assert len(fired) == len(got["presaged_alert_active"].samples) == 4


def test_names_that_need_it_are_escaped_and_come_back(metrics):
    metrics.publish(snapshot(), SINKS)
    ratios = families(metrics.render().decode())["presaged_signal_ratio"].samples
    assert 'filesystem."odd\\name"\n.used' in {sample.labels["signal"] for sample in ratios}


def test_signals_beyond_the_cap_are_counted_and_not_exported():
    metrics = Metrics("1", lambda: "numpy", 3)
    metrics.publish(snapshot(values=tuple((spec(f"s{number}"), 0.5) for number in range(10))), {})
    got = families(metrics.render().decode())
    assert len(got["presaged_signal_ratio"].samples) == 3
    assert got["presaged_signals"].samples[0].value == 10
    assert got["presaged_signals_not_exported"].samples[0].value == 7


def test_an_infinite_threshold_is_a_number_of_the_format(metrics):
    from dataclasses import replace  # noqa: PLC0415

    metrics.publish(snapshot(anomaly=replace(LEARNED, threshold=math.inf)), {})
    text = metrics.render().decode()
    assert "presaged_anomaly_raw_threshold +Inf" in text


def endangered(count):
    """Return so many resources of which everything is known."""
    horizons = tuple(
        Made(horizon, T0, 0, np.zeros(96), "", np.full((5, 12), 0.5), ("drift",), Accuracy(9, 0.5, 0.8, 0.95))
        for horizon in HORIZONS
    )
    outlook = Outlook((0.0, 0.1, 0.2, 0.3, 0.4), 1e6, 2e6, math.inf)
    states = [
        ResourceState(
            Resource(f"/m{n}", ResourceKind.STORAGE, Unit.BYTES, ("a", "b")),
            0.02,
            outlook,
            T0,
            "",
            outlook,
            (),
            horizons,
        )
        for n in range(count)
    ]
    return CapacityState(tuple(states), (0.5,) * count, (1.0,) * count)


def test_this_host_stays_within_three_hundred_series():
    defaults = Config().metrics
    metrics = Metrics("1.2.3", lambda: "numpy", defaults.signals, most_resources=defaults.resources)
    sampler = Sampler(build_collectors(CollectorContext()))
    try:
        sampler.collect(10**9)
        round_ = sampler.collect(31 * 10**9)
    finally:
        sampler.close()
    with metrics.inference_seconds.labels("anomaly").time(), metrics.tick_seconds.time():
        metrics.publish(
            snapshot(values=tuple(round_.measured), collectors=round_.states, capacity=endangered(9)), SINKS
        )
    for job in ("rollup", "housekeeping", "threshold", "forecast", "train"):
        metrics.jobs_skipped.labels(job)
        metrics.job_failures.labels(job)
    count = len(series(metrics.render().decode()))
    print(f"{count} series with {len(round_.measured)} signals")
    assert 60 < count <= 300
    full = tuple((spec(f"s{number}"), 0.5) for number in range(2000))
    metrics.publish(snapshot(values=full, collectors=round_.states, capacity=endangered(500)), SINKS)
    assert len(series(metrics.render().decode())) <= 300
