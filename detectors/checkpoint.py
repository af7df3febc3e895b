"""What a training has come to, kept after every epoch: one that was killed goes on there, and ends with the same bits.

Enters: all that a training depends on (rows, settings, first parameters, the state of its draws), and its state after
an epoch. Leaves: files, and that state again for a training that depends on exactly the same. Whatever is truncated,
altered or of another training is as if there was nothing. It trains nothing.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.model_file import ModelError, read_arrays, read_record, write

UNFINISHED = "unfinished"  # the folder in `incoming` that a start does not clear away
_MARKS = {"format": 1, "network": "checkpoint"}
_WHAT = "a checkpoint of format 1"
_NAME = 32  # digits of the hash: no two trainings share them

Arrays = Mapping[str, NDArray[np.generic]]
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of one training: arrays, and what JSON can hold."""

    folder: Path
    name: str

    def load(self) -> tuple[Arrays, Record] | None:
        """Return what was kept last, None where nothing usable is."""
        try:
            record = read_record(self.folder / self.name, _WHAT, _MARKS)
            return read_arrays(self.folder / self.name, record), record
        except ModelError:
            return None

    def save(self, arrays: Arrays, record: Record) -> None:
        """Keep a state in the place of the one before. Raises OSError."""
        write(self.folder, self.name, arrays, {**_MARKS, **record})


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The states of all trainings of one job, below `folder`."""

    folder: Path

    def of(self, *parts: object) -> Checkpoint:
        """Return the one of the training that depends on `parts`: arrays by their bytes, all else by its repr."""
        digest = hashlib.sha256()
        for part in parts:
            if isinstance(part, np.ndarray):
                digest.update(f"{part.dtype} {part.shape}".encode())
                digest.update(np.ascontiguousarray(part).tobytes())
            else:
                digest.update(repr(part).encode())
        return Checkpoint(self.folder, digest.hexdigest()[:_NAME])

    def forget(self) -> None:
        """Take all of them away."""
        shutil.rmtree(self.folder, ignore_errors=True)
