"""Model files: arrays and what is known of them, written complete or not at all, read with doubt.

A model is a folder: `model.safetensors` holds the arrays, `manifest.json` the rest, with the hash of
the arrays' file and a digest of itself. No pickle: safetensors holds numbers only. Whatever is
truncated, altered or foreign raises `ModelError` with the reason, and nothing else.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse_arrays
from safetensors.numpy import save as format_arrays

from detectors.network import Float32, Network
from detectors.parameters import Architecture

ARRAYS = "model.safetensors"
MANIFEST = "manifest.json"

_MARKS = {"format": 1, "network": "network"}
_WHAT = "a network of format 1"
_HASH, _DIGEST = "sha256", "manifest_sha256"

Arrays = Mapping[str, NDArray[np.generic]]
Record = Mapping[str, object]


class ModelError(Exception):
    """A model file is truncated, altered or foreign: which, and why."""


@lru_cache(maxsize=32)  # a Path puts its names into Python's table of strings: the same one each time does not grow it
def _partial(name: str) -> str:
    return f".{name}.partial"


def write(folder: Path, name: str, arrays: Arrays, record: Record) -> Path:
    """Write `arrays` and `record` (what JSON can hold) as `folder`/`name`, replacing what has that name.

    Raises OSError when the disk refuses.
    """
    partial = folder / _partial(name)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    numbers = format_arrays({key: np.ascontiguousarray(value) for key, value in arrays.items()})
    (partial / ARRAYS).write_bytes(numbers)
    whole = {**record, _DIGEST: _digest(record), _HASH: hashlib.sha256(numbers).hexdigest()}
    (partial / MANIFEST).write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    for written in (partial / ARRAYS, partial / MANIFEST, partial):
        sync(written)
    target = folder / name
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    sync(folder)
    return target


def read_record(folder: Path, what: str, marks: Record) -> dict[str, object]:
    """Return the manifest of the model in `folder`, which must hold `marks`. Raises ModelError: "not `what`".

    A manifest of before digests were written has none, and is taken without.
    """
    file = folder / MANIFEST
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder}: unreadable manifest: {type(error).__name__}: {error}") from error
    if not isinstance(record, dict) or any(record.get(key) != value for key, value in marks.items()):
        raise ModelError(f"{folder}: not {what}")
    if _DIGEST in record and record[_DIGEST] != _digest(record):
        raise ModelError(f"{file}: altered: its digest is not its own")
    return record


def read_arrays(folder: Path, record: Record) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of the model in `folder` whose manifest is `record`. Raises ModelError."""
    file = folder / ARRAYS
    try:
        numbers = file.read_bytes()
        if hashlib.sha256(numbers).hexdigest() != record[_HASH]:
            raise ModelError(f"{file}: truncated or altered: its hash is not the manifest's")
        return cast("dict[str, NDArray[np.generic]]", parse_arrays(numbers))
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{file}: {type(error).__name__}: {error}") from error


def sync(path: Path) -> None:
    """Have the disk keep what was written to a file, or which names a folder holds. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(record: Record) -> str:
    """Hash what a manifest says; the arrays' hash is left out, for the arrays themselves vouch for it."""
    told = {key: value for key, value in record.items() if key not in (_DIGEST, _HASH)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a network beside its numbers.

    `signals` and `features` name the inputs it was trained on (a schema each), `centre` and `scale` (I,)
    normalise them: (x - centre) / scale. `parent`: the name of the model it came from, "" for none.
    `first_ms`, `last_ms`: the range of its data, UTC. `metrics`: measured qualities by name.
    """

    signals: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    centre: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    parent: str = ""
    first_ms: int = 0
    last_ms: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)


def save_network(folder: Path, name: str, network: Network, card: Card) -> Path:
    """Write `network` with its card as `folder`/`name`. Raises OSError."""
    architecture = asdict(network.architecture)
    architecture["hidden"] = [activation.name.lower() for activation in network.architecture.activations[:-1]]
    architecture["output"] = network.architecture.output.name.lower()
    record = {**_MARKS, "architecture": architecture, **asdict(card)}
    return write(folder, name, {"parameters": network.parameters}, record)


def load_network(folder: Path) -> tuple[Network, Card]:
    """Read a network, bit for bit, and its card. Raises ModelError with the reason."""
    record = read_record(folder, _WHAT, _MARKS)
    if _DIGEST not in record:
        raise ModelError(f"{folder}: altered: the manifest has lost its digest")
    try:
        described = cast("Mapping[str, object]", record["architecture"])
        architecture = Architecture(**{key: _plain(value) for key, value in described.items()})  # type: ignore[arg-type]
        card = Card(**{known.name: _plain(record[known.name]) for known in fields(Card)})  # type: ignore[arg-type]
        parameters = read_arrays(folder, record)["parameters"]
        return network_of(architecture, parameters), card
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder}: {type(error).__name__}: {error}") from error


def network_of(architecture: Architecture, parameters: NDArray[np.generic]) -> Network:
    """Return the network of these parameters (count,). Raises ValueError unless they fit and are finite."""
    network = Network(architecture, cast("Float32", parameters))
    if not np.isfinite(network.parameters).all():
        raise ValueError("the network holds values that are not finite")
    return network


def _plain(value: object) -> object:
    """JSON knows no tuples."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
