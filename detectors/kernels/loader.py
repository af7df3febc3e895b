"""Which back end serves: found, checked against its manifest and against NumPy, before anything uses it.

Enters: a preference and the cache folder. Leaves: a back end, and one sentence for each better one that
does not serve. A file is loaded only when the sources it was made from, the machine and its sha256 are
those of the manifest beside it. Numba is never imported here: compiling runs in another process.
"""

import ctypes
import hashlib
import mmap
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache as remember
from importlib import metadata
from pathlib import Path
from typing import Literal

from detectors.kernels.backend import Backend, BackendError
from detectors.kernels.manifest import checked, source_key, write_checked
from detectors.kernels.native import NAMES, NativeBackend
from detectors.kernels.reference import NUMPY
from detectors.kernels.selftest import check

Preference = Literal["auto", "compiled", "jit", "numpy"]
Say = Callable[[float, str], None]

COMPILED = Path(__file__).parent / "compiled"
_COMPILE_SECONDS = 300.0
_V3 = frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"})
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@remember
def processor() -> tuple[str, frozenset[str]]:
    """Return this machine's architecture and its processor's features, as the kernel names them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return platform.machine(), frozenset(flags.partition(":")[2].split())


def variants() -> list[str]:
    """Return the variants compiled ahead of time that this processor runs, best first."""
    machine, features = processor()
    if machine == "aarch64":
        return ["aarch64"]
    wanted = (("v4", _V4), ("v3", _V3))
    return [name for name, needs in wanted if machine == "x86_64" and needs <= features]


def host_target() -> str:
    """Return the compiler's target for this processor."""
    machine, features = processor()
    if machine == "aarch64":
        return "jit-8"
    return "jit-16" if features >= _V4 else "jit-8" if features >= _V3 else "jit-generic"


def lanes_of(name: str) -> int:
    """Return the floats in a vector of a variant or target."""
    return 16 if name in ("v4", "jit-16") else 8


def load(preference: Preference, cache: Path) -> tuple[Backend, list[str]]:
    """Return the best back end that serves, and why better ones do not; never raises.

    Where nothing is compiled and nothing cached, this compiles: ten seconds, in another process.
    """
    reasons: list[str] = []
    if preference == "numpy":
        return NUMPY, reasons
    if preference == "compiled" and not came_compiled():
        reasons.append("no kernels came with this installation: it is a checkout, not the wheel")
    elif preference in ("auto", "compiled") and came_compiled():
        for variant in variants() or [""]:
            try:
                return load_compiled(variant), reasons
            except BackendError as error:
                reasons.append(str(error))
    if preference in ("auto", "jit"):
        try:
            return load_jit(host_target(), cache), reasons
        except BackendError as error:
            reasons.append(str(error))
    return NUMPY, reasons


def came_compiled() -> bool:
    """Say whether kernels came with this installation: they do with the wheel, not in a checkout."""
    return COMPILED.exists()


def load_compiled(variant: str, folder: Path = COMPILED) -> Backend:
    """Return the back end of a shared object that came with the wheel. Raises BackendError."""
    if not variant:
        raise BackendError("nothing is compiled ahead of time for this processor")
    name = f"compiled-{variant}"
    try:
        path = checked(folder, f"presaged-{variant}.so")
        library = ctypes.CDLL(str(path))
        addresses = {entry: ctypes.cast(getattr(library, entry), ctypes.c_void_p).value or 0 for entry in NAMES}
        backend = NativeBackend(name, lanes_of(variant), addresses, library)
        check(backend)
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise BackendError(f"{name} cannot serve: {error}") from error
    return backend


def load_jit(target: str, cache: Path) -> Backend:
    """Return the back end of the object compiled on this host, compiled now if need be. Raises BackendError."""
    try:
        _executable_memory()
        with tempfile.TemporaryDirectory(prefix="presaged-kernels-") as spare:
            folder = cache_folder(cache)
            if not is_cached(cache, target):
                folder = _compile_elsewhere(folder, target, Path(spare))
            addresses, code = _link(checked(folder, f"{target}.o").read_bytes())
        backend = NativeBackend(target, lanes_of(target), addresses, code)
        check(backend)
    except (ImportError, OSError, RuntimeError, ValueError, LookupError, subprocess.SubprocessError) as error:
        raise BackendError(f"{target} cannot serve: {type(error).__name__}: {error}") from error
    return backend


def cache_folder(cache: Path) -> Path:
    """Return the folder of exactly these sources, this Numba and this processor."""
    machine, features = processor()
    versions = f"{metadata.version('numba')} {metadata.version('llvmlite')}"
    words = f"{source_key()} {versions} {machine} {' '.join(sorted(features))}"
    return cache / f"kernels-{hashlib.sha256(words.encode()).hexdigest()[:16]}"


def is_cached(cache: Path, target: str = "") -> bool:
    """Say whether the kernels stand compiled in the cache."""
    try:
        return (cache_folder(cache) / f"{target or host_target()}.o").exists()
    except (OSError, metadata.PackageNotFoundError):
        return False


def compile_all(cache: Path, say: Say | None = None) -> None:
    """Compile every kernel for this processor into the cache; imports Numba, so for a child process.

    Raises BackendError where Numba cannot be imported, has no executable memory, or the cache is read-only.
    """
    from detectors.kernels import compiler  # noqa: PLC0415 - only a child compiles

    try:
        folder = cache_folder(cache)
        folder.mkdir(parents=True, exist_ok=True)
        code = compiler.compile_target(compiler.TARGETS[host_target()], say or _silent)
        write_checked(folder, f"{host_target()}.o", code)
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendError(f"the kernels cannot be compiled: {type(error).__name__}: {error}") from error


def _silent(share: float, text: str) -> None:
    """Say nothing."""


def _executable_memory() -> None:
    """Raise PermissionError where MemoryDenyWriteExecute= stands: LLVM would end the process instead."""
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _compile_elsewhere(folder: Path, target: str, spare: Path) -> Path:
    """Compile in another process into `folder`, or into `spare` where that is read-only; return which."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    into = folder if writable else spare
    command = [sys.executable, "-P", "-m", "detectors.kernels.compiler", str(into), target]
    path = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([path, *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = subprocess.run(  # noqa: S603 - our own compiler
        command, capture_output=True, text=True, timeout=_COMPILE_SECONDS, check=False, env=environment
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise BackendError(f"{target} cannot be compiled: {last}")
    return into


def _link(code: bytes) -> tuple[dict[str, int], object]:
    """Return the addresses of the entries of an object file in this process, and what keeps them alive."""
    from llvmlite import binding as llvm  # noqa: PLC0415 - 30 MB that the other back ends save

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    addresses = {name: int(engine.get_function_address(name)) for name in NAMES}
    missing = [name for name, address in addresses.items() if not address]
    if missing:
        raise BackendError(f"the object lacks {', '.join(missing)}")
    return addresses, engine
