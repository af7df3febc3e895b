"""Model files: written atomically, read with doubt, and the pointer to the one that serves.

Layout below the models' folder: `incoming/NAME/` is where the child writes, `anomaly/NAME/` holds
what was accepted (`model.safetensors`, `manifest.json`), `anomaly/champion` names the one that
serves, its predecessor and since when, `anomaly/roles.json` what the others are. Only the daemon moves
the pointer, by one rename; whatever else is killed half-way, the pointer alone says who serves. No
pickle: safetensors holds numbers only.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from detectors.anomaly import ARCHITECTURE, SCORE_SCALES, AnomalyModel, Scale
from detectors.checkpoint import UNFINISHED
from detectors.features import FEATURES, HOURS, Context
from detectors.model_file import ARRAYS, ModelError, network_of, read_arrays, read_record, sync, write
from detectors.roles import KEPT_OTHERS, Pointer, Role, Roles, State

__all__ = ["FORMAT", "Manifest", "ModelError", "Registry", "State", "Version", "load", "read_manifest", "save"]

FORMAT = 3  # 3: noise and tails of the signals; 2: range for flat, season by what it foretells, scales of both parts
_NETWORK = "anomaly"
_MARKS = {"format": FORMAT, "network": _NETWORK}
_WHAT = f"an {_NETWORK} model of format {FORMAT}"
_LATER = ("parent", "trigger", "first_ms", "last_ms")  # the first manifests have none of them, nor tables
_TABLES = ("exclusions", "metrics")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a model without reading its arrays. Times are UTC milliseconds.

    `parent` is the champion when it was trained, "" for none; `trigger` is why. `first_ms` and `last_ms` bound its
    data. `exclusions`: how many samples were left out, by reason; `metrics`: measured qualities by name. Models from
    before these were kept have none.
    """

    name: str
    number: int
    trained_ms: int
    interval_seconds: float
    samples: int
    first_seq: int
    last_seq: int
    sha256: str
    parent: str = ""
    trigger: str = ""
    first_ms: int = 0
    last_ms: int = 0
    exclusions: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Version:
    """One accepted model: what it is to the host, since when and why; its manifest is None where there is a `problem`.

    `metrics`: what was measured when it was trained and when it was judged.
    """

    name: str
    state: State
    pinned: bool
    since_ms: int
    reason: str
    manifest: Manifest | None
    problem: str
    metrics: Mapping[str, float]


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
        plain = {
            key: kind(record[key])
            for key, kind in Manifest.__annotations__.items()
            if key not in _TABLES and (key in record or key not in _LATER)
        }
        return Manifest(
            **plain,
            exclusions={str(key): int(count) for key, count in record.get("exclusions", {}).items()},
            metrics={str(key): float(value) for key, value in record.get("metrics", {}).items()},
        )
    except (ValueError, KeyError, TypeError, OverflowError, AttributeError) as error:
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
            network=None if parameters is None else network_of(ARCHITECTURE, parameters),
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
    """The models below one folder, which of them serves, and what the others are. Every method blocks."""

    def __init__(self, directory: Path) -> None:
        self.incoming = directory / "incoming"
        self._accepted = directory / _NETWORK
        self._pointer = Pointer(self._accepted / "champion")
        self._roles = Roles(self._accepted / "roles.json")

    def prepare(self) -> None:
        """Make the folders and clear away what a killed child or daemon left, but for what a training goes on from."""
        self.incoming.mkdir(parents=True, exist_ok=True)
        self._accepted.mkdir(parents=True, exist_ok=True)
        for left in self.incoming.iterdir():
            if left.name == UNFINISHED:
                continue
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
        for half in self._accepted.glob(".*"):
            if half.is_dir():
                shutil.rmtree(half, ignore_errors=True)
        self._settle()

    def _settle(self) -> None:
        """Note that who serves, or did last, is no challenger any more: a kill can come between pointer and roles."""
        pointed, roles = self._pointer.read(), self._roles.read()
        for name in (pointed.champion, pointed.predecessor):
            role = roles.get(name)
            if role is not None and role.state is not State.RETIRED:
                self._roles.note(name, State.RETIRED, pointed.since_ms)

    def folder(self, name: str) -> Path:
        """Return where the accepted model `name` is. Raises ModelError where there is none of that name."""
        for path in self.versions():
            if path.name == name:
                return path
        raise ModelError(f"{self._accepted}: there is no model {name!r}")

    def versions(self) -> list[Path]:
        """Return the folders of all accepted models, newest first."""
        if not self._accepted.is_dir():
            return []
        folders = [path for path in self._accepted.iterdir() if path.is_dir() and not path.name.startswith(".")]
        return sorted(folders, reverse=True)

    def lineage(self) -> tuple[Version, ...]:
        """Return all that is known of every accepted model, newest first."""
        pointed, roles = self._pointer.read(), self._roles.read()
        out = []
        for path in self.versions():
            role = roles.get(path.name, Role())
            state, since_ms = role.state, role.since_ms
            if path.name == pointed.champion:
                state, since_ms = State.CHAMPION, pointed.since_ms
            elif path.name == pointed.predecessor:
                state = State.PREDECESSOR
            try:
                manifest, problem = read_manifest(path), ""
            except ModelError as error:
                manifest, problem = None, str(error)
            metrics = {**(manifest.metrics if manifest else {}), **role.metrics}
            out.append(Version(path.name, state, role.pinned, since_ms, role.reason, manifest, problem, metrics))
        return tuple(out)

    def champion(self) -> tuple[AnomalyModel | None, Manifest | None, list[str]]:
        """Return the model that serves, and why better ones do not.

        The champion, else its predecessor, else the newest that is whole; one that never won comes last.
        """
        refused: list[str] = []
        pointed, roles = self._pointer.read(), self._roles.read()
        waiting = (State.CHALLENGER, State.SHADOW)
        others = sorted(self.versions(), key=lambda path: roles.get(path.name, Role()).state in waiting)
        named = [self._accepted / name for name in (pointed.champion, pointed.predecessor) if name]
        for folder in dict.fromkeys([*named, *others]):
            try:
                return *load(folder), refused
            except ModelError as error:
                refused.append(str(error))
        return None, None, refused

    @property
    def pointed(self) -> str:
        """The name that the pointer has for the one that serves, "" for none: whether it is whole, it does not say."""
        return self._pointer.read().champion

    def superseded(self) -> str:
        """Return the name of the champion where its features are not those of this program, "" = they are.

        Such a model is whole, and nothing here can compute it. It stays for whoever goes back to its program.
        """
        name = self._pointer.read().champion
        try:
            record = read_record(self._accepted / name, f"an {_NETWORK} model", {"network": _NETWORK})
        except ModelError:
            return ""
        return name if name and record.get("format") != FORMAT else ""

    def predecessor(self) -> tuple[AnomalyModel | None, Manifest | None, int]:
        """Return the model before the champion where there is one that is whole, and since when the champion serves."""
        pointed = self._pointer.read()
        if not pointed.predecessor:
            return None, None, pointed.since_ms
        try:
            return *load(self._accepted / pointed.predecessor), pointed.since_ms
        except ModelError:
            return None, None, pointed.since_ms

    def accept(self, name: str, state: State = State.RETIRED, now_ms: int = 0, reason: str = "") -> Path:
        """Move `incoming/NAME` among the accepted models. Raises OSError, ModelError when it is not whole."""
        load(self.incoming / name)
        if name in self._pointer.read():
            raise ModelError(f"{name} serves, or did last, and is not replaced")
        self._roles.note(name, state, now_ms, reason)
        target = self._accepted / name
        shutil.rmtree(target, ignore_errors=True)
        (self.incoming / name).rename(target)
        sync(self._accepted)
        return target

    def note(
        self, name: str, state: State, now_ms: int, reason: str = "", metrics: Mapping[str, float] | None = None
    ) -> None:
        """Say what a model is that neither serves nor did last, and what was measured. Raises ModelError, OSError."""
        self.folder(name)
        self._roles.note(name, state, now_ms, reason, metrics)

    def promote(self, name: str, now_ms: int = 0, reason: str = "") -> None:
        """Make `name` the champion by one atomic rename, and drop the oldest others. Raises OSError.

        The champion before becomes the predecessor.
        """
        pointed = self._pointer.read()
        served = bool(self.superseded()) or self._whole(pointed.champion)
        before = pointed.predecessor if pointed.champion == name or not served else pointed.champion
        self._pointer.move(name, "" if before == name else before, now_ms)
        self._roles.note(name, State.RETIRED, now_ms, reason)  # which it will be, when it serves no more
        self.prune()

    def _whole(self, name: str) -> bool:
        try:
            load(self.folder(name))
        except ModelError:
            return False
        return True

    def rollback(self, now_ms: int, reason: str) -> str:
        """Let the predecessor serve again, by one atomic rename; returns its name. Raises ModelError, OSError."""
        pointed = self._pointer.read()
        if not pointed.predecessor:
            raise ModelError("there is no model before this one to go back to")
        load(self._accepted / pointed.predecessor)
        self._pointer.move(pointed.predecessor, "", now_ms)
        if pointed.champion:
            self._roles.note(pointed.champion, State.RETIRED, now_ms, reason)
        return pointed.predecessor

    def pin(self, name: str, *, pinned: bool) -> None:
        """Keep `name` for good, and in its place where it serves; or no longer. Raises ModelError, OSError."""
        self.folder(name)
        self._roles.pin(name, pinned=pinned)

    def remove(self, name: str) -> None:
        """Delete a model that nothing needs. Raises ModelError for one that is needed, OSError."""
        folder = self.folder(name)
        role = self._roles.read().get(name, Role())
        if name in self._pointer.read() or role.pinned:
            raise ModelError(f"{name} serves, did last, or is pinned, and stays")
        self._drop(folder)

    def prune(self) -> None:
        """Drop the oldest: never the champion, its predecessor, a pinned one, or one that is still to be judged."""
        pointed, roles = self._pointer.read(), self._roles.read()

        def stays(name: str) -> bool:
            role = roles.get(name, Role())
            return name in pointed or role.pinned or role.state is not State.RETIRED

        for old in [path for path in self.versions() if not stays(path.name)][KEPT_OTHERS:]:
            self._drop(old)
        self._roles.keep({path.name for path in self.versions()})

    def _drop(self, folder: Path) -> None:
        """Take it away whole, by one rename, before any of its files goes."""
        gone = folder.with_name(f".{folder.name}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
