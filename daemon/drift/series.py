"""The metric families of drift.

Enters: the state of the last check. Leaves: families for /metrics; where too little is known none, for a 0 would be a
claim.
"""

from collections.abc import Iterator

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from daemon.drift.state import DriftState


def drift_families(state: DriftState) -> Iterator[Metric]:
    """Yield the families; of signals only those that drifted, the farthest 20."""
    yield from _of_networks(state)
    if state.score is None:
        return
    score = GaugeMetricFamily(
        "presaged_drift_score_ratio", "Share of the signals that no longer follow the days that were learned from."
    )
    score.add_metric((), state.score)
    yield score
    detected = GaugeMetricFamily("presaged_drift_detected", "1 for a signal that drifted.", labels=("signal",))
    for one in state.examples:
        detected.add_metric((one.signal,), 1.0)
    if state.examples:
        yield detected


def _of_networks(state: DriftState) -> Iterator[Metric]:
    """Yield what drifted of each network's inputs and outputs, where enough of them is judged."""
    inputs = GaugeMetricFamily(
        "presaged_drift_inputs_ratio", "Share of what a network is made of that drifted.", labels=("network",)
    )
    outputs = GaugeMetricFamily(
        "presaged_drift_outputs_ratio", "Share of what a network answers that drifted.", labels=("network",)
    )
    for one in state.networks:
        for family, share in ((inputs, one.inputs), (outputs, one.outputs)):
            if share is not None:
                family.add_metric((one.network,), share)
    yield from (family for family in (inputs, outputs) if family.samples)
