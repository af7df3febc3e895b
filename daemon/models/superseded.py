"""A model whose features are not those of this program: it cannot be computed, and its successor has to win its place.

Enters: what the window teaches, a model without a network. Leaves: the same among the accepted models, on duty in the
place of the superseded one. What is trained next scores beside it for a day and is judged against it, as every
challenger is. The superseded model stays as its predecessor: whoever goes back to the program before finds it.
"""

from collections.abc import Sequence

from daemon.history import History
from daemon.models.triggers import Trigger
from detectors.anomaly import AnomalyModel
from detectors.registry import Manifest, ModelError, Registry, State, Version, read_manifest, save


def put_in_place(
    models: Registry, model: AnomalyModel, history: History, *, rows: int, interval_seconds: float, now_ms: int
) -> Manifest:
    """Accept `model`, learned from the newest `rows` samples, and let it serve. Blocks.

    Raises OSError, ModelError.
    """
    last = history.last()
    if last is None:
        raise ModelError("there are no samples")
    number, last_ms = last[0], last[1]
    name = f"{number:012d}"
    manifest = {
        "name": name,
        "number": number,
        "trained_ms": now_ms,
        "interval_seconds": interval_seconds,
        "samples": rows,
        "first_seq": number - rows + 1,
        "last_seq": number,
        "parent": models.pointed,
        "trigger": str(Trigger.SCHEMA),
        "first_ms": last_ms - round(rows * interval_seconds * 1000),
        "last_ms": last_ms,
    }
    save(models.incoming, model, manifest)
    models.accept(name, State.RETIRED, now_ms)
    models.promote(name, now_ms, "the features of the one before are not those of this version")
    return read_manifest(models.folder(name))


def wants_a_successor(model: AnomalyModel, manifest: Manifest, lineage: Sequence[Version]) -> bool:
    """Tell whether the champion stands in for a superseded model, and nothing was trained beside it yet."""
    stands_in = model.network is None and manifest.trigger == Trigger.SCHEMA
    return stands_in and not any(one.manifest and one.manifest.parent == manifest.name for one in lineage)
