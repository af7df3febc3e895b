"""Kernels ahead of time: equal to the JIT bit for bit, closed, checked before they are loaded, and free of Numba."""

import json
import mmap
import os
import platform
import shutil
import struct
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from detectors.kernels import (
    NUMPY,
    Activation,
    BackendError,
    Loss,
    Rule,
    TrainSettings,
    TrainState,
    build,
    dense,
    load,
    loader,
)
from detectors.kernels.compiler import TARGETS
from detectors.kernels.memory import _clean_mappings

ROOT = Path(__file__).parents[2]
PLAN = dense((70, 33, 20, 3), Activation.TANH, Activation.SIGMOID)

pytestmark = [
    pytest.mark.skipif(not loader.variants(), reason="nothing is compiled ahead of time for this processor"),
    pytest.mark.timeout(240),  # the first test waits for five compilations
]


def everything(backend):
    """What a back end computes, as bytes."""
    rng = np.random.default_rng(0)
    flat = rng.normal(size=PLAN.parameters).astype(np.float32)
    inputs, targets = rng.normal(size=(77, 70)).astype(np.float32), rng.random((77, 3)).astype(np.float32)
    out = np.zeros((77, 3), np.float32)
    backend.forward(PLAN, backend.pack(PLAN, flat), inputs, backend.scratch(PLAN, 77), out)
    parts = [out.tobytes()]
    for rule in Rule:
        how = TrainSettings(rule=rule, loss=Loss.BCE, batch=9, l2=0.01, weight_decay=0.1)
        block = flat.copy()
        loss = backend.train(PLAN, block, inputs, targets, rng.permutation(77) * 0 + 5, how, TrainState.start(PLAN))
        parts += [block.tobytes(), np.float64(loss).tobytes()]
    parts.append(backend.ks(backend.sorted(inputs), inputs[:, ::2].copy()).tobytes())
    return parts


@pytest.mark.parametrize(("variant", "target"), [("v4", "jit-16"), ("v3", "jit-8"), ("aarch64", "jit-8")])
def test_compiled_is_the_jit_bit_for_bit(compiled, kernel_cache, variant, target):
    if variant not in loader.variants():
        pytest.skip(f"this processor does not run {variant}")
    ahead, jit = loader.load_compiled(variant, compiled), loader.load_jit(target, kernel_cache)
    assert everything(ahead) == everything(jit)


def test_objects_need_nothing_and_export_only_their_entries(compiled):
    if not shutil.which("nm"):
        pytest.skip("nm is not installed")
    for path in compiled.glob("*.so"):
        said = subprocess.run(["nm", "-D", path], capture_output=True, text=True, check=True).stdout.split("\n")
        assert sorted(line.split()[-1] for line in said if line) == sorted(loader.NAMES)
        assert not [line for line in said if " U " in line]


def test_the_same_sources_give_the_same_bytes(compiled, tmp_path):
    variant = loader.variants()[0]
    again = build.build(tmp_path, [variant])[0]
    assert again.read_bytes() == (compiled / again.name).read_bytes()


def broken(compiled, tmp_path, monkeypatch):
    folder = tmp_path / "compiled"
    shutil.copytree(compiled, folder)
    monkeypatch.setattr(loader, "COMPILED", folder)
    monkeypatch.setattr(loader.load_compiled, "__defaults__", (folder,))
    return folder, folder / f"presaged-{loader.variants()[0]}.so"


def test_an_altered_file_is_refused_and_the_next_back_end_serves(compiled, jit, kernel_cache, tmp_path, monkeypatch):
    folder, best = broken(compiled, tmp_path, monkeypatch)
    backend, reasons = load("auto", kernel_cache)
    assert backend.name == f"compiled-{loader.variants()[0]}"
    assert not reasons
    code = bytearray(best.read_bytes())
    code[len(code) // 2] ^= 1
    best.write_bytes(code)
    backend, reasons = load("auto", kernel_cache)
    assert "hash differs" in reasons[0]
    assert backend.name != f"compiled-{loader.variants()[0]}"
    for path in folder.glob("*.so"):
        path.unlink()
    backend, reasons = load("auto", kernel_cache)
    assert backend.name == loader.host_target()
    assert len(reasons) == len(loader.variants())
    assert load("compiled", kernel_cache)[0] is NUMPY


def test_other_sources_or_no_manifest_or_not_in_it_are_refused(compiled, tmp_path, monkeypatch):
    folder, best = broken(compiled, tmp_path, monkeypatch)
    manifest = json.loads((folder / "manifest.json").read_text())
    for change in ({"source": "0"}, {"files": {}}):
        (folder / "manifest.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(BackendError, match=r"sources|manifest"):
            loader.load_compiled(loader.variants()[0], folder)
    for text in ("", "{}", "[]"):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(BackendError):
            loader.load_compiled(loader.variants()[0], folder)
    assert best.exists()


def test_a_back_end_that_computes_something_else_does_not_serve(compiled, monkeypatch):
    monkeypatch.setattr("detectors.kernels.selftest._TOLERANCE", -1.0)
    with pytest.raises(BackendError, match="another forward"):
        loader.load_compiled(loader.variants()[0], compiled)


MACHINES = {"x86_64": 62, "aarch64": 183}  # e_machine of an ELF file


@pytest.mark.parametrize("architecture", MACHINES)
def test_a_wheel_holds_the_shared_objects_of_its_own_architecture_and_no_other(tmp_path, architecture):
    if architecture != platform.machine() and not find_spec("ziglang"):
        pytest.skip("no linker for another architecture: make wheel installs it")
    wheel = build.wheel(tmp_path, architecture)
    assert wheel.name.endswith(f"-py3-none-manylinux_2_17_{architecture}.whl")
    with zipfile.ZipFile(wheel) as opened:
        objects = {name: opened.read(name) for name in opened.namelist() if opened.read(name).startswith(b"\x7fELF")}
        manifest = json.loads(opened.read("detectors/kernels/compiled/manifest.json"))
    wanted = {f"presaged-{variant}.so" for variant, its in build.VARIANTS.items() if its == architecture}
    assert {Path(name).name for name in objects} == set(manifest["files"]) == wanted
    assert {struct.unpack_from("<H", code, 18)[0] for code in objects.values()} == {MACHINES[architecture]}


UNDER_MDWE = """
import ctypes, sys
from pathlib import Path
assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN
from detectors.kernels import load, loader
variant, folder, cache = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
print(loader.load_compiled(variant, folder).name)
backend, reasons = load("jit", cache)
print(backend.name, *reasons)
print(sorted({"numba", "llvmlite"} & set(sys.modules)))
"""


def test_compiled_kernels_run_where_memory_never_becomes_executable(compiled, kernel_cache):
    variant = loader.variants()[0]
    done = subprocess.run(
        [sys.executable, "-c", UNDER_MDWE, variant, compiled, kernel_cache],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    if "AssertionError" in done.stderr:
        pytest.skip("this kernel has no PR_SET_MDWE")
    name, refused, modules = done.stdout.splitlines()
    assert name == f"compiled-{variant}"
    assert refused.startswith("numpy")
    assert "PermissionError" in refused
    assert modules == "[]"


def test_every_process_finds_the_same_cache(kernel_cache):
    ask = "from pathlib import Path; from detectors.kernels.loader import cache_folder; print(cache_folder(Path('x')))"
    folders = {
        subprocess.run(
            [sys.executable, "-c", ask], capture_output=True, text=True, cwd=ROOT, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(folders) == 1


def test_a_read_only_cache_costs_the_cache_and_not_the_back_end(jit, kernel_cache, tmp_path, monkeypatch):
    built = loader.cache_folder(kernel_cache)
    monkeypatch.setattr(loader.os, "access", lambda path, mode: False)

    def compile_elsewhere(command, **_):
        for name in ("manifest.json", f"{loader.host_target()}.o"):
            shutil.copy(built / name, Path(command[-2]) / name)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(loader.subprocess, "run", compile_elsewhere)
    backend, reasons = load("jit", tmp_path)
    assert backend.name == loader.host_target(), reasons
    assert not loader.is_cached(tmp_path)


def test_a_compiler_that_fails_is_named_and_numpy_serves(tmp_path, monkeypatch):
    def fails(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "Traceback\nImportError: numba has gone\n")

    monkeypatch.setattr(loader.subprocess, "run", fails)
    backend, reasons = load("jit", tmp_path)
    assert backend is NUMPY
    assert "numba has gone" in reasons[0]


def test_no_executable_memory_is_a_reason(jit, kernel_cache, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(mmap, "mmap", refuse)
    backend, reasons = load("jit", kernel_cache)
    assert backend is NUMPY
    assert "PermissionError" in reasons[0]


def test_every_variant_of_the_wheel_has_a_target():
    assert set(build.VARIANTS) <= set(TARGETS)


RELEASE = """
import numpy as np
from detectors import kernels
from detectors.kernels import Activation, dense, load
from pathlib import Path
import sys, psutil
backend, _ = load("jit", Path(sys.argv[1]))
before = psutil.Process().memory_info().rss
released = getattr(kernels, sys.argv[2])()
after = psutil.Process().memory_info().rss
plan = dense((256, 128, 64, 32, 1), Activation.RELU, Activation.SIGMOID)
out = np.zeros((1, 1), np.float32)
packed = backend.pack(plan, np.zeros(plan.parameters, np.float32))
backend.forward(plan, packed, np.zeros((1, 256), np.float32), backend.scratch(plan), out)
import numba, sqlite3, json  # what was let go comes back when asked
print(before, after, released or 0, out[0, 0])
"""


@pytest.mark.parametrize("release", ["release_memory", "release_idle"])
def test_clean_pages_are_given_back_and_everything_still_runs(jit, kernel_cache, release):
    done = subprocess.run(
        [sys.executable, "-c", RELEASE, kernel_cache, release], capture_output=True, text=True, cwd=ROOT, check=True
    )
    before, after, released, out = (float(word) for word in done.stdout.split())
    print(f"{before / 2**20:.0f} MB before, {after / 2**20:.0f} after")
    assert (released > 0) == (release == "release_memory")
    assert after < before - 5 * 2**20
    assert out == 0.5


def test_pages_that_a_loader_has_written_are_not_clean():
    def mapping(access, inode, own):
        sizes = f"Rss: 8 kB\nPrivate_Dirty: {own} kB\nAnonymous: {own} kB\nSwap: 0 kB\nVmFlags: rd mr\n"
        return f"1000-3000 {access} 00000000 08:01 {inode} /lib/x.so\n{sizes}"

    text = mapping("r-xp", 7, 0) + mapping("r--p", 7, 4) + mapping("rw-p", 7, 0) + mapping("r-xp", 0, 0)
    assert list(_clean_mappings(text.splitlines())) == [(0x1000, 0x2000, 8192)]
