"""Model files: written atomically, read with doubt, and the pointer to the one that serves.

Layout below the models' folder: `incoming/NAME/` is where the child writes, `anomaly/NAME/` holds
what was accepted (`model.safetensors`, `manifest.json`), `anomaly/champion` names the one that
serves. Only the daemon moves the pointer, by one rename. No pickle: safetensors holds numbers only.
"""

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detectors.anomaly import SCORE_SCALES, AnomalyModel, Scale
from detectors.architectures import CATALOGUE
from detectors.features import FEATURES, HOURS, Context
from detectors.model_file import ARRAYS, ModelError, network_of, read_arrays, read_record, sync, write

__all__ = ["FORMAT", "Manifest", "ModelError", "Registry", "load", "read_manifest", "save"]

FORMAT = 3  # 3: noise and tails of the signals; 2: range for flat, season by what it foretells, scales of both parts
_NETWORK = "anomaly"
_MARKS = {"format": FORMAT, "network": _NETWORK}
_WHAT = f"an {_NETWORK} model of format {FORMAT}"
_KEEP = 3  # versions beside the champion


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a model without reading its arrays. Times are UTC milliseconds."""

    name: str
    number: int
    trained_ms: int
    interval_seconds: float
    samples: int
    first_seq: int
    last_seq: int
    sha256: str


def save(folder: Path, model: AnomalyModel, manifest: Mapping[str, object]) -> Path:
    """Write `model` as `folder`/NAME, complete or not at all; `manifest` has the keys of Manifest without the hash.

    Raises OSError when the disk refuses.
    """
    arrays: dict[str, Any] = {f"context.{key}": value for key, value in model.context.arrays().items()}
    arrays["signal_ids"] = np.array(model.signal_ids, np.int64)
    arrays["quiet_scores"] = model.quiet_scores
    arrays["tails"] = model.tails
    arrays["scales.quiet"] = np.array([(scale.median, scale.high) for scale in model.scales])
    arrays["scales.means"] = np.array([scale.means for scale in model.scales])
    if model.network is not None:
        arrays["network"] = model.network.parameters
    return write(folder, str(manifest["name"]), arrays, {**_MARKS, **manifest})


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of the model in `folder`. Raises ModelError."""
    return _manifest(folder, read_record(folder, _WHAT, _MARKS))


def _manifest(folder: Path, record: Mapping[str, Any]) -> Manifest:
    try:
        return Manifest(**{key: kind(record[key]) for key, kind in Manifest.__annotations__.items()})
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ModelError(f"{folder}: unreadable manifest: {type(error).__name__}: {error}") from error


def load(folder: Path) -> tuple[AnomalyModel, Manifest]:
    """Read a model and check hash, shapes and finiteness. Raises ModelError with the reason."""
    record = read_record(folder, _WHAT, _MARKS)
    manifest = _manifest(folder, record)
    arrays: dict[str, Any] = dict(read_arrays(folder, record))
    file = folder / ARRAYS
    try:
        context = Context(**{key[8:]: value for key, value in arrays.items() if key.startswith("context.")})
        parameters = arrays.get("network")
        quiet, means = arrays["scales.quiet"].tolist(), arrays["scales.means"].tolist()
        model = AnomalyModel(
            signal_ids=tuple(int(signal) for signal in arrays["signal_ids"]),
            context=context,
            network=None if parameters is None else network_of(CATALOGUE["anomaly"].architecture, parameters),
            scales=tuple(Scale(low, high, tuple(row)) for (low, high), row in zip(quiet, means, strict=True)),
            quiet_scores=arrays["quiet_scores"],
            tails=arrays["tails"],
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelError(f"{file}: {type(error).__name__}: {error}") from error
    _check(file, model)
    return model, manifest


def _check(file: Path, model: AnomalyModel) -> None:
    arrays = model.context.arrays()
    signals, factors = len(model.signal_ids), arrays["loadings"].shape[-1] if arrays["loadings"].ndim else 0
    shapes = {
        **dict.fromkeys(("centre", "scale", "noise"), (len(FEATURES), signals)),
        "season": (HOURS, signals),
        "loadings": (signals, factors),
        "cross": (factors, signals),
    }
    for key, array in arrays.items():
        expected = shapes.get(key, (signals,))
        if array.shape != expected or array.dtype != np.float64:
            raise ModelError(f"{file}: {key} is {array.dtype} {array.shape}, not float64 {expected}")
        unknown = np.isnan(array) if key == "season" else False  # an hour that was never seen
        if not (np.isfinite(array) | unknown).all():
            raise ModelError(f"{file}: {key} holds values that are not finite")
    if not ((model.context.scale > 0).all() and (model.context.noise >= 1).all()):
        raise ModelError(f"{file}: scale holds values that are not above zero, or noise below one")
    if model.tails.shape != (signals,) or not (np.isfinite(model.tails) & (model.tails >= 0)).all():
        raise ModelError(f"{file}: the tails {model.tails} are not usable")
    if len(set(model.signal_ids)) != signals:
        raise ModelError(f"{file}: a signal comes twice")
    quiet = np.array([(scale.median, scale.high) for scale in model.scales])
    means = np.array([scale.means for scale in model.scales])
    parts = 1 if model.network is None else 2
    if means.shape != (parts, SCORE_SCALES) or not (np.isfinite(quiet).all() and np.isfinite(means).all()):
        raise ModelError(f"{file}: the scales {model.scales} are not usable")
    if not ((quiet[:, 0] < quiet[:, 1]).all() and (means > 0).all()):
        raise ModelError(f"{file}: the scales {model.scales} are not usable")
    if model.quiet_scores.ndim != 1 or not np.isfinite(model.quiet_scores).all():
        raise ModelError(f"{file}: the scores of quiet time are not finite")


class Registry:
    """The models below one folder, and which of them serves."""

    def __init__(self, directory: Path) -> None:
        self.incoming = directory / "incoming"
        self._accepted = directory / _NETWORK
        self._pointer = self._accepted / "champion"

    def prepare(self) -> None:
        """Make the folders and clear away what a killed child left."""
        self.incoming.mkdir(parents=True, exist_ok=True)
        self._accepted.mkdir(parents=True, exist_ok=True)
        for left in self.incoming.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    def versions(self) -> list[Path]:
        """Return the folders of all accepted models, newest first."""
        folders = [path for path in self._accepted.iterdir() if path.is_dir() and not path.name.startswith(".")]
        return sorted(folders, reverse=True)

    def champion(self) -> tuple[AnomalyModel | None, Manifest | None, list[str]]:
        """Return the model that serves, and why better ones do not: the champion, else the newest that is whole."""
        refused: list[str] = []
        candidates = self.versions()
        with contextlib.suppress(OSError, UnicodeDecodeError):
            named = self._accepted / self._pointer.read_text(encoding="utf-8").strip()
            candidates = [named, *(path for path in candidates if path != named)]
        for folder in candidates:
            try:
                return *load(folder), refused
            except ModelError as error:
                refused.append(str(error))
        return None, None, refused

    def accept(self, name: str) -> Path:
        """Move `incoming/NAME` among the accepted models. Raises OSError, ModelError when it is not whole."""
        load(self.incoming / name)
        target = self._accepted / name
        shutil.rmtree(target, ignore_errors=True)
        (self.incoming / name).rename(target)
        sync(self._accepted)
        return target

    def promote(self, name: str) -> None:
        """Make `name` the champion by one atomic rename, and drop the oldest others."""
        partial = self._pointer.with_name(".champion.partial")
        partial.write_text(name + "\n", encoding="utf-8")
        sync(partial)
        partial.replace(self._pointer)
        sync(self._accepted)
        for old in [path for path in self.versions() if path.name != name][_KEEP:]:
            shutil.rmtree(old, ignore_errors=True)
