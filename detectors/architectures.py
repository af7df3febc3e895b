"""The catalogue of networks: shapes with the training that suits them, and networks made from it.

`create_network("anomaly", architecture={"dropout": 0.1})` changes one setting and keeps the rest; a
name that does not exist is refused with the nearest that does. Overrides come as plain values, so
that a configuration file can hold them.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from types import MappingProxyType
from typing import TypeVar

from detectors.anomaly import ARCHITECTURE
from detectors.kernels import NUMPY, Activation, Backend
from detectors.losses import Loss, LossName
from detectors.network import Network
from detectors.optimizers import OPTIMIZERS, Adam, AdamW
from detectors.parameters import Architecture, Initialisation
from detectors.schedules import SCHEDULES, Cosine
from detectors.trainer import Settings

T = TypeVar("T")
_KINDS: Mapping[str, Mapping[str, type]] = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}


@dataclass(frozen=True, slots=True)
class Entry:
    """One network of the catalogue: its shape, and how it is trained unless told otherwise."""

    architecture: Architecture
    training: Settings


def _classifier(*sizes: int, output: Activation, hidden: Activation = Activation.RELU) -> Entry:
    """One class of many is softmax; many labels at once are sigmoid."""
    one_of_many = output is Activation.SOFTMAX
    return Entry(
        Architecture(sizes, hidden, output, dropout=0.1),
        Settings(
            loss=Loss(LossName.CROSS_ENTROPY if one_of_many else LossName.BCE),
            optimizer=AdamW(),
            schedule=Cosine(warm_up=1),
            epochs=30,
            batch=64,
            clip=1.0,
            validation=0.1,
            patience=5,
        ),
    )


_BINARY = Loss(LossName.BCE)
_SOFTMAX, _SIGMOID = Activation.SOFTMAX, Activation.SIGMOID

CATALOGUE: Mapping[str, Entry] = MappingProxyType(
    {
        # the daemon's own: nothing in their training that a back end's kernel cannot do
        "anomaly": Entry(
            ARCHITECTURE,
            Settings(loss=_BINARY, optimizer=Adam(), schedule=Cosine(), epochs=6, batch=256),
        ),
        "capacity": Entry(
            Architecture((384, 192, 96, 48, 12)),
            Settings(schedule=Cosine(warm_up=1), epochs=20, batch=64, validation=0.1, patience=4),
        ),
        "failure": Entry(
            Architecture((512, 256, 128, 64, 2), Activation.RELU, _SIGMOID),
            Settings(loss=_BINARY, optimizer=AdamW(), epochs=20, batch=64, validation=0.1, patience=4),
        ),
        "load_predictor": Entry(
            Architecture((128, 64, 32, 16, 8), Activation.TANH, initialisation=Initialisation.XAVIER),
            Settings(epochs=30, validation=0.1, patience=5),
        ),
        "classifier_16": _classifier(256, 128, 64, 32, 16, output=_SOFTMAX),
        "classifier_32": _classifier(512, 256, 128, 64, 32, output=_SIGMOID),
        "classifier_20": _classifier(768, 384, 192, 96, 20, output=_SOFTMAX, hidden=Activation.LEAKY_RELU),
        "classifier_48": _classifier(768, 384, 192, 96, 48, output=_SIGMOID, hidden=Activation.LEAKY_RELU),
        "classifier_10": _classifier(1024, 512, 256, 128, 10, output=_SOFTMAX),
        "classifier_5": _classifier(1024, 512, 256, 128, 5, output=_SOFTMAX, hidden=Activation.LEAKY_RELU),
    }
)


def configure(name: str, **overrides: object) -> Entry:
    """Return the entry `name` with `overrides` merged into it at every depth.

    `configure("failure", training={"optimizer": {"name": "sgd", "momentum": 0.8}})`: a mapping
    goes into the settings of that name; "name" chooses another kind, which begins with its own
    defaults. Raises ValueError for an unknown name, with the nearest, and for values that do not fit.
    """
    if name not in CATALOGUE:
        raise ValueError(_unknown("network", name, CATALOGUE))
    return _merged(CATALOGUE[name], overrides, "")


def create_network(name: str, *, seed: int = 0, backend: Backend = NUMPY, **overrides: object) -> Network:
    """Return a new network of the entry `name` with `overrides`, as `configure` takes them."""
    return Network(configure(name, **overrides).architecture, seed=seed, backend=backend)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"no {what} is called {name!r}: the nearest is {near[0]!r}; there are {', '.join(known)}"


def _merged(base: T, overrides: Mapping[str, object], path: str) -> T:
    assert is_dataclass(base) and not isinstance(base, type)  # noqa: S101, PT018 - the callers hold only these
    names = [field.name for field in fields(base)]
    changes: dict[str, object] = {}
    for key, value in overrides.items():
        place = f"{path}.{key}" if path else key
        if key not in names:
            raise ValueError(f"{place}: {_unknown('setting', key, names)}")
        current = getattr(base, key)
        if not is_dataclass(current):
            changes[key] = tuple(value) if isinstance(value, list) else value
        elif isinstance(value, Mapping):
            changes[key] = _merged(*_kind(key, current, value, place), place)
        elif is_dataclass(value):
            changes[key] = value
        else:
            raise ValueError(f"{place}: settings come as a table, not as {value!r}")
    try:
        return replace(base, **changes)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path or 'overrides'}: {error}") from error


def _kind(key: str, current: object, value: Mapping[str, object], place: str) -> tuple[object, Mapping[str, object]]:
    """Return what `value` goes into, and what is left of it, once its "name" has chosen the kind."""
    kinds = _KINDS.get(key)
    if kinds is None or "name" not in value:
        return current, value
    name = str(value["name"])
    if name not in kinds:
        raise ValueError(f"{place}: {_unknown(key, name, kinds)}")
    rest = {other: setting for other, setting in value.items() if other != "name"}
    return (current if type(current) is kinds[name] else kinds[name]()), rest
