from dataclasses import replace

from daemon.models.series import model_families
from daemon.models.state import ModelsState, ModelState
from daemon.snapshot import AnomalyState

NOTHING = AnomalyState(
    shown=None, raw=None, threshold=None, network=None, contributions=(), network_shares=(), episodes=0, learning="",
    model="", trained_ms=None,
)  # fmt: skip


def exported(state, anomaly, capacity=None, failure=None):
    return {
        (family.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in model_families(state, anomaly, capacity, failure)
        for sample in family.samples
    }


def test_before_there_is_a_model_nothing_is_exported():
    assert exported(ModelsState(), NOTHING) == {}


def test_every_model_that_scores_and_what_is_measured_of_the_champion():
    state = ModelsState((ModelState("1", "predecessor", 3), ModelState("3", "shadow")), 0.4, 0.5, 0.97)
    found = exported(state, replace(NOTHING, model="2", trained_ms=5000), 0.6, 0.7)
    network = (("network", "anomaly"),)
    assert found == {
        ("presaged_model_trained_timestamp_seconds", network): 5.0,
        ("presaged_model", (*network, ("role", "predecessor"), ("version", "1"))): 1.0,
        ("presaged_model", (*network, ("role", "champion"), ("version", "2"))): 1.0,
        ("presaged_model", (*network, ("role", "shadow"), ("version", "3"))): 1.0,
        ("presaged_model_performance_ratio", network): 0.4,
        ("presaged_model_performance_ratio", (("network", "capacity"),)): 0.6,
        ("presaged_model_performance_ratio", (("network", "failure"),)): 0.7,
        ("presaged_model_retention_ratio", network): 0.97,
    }
