"""Days of before that were unlike those of today: a standby, a month's end. They are kept to be recognised.

Enters: a reference that gives way to another. Leaves: the few that are unlike one another, in files of their own; those
seen again last stay longest. A host that goes back to a way in which it ran before has not drifted.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import structlog

from daemon.drift.days import Kept, load, save
from detectors.drift import HOURS, compare
from detectors.kernels import Backend
from detectors.model_file import ModelError

_log = structlog.get_logger()

MOST = 6  # of up to 3 MB
_PREFIX = "earlier-"


class EarlierDays:
    """The references below `folder` that serve no model any more. Every method blocks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> Iterator[tuple[Path, Kept]]:
        """Yield where each is and what it holds, those seen last first; what is damaged goes."""
        for place in self._places():
            try:
                kept = load(self._folder, place.name)
            except ModelError as error:
                _log.warning("earlier_days_refused", reason=str(error), effect="they are known no more")
                shutil.rmtree(place, ignore_errors=True)
            else:
                if kept is not None:
                    yield place, kept

    def keep(self, backend: Backend, former: Kept, now: Kept, unlike: float) -> None:
        """Keep `former`, which gives way to `now`, unless they are alike; what is like one of both is not kept twice.

        Raises OSError.
        """
        share = _share(backend, now, former)
        adds = share is not None and share >= unlike
        for place, kept in list(self.all()):
            shares = [_share(backend, other, kept) for other in ((now, former) if adds else (now,))]
            if any(one is not None and one < unlike for one in shares):
                shutil.rmtree(place, ignore_errors=True)
        if adds:
            save(self._folder, former, f"{_PREFIX}{former.span.end_ms:015d}")
        for place in self._places()[MOST:]:
            shutil.rmtree(place, ignore_errors=True)

    @staticmethod
    def seen(place: Path) -> None:
        """Note that the host runs this way again. Raises OSError."""
        os.utime(place)

    def _places(self) -> list[Path]:
        return sorted(self._folder.glob(f"{_PREFIX}*"), key=lambda place: -place.stat().st_mtime_ns)


def _share(backend: Backend, one: Kept, other: Kept) -> float | None:
    """Return the share of the signals of both that do not follow the same distribution; None = too few are judged."""
    common = np.intersect1d(one.ids, other.ids)
    first, second = (np.flatnonzero(np.isin(each.ids, common)) for each in (one, other))
    if not len(common) or (one.span.after, one.span.a_day) != (other.span.after, other.span.a_day):
        return None
    values = np.ascontiguousarray(other.reference.values[:, second])
    per_hour = len(values) / HOURS
    return compare(backend, one.reference.columns(first), values, other.reference.hours, per_hour).score()
