"""The job of the child that refines the capacity network by the past of this host.

Enters: what the daemon says (paths, resources, signals), history.db read-only. Leaves: the refined network in
`models/incoming/capacity`, or the reason why it is refused. It moves nothing among the models that serve.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from daemon.capacity.past import lived
from daemon.capacity.resources import Resource, ResourceKind
from daemon.errors import WorkerError
from daemon.history import History
from detectors.capacity import CapacityForecaster, load_forecaster, refined, save
from detectors.capacity_refinement import REFINING, refine
from detectors.findings import Unit
from detectors.learner import Progress
from detectors.network import Network

_READ, _LEARNING = 0.4, 0.6  # shares of the time after which each begins


def refine_network(spec: Mapping[str, Any], progress: Progress) -> dict[str, object]:
    """Refine the network in the folder `served`, "" = the shipped one, by what is in `history`.

    Returns `refused` ("" = it is refined), of how many `moments`, and the error at the newest ones.
    """
    shipped = _network(load_forecaster())
    served = _network(refined(Path(spec["served"]))) if spec["served"] else shipped
    own = lived(
        History(Path(spec["history"]), read_only=True),
        [_resource(*one) for one in spec["resources"]],
        np.array(spec["capacity"], np.float64),
        {str(name): int(number) for name, number in spec["signals"].items()},
        lambda share, text: progress(_READ * share, text),
        most=int(spec["moments"]),
    )
    if own is None:
        return {"refused": "history has nothing of which is known what came", "moments": 0}
    progress(_READ, "replaying simulated resources")
    learning, judging = spec["replayed"]
    alone, hosts = spec["chunk"]
    found = refine(
        served,
        own,
        replace(REFINING, epochs=int(spec["epochs"])),
        anchor=shipped,
        replayed=(learning, judging),
        chunk=(alone, hosts),
        progress=lambda epoch: progress(
            _LEARNING + (1 - _LEARNING) * epoch.number / epoch.epochs, "learning from both"
        ),
    )
    measured = {name: value for name in ("before", "after", "retention") if isfinite(value := getattr(found, name))}
    if not found.refused:
        save(Path(spec["incoming"]), found.network, measured)
    return {"refused": found.refused, "moments": len(own.seconds), "again": found.network is shipped, **measured}


def _resource(name: str, kind: str, unit: str, signals: list[str]) -> Resource:
    return Resource(name, ResourceKind(kind), Unit(unit), tuple(signals))


def _network(forecaster: CapacityForecaster) -> Network:
    """Return the network to begin with; one that cannot be read is none to learn from."""
    if forecaster.network is None:
        raise WorkerError(forecaster.problem)
    return forecaster.network
