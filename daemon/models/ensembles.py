"""Who answers together: the simple methods and the networks beside them, with their weights.

Enters: the state of the models. Leaves: members and rules, from the constants that the detectors compute by. No network
decides alone here: each stands beside a method that works without it.
"""

from daemon.models.answers import EnsembleAnswer, EnsemblesAnswer, MemberAnswer
from detectors.anomaly import NETWORK_DECIDES, AnomalyModel
from detectors.capacity_inputs import SHARE, methods
from detectors.forecasters import BEST


def ensembles(model: AnomalyModel | None, taught: int) -> EnsemblesAnswer:
    """Return all of them: with the anomaly `model` on duty, and `taught` failures of this host learned from."""
    return EnsemblesAnswer(ensembles=[_anomaly(model), _capacity(), _failure(taught)])


def _anomaly(model: AnomalyModel | None) -> EnsembleAnswer:
    members = [] if model is None else [("aggregate", "power mean of the surprise of ten signals")]
    if model is not None and model.network is not None:
        members.append(("network", "256,128,64,32,1, trained on this host"))
    deciding = len(members) if NETWORK_DECIDES else 1
    return EnsembleAnswer(
        network="anomaly",
        rule="the mean of those that decide, each relative to its own quiet time; one of weight 0 runs beside them",
        members=[
            MemberAnswer(
                name=name,
                kind="network" if name == "network" else "method",
                weight=1 / deciding if place < deciding else 0.0,
                text=text,
            )
            for place, (name, text) in enumerate(members)
        ],
    )


def _capacity() -> EnsembleAnswer:
    return EnsembleAnswer(
        network="capacity",
        rule=f"of each resource the {BEST} methods that erred least lately, by 1/error², and the network's correction",
        members=[
            *(MemberAnswer(name=name, kind="method", weight=None, text="") for name in methods()),
            MemberAnswer(name="network", kind="network", weight=SHARE, text="share of its correction that is taken"),
        ],
    )


def _failure(taught: int) -> EnsembleAnswer:
    refined = f", refined by {taught} failures of this host" if taught else ""
    return EnsembleAnswer(
        network="failure",
        rule="the higher of the two, of each horizon and each bound",
        members=[
            MemberAnswer(name="factors", kind="network", weight=None, text=f"32 factors of the last day{refined}"),
            MemberAnswer(name="history", kind="network", weight=None, text="what has failed here, and when"),
        ],
    )
