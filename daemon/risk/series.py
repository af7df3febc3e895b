"""The metric families of the failure risk.

Enters: the state of the risk. Leaves: families for /metrics; without evidence none, for a 0 would be a claim.
"""

from collections.abc import Iterator

from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric

from daemon.risk.state import RiskState


def risk_families(state: RiskState) -> Iterator[Metric]:
    """Yield the families."""
    if state.hour is None or state.day is None:
        return
    chance = GaugeMetricFamily(
        "presaged_failure_probability_ratio", "Probability that this host fails within a time.", labels=("horizon",)
    )
    chance.add_metric(("1h",), state.hour.probability)
    chance.add_metric(("24h",), state.day.probability)
    yield chance
    evidence = InfoMetricFamily("presaged_failure_evidence", "What the failure probabilities rest on.")
    evidence.add_metric((), {"basis": state.basis})
    yield evidence
