"""The models as Prometheus metrics.

Enters: their state, and the name and age of the one on duty. Leaves: metric families.
"""

from collections.abc import Iterable

from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric

from daemon.models.state import ModelsState
from daemon.snapshot import AnomalyState

_NETWORK = "anomaly"


def model_families(
    state: ModelsState, anomaly: AnomalyState, capacity: float | None = None, failure: float | None = None
) -> Iterable[Metric]:
    """Yield what is known; nothing before there is a model. `capacity`, `failure`: how well what was told came true."""
    if anomaly.trained_ms is not None:
        yield _gauge(
            "presaged_model_trained_timestamp_seconds", "When the model on duty was trained.", anomaly.trained_ms / 1e3
        )
    scoring = {one.name: one.role for one in state.models}
    if anomaly.trained_ms is not None:
        scoring[anomaly.model] = "champion"
    if scoring:
        text = "The models that score: the one on duty, and those beside it."
        info = InfoMetricFamily("presaged_model", text, labels=("network", "version", "role"))
        for name, role in sorted(scoring.items()):
            info.add_metric((_NETWORK, name, role), {})
        yield info
    measured = {_NETWORK: state.performance, "capacity": capacity, "failure": failure}
    if any(value is not None for value in measured.values()):
        family = GaugeMetricFamily(
            "presaged_model_performance_ratio",
            "Anomaly: share of the strengths of injected faults that it notices. Capacity: 1 / (1 + MASE). "
            "Failure: 1 / (1 + Brier score / that of the base rate).",
            labels=("network",),
        )
        for network, value in measured.items():
            if value is not None:
                family.add_metric((network,), value)
        yield family
    if state.retention is not None:
        yield _gauge(
            "presaged_model_retention_ratio",
            "What the model on duty notices in earlier rows, of what its predecessor did.",
            state.retention,
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, text, labels=("network",))
    family.add_metric((_NETWORK,), value)
    return family
