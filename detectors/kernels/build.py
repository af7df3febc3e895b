"""Kernels ahead of time, and the wheel around them: `python -m detectors.kernels.build FOLDER [ARCHITECTURE ...]`.

Leaves one wheel an architecture in FOLDER. Runs in a checkout only, on a copy of it: the checkout itself
never holds shared objects, and goes on using the JIT.

One object a variant, compiled in a process of its own and linked with no library: `-z defs` fails on any
symbol left undefined. ziglang's ld.lld (from PyPI, a build requirement only) links for every architecture;
without it `cc -shared -nostdlib` links for this one. The same sources give the same bytes.
"""

import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from detectors.kernels.loader import COMPILED
from detectors.kernels.manifest import MANIFEST, write_checked
from detectors.kernels.native import NAMES

VARIANTS = {"v3": "x86_64", "v4": "x86_64", "aarch64": "aarch64"}
_ROOT = Path(__file__).parents[2]
_PARTS = ("daemon", "detectors", "alerting", "systemd")
_EMULATION = {"x86_64": "elf_x86_64", "aarch64": "aarch64linux"}


class BuildError(Exception):
    """An object could not be made: why."""


def build(folder: Path, variants: Sequence[str] = tuple(VARIANTS)) -> list[Path]:
    """Compile and link the variants into `folder`, with a manifest; return the files. Raises BuildError."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    out = []
    for variant in variants:
        with tempfile.TemporaryDirectory(prefix="presaged-build-") as work:
            sys.stdout.write(f"{variant}: compiling ...\n")
            _run([sys.executable, "-m", "detectors.kernels.compiler", work, variant])
            shared = Path(work) / "linked.so"
            _run(_linker(variant, Path(work) / f"{variant}.o", shared))
            name = f"presaged-{variant}.so"
            write_checked(folder, name, shared.read_bytes())
            out.append(folder / name)
            sys.stdout.write(f"{variant}: {shared.stat().st_size} bytes\n")
    return out


def _linker(variant: str, code: Path, shared: Path) -> list[str]:
    exports = code.with_name("exports")
    exports.write_text(f"{{ global: {' '.join(f'{name};' for name in NAMES)} local: *; }};\n", encoding="ascii")
    flags = ["-shared", "-z", "defs", "-z", "noexecstack", "-z", "relro", "-z", "now", f"--version-script={exports}"]
    architecture = VARIANTS[variant]
    if find_spec("ziglang"):
        linker = [sys.executable, "-m", "ziglang", "ld.lld", "-m", _EMULATION[architecture], *flags]
        return [*linker, "--build-id=none", "-s", "-o", str(shared), str(code)]
    if shutil.which("cc") and architecture == platform.machine():
        passed = [f"-Wl,{','.join(flags[i : i + 2])}" for i in (1, 3, 5, 7)]
        return ["cc", "-shared", "-nostdlib", "-s", *passed, f"-Wl,{flags[9]}", "-o", str(shared), str(code)]
    raise BuildError(f"no linker for {architecture}: install ziglang, or build on that architecture with cc")


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own tools
    if done.returncode:
        raise BuildError(f"{' '.join(command[:4])} failed:\n{done.stderr.strip()}")


def wheel(folder: Path, architecture: str) -> Path:
    """Build the wheel of one architecture into `folder` and return it. Raises BuildError."""
    if not (_ROOT / "pyproject.toml").exists():
        raise BuildError("a wheel is built from a checkout, not from an installed package")
    with tempfile.TemporaryDirectory(prefix="presaged-wheel-") as work:
        copy = Path(work) / "source"
        copy.mkdir()
        for path in _ROOT.iterdir():
            if path.name in _PARTS:
                shutil.copytree(path, copy / path.name, ignore=shutil.ignore_patterns("__pycache__", "compiled"))
            elif path.is_file():
                shutil.copy(path, copy)
        build(
            copy / "detectors" / "kernels" / COMPILED.name,
            [variant for variant, its in VARIANTS.items() if its == architecture],
        )
        made = Path(work) / "wheel"
        platform_tag = f"--config-settings=--build-option=--plat-name=manylinux_2_17_{architecture}"
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", platform_tag]
        _run([*pip, "-w", str(made), str(copy)])
        (built,) = made.glob("*.whl")
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(built, folder / built.name))


def main() -> int:
    """Build the wheels."""
    if len(sys.argv) < 2:  # noqa: PLR2004 - the folder
        sys.stderr.write("usage: python -m detectors.kernels.build FOLDER [x86_64] [aarch64]\n")
        return 2
    try:
        for architecture in sys.argv[2:] or [platform.machine()]:
            sys.stdout.write(f"{wheel(Path(sys.argv[1]), architecture)}\n")
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
