"""Numba kernels, all of their source, and the choice of the back end that serves.

Back ends: `jit` (Numba, from its cache) and `numpy` (the reference, always there). A back end is
self-tested against the reference before it serves; one that is missing or wrong costs a warning,
never a start. Numba is imported only by `load_jit`: the process stays small until then.
"""

import hashlib
import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detectors.kernels import reference

Float32 = NDArray[np.float32]
Forward = Callable[[Float32, NDArray[np.int64], Float32, Float32, Float32], None]

_COMPLETE = "complete"


class BackendError(Exception):
    """A back end cannot serve: why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Compiled forward pass of a dense network.

    `forward(parameters, sizes, inputs (B, I), scratch (2, widest), logits (B, O))` fills `logits`
    with the last layer's values before its activation.
    """

    name: str
    forward: Forward


NUMPY = Backend("numpy", reference.forward)


@cache
def cache_key() -> str:
    """Hash of all that a cached kernel depends on: Numba itself does not notice a changed callee (numba#1833)."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    digest.update(f"{metadata.version('numba')} {platform.python_version()} {_cpu_name()}".encode())
    return digest.hexdigest()[:16]


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.machine()
    return "".join(line for line in lines[:40] if line.startswith(("model name", "flags", "Features", "CPU part")))


def use_cache(directory: Path) -> Path:
    """Point Numba at this program's own folder below `directory`; to be called before Numba is imported."""
    folder = directory / f"kernels-{cache_key()}"
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    return folder


def is_cached(directory: Path) -> bool:
    """Say whether `compile_all` has finished for exactly these kernels on this CPU."""
    return (directory / f"kernels-{cache_key()}" / _COMPLETE).exists()


def compile_all(directory: Path) -> None:
    """Compile every kernel into the cache below `directory`; meant for a child process."""
    folder = use_cache(directory)
    folder.mkdir(parents=True, exist_ok=True)
    load_jit()
    (folder / _COMPLETE).touch()


def load_jit() -> Backend:
    """Import Numba, take the kernels from its cache or compile them, and test them.

    Raises BackendError where Numba cannot be imported, cannot allocate executable memory
    (MemoryDenyWriteExecute=), has no writable cache, or computes something else than the reference.
    """
    try:
        _probe_cache()
        from detectors.kernels import forward  # noqa: PLC0415 - the import is the cost that NumPy alone avoids

        backend = Backend("jit", forward.forward)
        _self_test(backend)
    except (ImportError, OSError, RuntimeError, ValueError, SystemError) as error:
        raise BackendError(f"Numba cannot serve: {type(error).__name__}: {error}") from error
    return backend


def _probe_cache() -> None:
    """Write into Numba's cache folder: where it may not, Numba would silently take an unkeyed one beside the source."""
    folder = os.environ.get("NUMBA_CACHE_DIR")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def _self_test(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([7, 5, 3, 2], np.int64)
    count = int((sizes[1:] * (sizes[:-1] + 1)).sum())
    parameters = rng.normal(size=count).astype(np.float32)
    inputs = rng.normal(size=(4, 7)).astype(np.float32)
    scratch = np.zeros((2, 7), np.float32)
    got, expected = np.zeros((4, 2), np.float32), np.zeros((4, 2), np.float32)
    backend.forward(parameters, sizes, inputs, scratch, got)
    reference.forward(parameters, sizes, inputs, scratch, expected)
    if not np.allclose(got, expected, atol=1e-5, rtol=1e-5):
        raise BackendError(f"the back end {backend.name} differs from NumPy: it does not serve")
