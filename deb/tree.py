"""The files of the package, laid out as they will stand on the host.

Enters: the wheel with compiled kernels, the lock file, the interpreter that runs this. Leaves: a folder to be packed,
and the bill of materials. Everything below /opt/presaged is a private environment: the distribution's interpreter,
pinned wheels, bytecode that is there already (the service may not write it), and nothing of the machine it was built
on: no path, no address, no time.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from deb import lock, sbom

ROOT = Path(__file__).parents[1]
PREFIX = Path("opt/presaged")
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
SERVICE = "presaged"
_PROGRAMS = {SERVICE: "daemon.__main__", "presage": "daemon.cli"}
_UNUSED = ("bin", "share", "etc", "__pycache__")  # programs and pages of dependencies
_CONFIG = """\
# presaged: what this host needs beside the defaults. `systemctl reload presaged` follows most changes at once.
# Every key with its default and meaning: /usr/share/doc/presaged/config.toml, or `presage config default`.
# To keep your values apart from this file, write them into /etc/presaged/conf.d/NAME.toml.
"""


class PackageError(Exception):
    """The package cannot be made: why."""


def lay_out(root: Path, wheel: Path, *, time_seconds: int) -> str:
    """Put every file of the package below `root` and return the bill of materials. Raises PackageError."""
    site = root / PREFIX / "lib" / PYTHON / "site-packages"
    site.mkdir(parents=True)
    bill = _install(site, wheel, time_seconds)
    _environment(root / PREFIX)
    _documents(root, bill)
    _compile(root, site)
    _service(root)
    _completion(root, site)
    _refuse_traces(root)
    return bill


def run(command: Sequence[str | Path], **environment: str) -> str:
    """Run a tool of ours and return what it prints. Raises PackageError with what it complains of."""
    done = subprocess.run(  # noqa: S603 - pip, compileall, dpkg-deb
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    if done.returncode:
        raise PackageError(f"{' '.join(map(str, command[:4]))} failed:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def _install(site: Path, wheel: Path, time_seconds: int) -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements, report = site.parent / "requirements", site.parent / "report"
    requirements.write_text(
        lock.runtime((ROOT / "requirements.lock").read_text(encoding="utf-8"), project["dependencies"]),
        encoding="utf-8",
    )
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--no-deps", "--only-binary=:all:"]
    pip += ["--disable-pip-version-check", "--root-user-action=ignore", f"--target={site}", f"--report={report}"]
    version = wheel.name.split("-")[1]
    hashes: dict[str, str] = {}
    # ours by its name too, not by its path: that would be recorded
    for what in (
        ["--require-hashes", "-r", requirements],
        ["--no-index", f"--find-links={wheel.parent}", f"presaged=={version}"],
    ):
        run([*pip, *map(str, what)])
        hashes |= sbom.checksums(json.loads(report.read_text(encoding="utf-8")))
    requirements.unlink()
    report.unlink()
    for name in _UNUSED:
        shutil.rmtree(site / name, ignore_errors=True)
    for tests in [path for path in site.rglob("tests") if path.is_dir()]:  # of dependencies: a sixth of all
        shutil.rmtree(tests, ignore_errors=True)
    return sbom.bill(site, hashes, time_seconds=time_seconds)


def _environment(prefix: Path) -> None:
    """Make the environment around the installed packages: what `python3 -m venv` would, without its paths."""
    (prefix / "bin").mkdir()
    (prefix / "bin" / "python3").symlink_to(f"/usr/bin/{PYTHON}")
    words = f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {PYTHON.removeprefix('python')}\n"
    (prefix / "pyvenv.cfg").write_text(words, encoding="utf-8")
    for name, module in _PROGRAMS.items():
        program = prefix / "bin" / name
        # isolated: neither the caller's folder nor PYTHONPATH nor packages of a user come before ours
        flags = "-I" if name != SERVICE else "-IOO"  # what lives for months does without the texts in the code: 4 MB
        program.write_text(
            f"#!/{prefix.relative_to(prefix.parents[1])}/bin/python3 {flags}\n"
            f"import sys\n\nfrom {module} import main\n\nsys.exit(main())\n",
            encoding="utf-8",
        )
        program.chmod(0o755)
        link = prefix.parents[1] / "usr/bin" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"/{PREFIX}/bin/{name}")


def _compile(root: Path, site: Path) -> None:
    """Compile everything, so that it depends on nothing but the source: no time, no path of this machine.

    With texts for what is typed, without for the service; without the columns of each instruction for both.
    """
    compileall: list[str | Path] = [
        sys.executable,
        "-m",
        "compileall",
        "-q",
        "--invalidation-mode=unchecked-hash",
        *("-o", "0", "-o", "2"),
        "-s",
        root,
        "-p",
        "/",
    ]
    run([*compileall, site], PYTHONHASHSEED="0", PYTHONNODEBUGRANGES="1")


def _service(root: Path) -> None:
    unit = root / "lib/systemd/system/presaged.service"
    unit.parent.mkdir(parents=True)
    shutil.copyfile(ROOT / "systemd/presaged.service", unit)
    config = root / "etc/presaged/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(_CONFIG + "config_version = 1\n", encoding="utf-8")


def _documents(root: Path, bill: str) -> None:
    folder = root / "usr/share/doc/presaged"
    folder.mkdir(parents=True)
    for name in ("README.md", "CHANGELOG.md", "SECURITY.md", "config.toml"):
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("*.py"))
    shutil.copytree(ROOT / "systemd/drop-ins", folder / "drop-ins")
    for name in ("dashboards", "rules"):
        shutil.copytree(ROOT / "mixin" / name, folder / "mixin" / name)
    (folder / "sbom.cdx.json").write_text(bill, encoding="utf-8")
    (folder / "copyright").write_text(
        "presaged is licensed under the Apache License, version 2.0: /usr/share/common-licenses/Apache-2.0\n"
        f"The licences of what stands beside it are in /{PREFIX}/lib/{PYTHON}/site-packages/*.dist-info and, by name, "
        "in sbom.cdx.json.\n",
        encoding="utf-8",
    )


def _completion(root: Path, site: Path) -> None:
    """What bash asks at a TAB."""
    program = "import sys; sys.argv[0] = 'presage'; from daemon.cli import main; sys.exit(main())"
    text = run([sys.executable, "-B", "-c", program], PYTHONPATH=str(site), _PRESAGE_COMPLETE="source_bash")
    if "complete" not in text:
        raise PackageError("presage printed no completion for bash")
    file = root / "usr/share/bash-completion/completions/presage"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")


def _refuse_traces(root: Path) -> None:
    """Make sure that nothing tells where it was built."""
    paths = {str(root), str(ROOT), str(Path(sys.prefix))}
    traces = [re.escape(path.encode()) for path in paths if len(Path(path).parts) > 2]  # noqa: PLR2004 - not "/" or "/x"
    wanted = re.compile(b"|".join(traces))
    for file in sorted(root.rglob("*")):
        if file.is_file() and not file.is_symlink() and (found := wanted.search(file.read_bytes())):
            raise PackageError(f"{file.relative_to(root)} holds {found[0].decode()}")
