"""The folders of the refined failure network: which serves, and how another takes its place.

Layout below the models' folder: `incoming/failure/` is where the child writes, `failure/UNTIL/` is what was accepted:
a forecaster that knows the failures of this host up to UNTIL, UTC in milliseconds. The newest that is whole serves.
One rename puts it there; its predecessor stays until the next.
"""

import shutil
from pathlib import Path

from detectors.failure import FailureForecaster, load_forecaster
from detectors.model_file import ModelError, sync

INCOMING = "failure"
_DIGITS = 15


class RefinedModels:
    """The refined forecasters below `directory`. Every method blocks."""

    def __init__(self, directory: Path) -> None:
        self.incoming = directory / "incoming"
        self._accepted = directory / INCOMING

    def folder(self, until_ms: int) -> Path:
        """Return where the forecaster that knows failures until `until_ms` stands."""
        return self._accepted / f"{until_ms:0{_DIGITS}d}"

    def newest(self) -> tuple[FailureForecaster | None, int, list[str]]:
        """Return the one that serves and until when it knows failures, None and 0 = none; and why others do not."""
        refused: list[str] = []
        for until_ms in self._versions():
            found = load_forecaster(self.folder(until_ms))
            if not found.problem:
                return found, until_ms, refused
            refused.append(found.problem)
        return None, 0, refused

    def accept(self, until_ms: int) -> FailureForecaster:
        """Put what the child has written on duty, and return it. Raises ModelError where it is not whole, OSError."""
        found = load_forecaster(self.incoming / INCOMING)
        if found.problem:
            raise ModelError(found.problem)
        before = [one for one in self._versions() if one < until_ms]
        target = self.folder(until_ms)
        target.parent.mkdir(exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        (self.incoming / INCOMING).rename(target)
        sync(self._accepted)
        for old in self._versions():  # one from the future comes from a clock that was wrong
            if old not in (until_ms, *before[:1]):
                shutil.rmtree(self.folder(old), ignore_errors=True)
        return found

    def _versions(self) -> list[int]:
        """Return until when each that was accepted knows failures, the newest first."""
        if not self._accepted.is_dir():
            return []
        names = [one.name for one in self._accepted.iterdir() if one.is_dir()]
        return sorted((int(name) for name in names if name.isdecimal() and len(name) == _DIGITS), reverse=True)
