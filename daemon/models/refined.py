"""The folders of a network that this host refines: which serves, and how another takes its place.

Layout below the models' folder: `incoming/NAME/` is where the child writes, `NAME/UNTIL/` is what was accepted: a
forecaster that knows this host up to UNTIL, UTC in milliseconds. The newest that is whole serves. One rename puts it
there; its predecessor stays until the next.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from detectors.model_file import ModelError, sync

_DIGITS = 15


class Forecaster(Protocol):
    """What can be read; `problem` says what could not, "" = nothing."""

    @property
    def problem(self) -> str:
        """Return why it cannot serve."""


Read = TypeVar("Read", bound=Forecaster)


class RefinedModels(Generic[Read]):
    """The refined forecasters of the network `name` below `directory`, read by `load`. Every method blocks."""

    def __init__(self, directory: Path, name: str, load: Callable[[Path], Read]) -> None:
        self.incoming = directory / "incoming" / name
        self._accepted = directory / name
        self._load = load

    def folder(self, until_ms: int) -> Path:
        """Return where the forecaster that knows the host until `until_ms` stands."""
        return self._accepted / f"{until_ms:0{_DIGITS}d}"

    def newest(self) -> tuple[Read | None, int, list[str]]:
        """Return the one that serves and until when it knows the host, None and 0 = none; and why others do not."""
        refused: list[str] = []
        for until_ms in self._versions():
            found = self._load(self.folder(until_ms))
            if not found.problem:
                return found, until_ms, refused
            refused.append(found.problem)
        return None, 0, refused

    def accept(self, until_ms: int) -> Read:
        """Put what the child has written on duty, and return it. Raises ModelError where it is not whole, OSError."""
        found = self._load(self.incoming)
        if found.problem:
            raise ModelError(found.problem)
        before = [one for one in self._versions() if one < until_ms]
        target = self.folder(until_ms)
        target.parent.mkdir(exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        self.incoming.rename(target)
        sync(self._accepted)
        for old in self._versions():  # one from the future comes from a clock that was wrong
            if old not in (until_ms, *before[:1]):
                shutil.rmtree(self.folder(old), ignore_errors=True)
        return found

    def _versions(self) -> list[int]:
        """Return until when each that was accepted knows the host, the newest first."""
        if not self._accepted.is_dir():
            return []
        names = [one.name for one in self._accepted.iterdir() if one.is_dir()]
        return sorted((int(name) for name in names if name.isdecimal() and len(name) == _DIGITS), reverse=True)
