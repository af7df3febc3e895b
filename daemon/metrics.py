"""Every Prometheus metric, declared once, rendered from one immutable snapshot.

Enters: snapshots and counts. Leaves: the text of /metrics. Label sets live in the snapshot, so one
that is gone leaves no series behind; only true counters and histograms accumulate here.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from alerting.mute import is_held
from alerting.occurrence import State
from alerting.outbox import SinkCounts
from alerting.policy import Severity
from daemon.capacity.series import capacity_families, capacity_performance
from daemon.degraded import Mode
from daemon.drift.series import drift_families
from daemon.models.series import model_families
from daemon.risk.series import risk_families
from daemon.snapshot import Snapshot
from detectors.findings import FailureKind, Unit

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST

_SIGNAL_METRICS = {
    Unit.RATIO: ("presaged_signal_ratio", "Value of a signal, 0 to 1 (a load per processor may exceed it)."),
    Unit.BYTES: ("presaged_signal_bytes", "Value of a signal in bytes."),
    Unit.BYTES_PER_SECOND: ("presaged_signal_bytes_per_second", "Value of a signal in bytes a second."),
    Unit.PER_SECOND: ("presaged_signal_per_second", "Value of a signal in events a second."),
    Unit.SECONDS: ("presaged_signal_seconds", "Value of a signal in seconds."),
    Unit.COUNT: ("presaged_signal_quantity", "Value of a signal that counts things."),
    Unit.CELSIUS: ("presaged_signal_celsius", "Value of a signal in degrees Celsius."),
}

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # ships no annotation


class Metrics:
    """The registry of this process. `publish` hands it the newest snapshot; `render` is called by the server."""

    def __init__(
        self,
        version: str,
        backend: Callable[[], str],
        most_signals: int,
        *,
        most_resources: int = 5,
        resets: Callable[[], int] = lambda: 0,
        degraded: Callable[[], Collection[Mode]] = lambda: (),
    ) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self.samples = Counter("presaged_samples", "Samples taken.", registry=self._registry)
        self.ticks_missed = Counter(
            "presaged_ticks_missed",
            "Ticks that were skipped because the one before took too long.",
            registry=self._registry,
        )
        self.early_ticks = Counter(
            "presaged_early_ticks", "Samples taken early because of pressure.", registry=self._registry
        )
        self.tick_seconds = Histogram(
            "presaged_tick_seconds",
            "Duration of a tick, from the first collector to the stored alert.",
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
            registry=self._registry,
        )
        self.inference_seconds = Histogram(
            "presaged_inference_seconds",
            "Duration of scoring one sample.",
            ("network",),
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25),
            registry=self._registry,
        )
        self.store_failures = Counter(
            "presaged_store_failures", "Samples that could not be stored.", registry=self._registry
        )
        self.jobs_skipped = Counter(
            "presaged_jobs_skipped", "Scheduled runs that did not happen.", ("job",), registry=self._registry
        )
        self.job_failures = Counter(
            "presaged_job_failures", "Scheduled runs that failed.", ("job",), registry=self._registry
        )
        self.backend_failures = Counter(
            "presaged_backend_failures", "Times that a compute back end could not serve.", registry=self._registry
        )
        self.retrains = Counter(
            "presaged_retrains",
            "Trainings by what started them and how they ended.",
            ("network", "trigger", "outcome"),
            registry=self._registry,
        )
        self.model_failures = Counter(
            "presaged_model_failures", "Model files that were refused.", registry=self._registry
        )
        self.failures = Counter(
            "presaged_internal_failures",
            "Failures inside the daemon that it survived, by where.",
            ("where",),
            registry=self._registry,
        )
        self.failure_events = Counter(
            "presaged_failure_events", "Failures of the host that were recorded.", ("kind",), registry=self._registry
        )
        for kind in FailureKind:  # a kind that has not come yet is 0, or the first of it would be no increase
            self.failure_events.labels(kind.value)
        self._snapshots = _SnapshotCollector(
            version, backend, most_signals, most_resources, resets=resets, degraded=degraded
        )
        self._registry.register(self._snapshots)
        ProcessCollector(registry=self._registry)

    def publish(
        self, snapshot: Snapshot, sinks: Mapping[str, SinkCounts], heartbeats: tuple[int, int] | None = None
    ) -> None:
        """Serve `snapshot`, `sinks`, and how many heartbeats were sent and failed, from now on."""
        self._snapshots.current = (snapshot, sinks, heartbeats)

    def render(self) -> bytes:
        """Return the exposition in the text format."""
        return generate_latest(self._registry)


class _SnapshotCollector(Collector):
    """Turns the current snapshot into metric families. Reads nothing else, so a scrape sees one moment."""

    def __init__(
        self,
        version: str,
        backend: Callable[[], str],
        most_signals: int,
        most_resources: int,
        *,
        resets: Callable[[], int],
        degraded: Callable[[], Collection[Mode]],
    ) -> None:
        self._degraded = degraded
        self._version = version
        self._backend = backend
        self._resets = resets
        self._most_signals = most_signals
        self._most_resources = most_resources
        self.current: tuple[Snapshot, Mapping[str, SinkCounts], tuple[int, int] | None] | None = None

    def collect(self) -> Iterable[Metric]:
        build = InfoMetricFamily("presaged_build", "Version of presaged and the back end that computes.")
        build.add_metric((), {"version": self._version, "backend": self._backend()})
        yield build
        yield _counter("presaged_database_resets", "Times that a corrupt history was set aside.", self._resets())
        degraded = GaugeMetricFamily(
            "presaged_degraded", "1 while there is no room for it, and something is done without.", labels=("mode",)
        )
        modes = self._degraded()
        for mode in Mode:
            degraded.add_metric((mode.value,), float(mode in modes))
        yield degraded
        if self.current is None:
            return
        snapshot, sinks, heartbeats = self.current
        yield _gauge(
            "presaged_last_sample_timestamp_seconds", "When the last sample was taken.", snapshot.time_ms / 1e3
        )
        yield from self._signals(snapshot)
        yield from _anomaly(snapshot)
        forecasts, failures = capacity_performance(snapshot.capacity), snapshot.risk.grade.performance
        yield from model_families(snapshot.models, snapshot.anomaly, forecasts, failures)
        yield from capacity_families(snapshot.capacity, snapshot.time_ms, self._most_resources)
        yield from risk_families(snapshot.risk)
        yield from drift_families(snapshot.drift)
        yield from _collectors(snapshot)
        yield from _alerts(snapshot)
        yield _gauge("presaged_alerts_muted", "Alerts that fire and are not told now.", len(snapshot.muted))
        yield from _notifications(sinks)
        if heartbeats is not None:
            yield _counter("presaged_heartbeats", "Signs of life that were taken.", heartbeats[0])
            yield _counter("presaged_heartbeats_failed", "Signs of life that were not taken.", heartbeats[1])

    def _signals(self, snapshot: Snapshot) -> Iterable[Metric]:
        present = [(spec, value) for spec, value in snapshot.values if not math.isnan(value)]
        families: dict[Unit, GaugeMetricFamily] = {}
        for spec, value in present[: self._most_signals]:
            if spec.unit not in families:
                name, text = _SIGNAL_METRICS[spec.unit]
                families[spec.unit] = GaugeMetricFamily(name, text, labels=("signal",))
            families[spec.unit].add_metric((spec.name,), value)
        yield from families.values()
        yield _gauge("presaged_signals", "Signals that are known.", len(snapshot.values))
        hidden = max(0, len(present) - self._most_signals)
        yield _gauge("presaged_signals_not_exported", "Signals beyond [metrics] signals, watched all the same.", hidden)


def _anomaly(snapshot: Snapshot) -> Iterable[Metric]:
    state = snapshot.anomaly
    yield _counter("presaged_anomaly_episodes", "Episodes of anomaly recorded.", state.episodes)
    if state.shown is None or state.raw is None or state.threshold is None:
        return
    yield _gauge(
        "presaged_anomaly_score",
        "How unusual the host is, 0 to 1; the threshold is [anomaly] score_threshold.",
        state.shown,
    )
    yield _gauge("presaged_anomaly_raw_score", "The score before it is mapped to 0..1; decides.", state.raw)
    yield _gauge("presaged_anomaly_raw_threshold", "The raw score above which the host is unusual.", state.threshold)
    if state.network is not None:
        yield _gauge(
            "presaged_anomaly_network_ratio",
            "The network's own score; shown, decides nothing yet.",
            state.network,
        )
    share = GaugeMetricFamily(
        "presaged_anomaly_contribution_ratio", "Share of the score by signal, the top five.", labels=("signal",)
    )
    for signal, value in state.contributions:
        share.add_metric((signal,), value)
    yield share


def _collectors(snapshot: Snapshot) -> Iterable[Metric]:
    success = GaugeMetricFamily(
        "presaged_collector_success",
        "1 when a source could be read; none for one that the host has not.",
        labels=("collector",),
    )
    seconds = GaugeMetricFamily("presaged_collector_seconds", "How long a source took.", labels=("collector",))
    for state in snapshot.collectors:
        if not state.absent:
            success.add_metric((state.name,), 0.0 if state.problem else 1.0)
            seconds.add_metric((state.name,), state.seconds)
    yield success
    yield seconds


def _alerts(snapshot: Snapshot) -> Iterable[Metric]:
    labels = ("alertname", "severity", "resource")
    active = GaugeMetricFamily("presaged_alert_active", "1 while an alert fires.", labels=labels)
    fired = GaugeMetricFamily(
        "presaged_alert_fired_timestamp_seconds", "When an alert that fires began to.", labels=labels
    )
    held = GaugeMetricFamily(
        "presaged_alert_held",
        "1 for an alert that fires and is not to be told now: a record, silenced, in maintenance, or explained.",
        labels=labels,
    )
    for alert in snapshot.alerts:
        if alert.state is State.FIRING:
            named = (alert.alertname, Severity(alert.severity).value, alert.resource)
            active.add_metric(named, 1.0)
            fired.add_metric(named, (alert.fired_ms or alert.started_ms) / 1e3)
            if is_held(alert, snapshot.muted):
                held.add_metric(named, 1.0)
    yield from (active, fired, held)


def _notifications(sinks: Mapping[str, SinkCounts]) -> Iterable[Metric]:
    sent = CounterMetricFamily("presaged_notifications", "Notifications accepted by a sink.", labels=("sink",))
    failed = CounterMetricFamily(
        "presaged_notifications_failed", "Attempts that a sink did not accept.", labels=("sink",)
    )
    dead = CounterMetricFamily("presaged_notifications_dead", "Notifications given up.", labels=("sink",))
    dropped = CounterMetricFamily(
        "presaged_notifications_dropped", "Notifications that made room for others.", labels=("sink",)
    )
    for name, counts in sinks.items():
        dropped.add_metric((name,), counts.dropped)
        sent.add_metric((name,), counts.sent)
        failed.add_metric((name,), counts.failed)
        dead.add_metric((name,), counts.dead)
    yield sent
    yield failed
    yield dead
    yield dropped
    waiting = sum(counts.pending for counts in sinks.values())
    yield _gauge("presaged_outbox_pending", "Notifications that wait for delivery.", waiting)


def _gauge(name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, text)
    family.add_metric((), value)
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    family = CounterMetricFamily(name, text)
    family.add_metric((), value)
    return family
