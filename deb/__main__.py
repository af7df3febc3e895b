"""Make the Debian package: `python -m deb FOLDER`, with the wheel of this version and processor in FOLDER.

Leaves presaged_VERSION_ARCHITECTURE.deb, its SBOM and SHA256SUMS of all that is in FOLDER. For the Python that runs
it: with Debian 12's, the package is for Debian 12. The same sources, tools and $SOURCE_DATE_EPOCH give the same bytes.
"""

import argparse
import hashlib
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from daemon import __version__
from deb.tree import PREFIX, PYTHON, ROOT, PackageError, lay_out, run

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CONTROL = """\
Package: presaged
Version: {version}
Architecture: {architecture}
Maintainer: The presaged founders <presaged@localhost>
Installed-Size: {kilobytes}
Depends: {python}, libc6 (>= 2.28), libgcc-s1, libstdc++6, zlib1g, passwd
Recommends: systemd, dbus, libnss-systemd, ca-certificates
Suggests: smartmontools, prometheus
Section: admin
Priority: optional
Description: learns what is normal on this host and says what is not
 A monitoring daemon for one host. It learns what is normal here, says what is
 abnormal, which unit did it, and when each resource runs out, and delivers what
 deserves a person. No server, no cloud, no telemetry.
 .
 It brings its own Python packages, in /{prefix}, and starts in a sandbox as a
 user of its own. `presage status` shows what it knows, `presage doctor` what it lacks.
"""


def make(wheel: Path, folder: Path, *, time_seconds: int) -> Path:
    """Make the package out of `wheel` into `folder` and return it. Raises PackageError."""
    if not shutil.which("dpkg-deb"):
        raise PackageError("dpkg-deb is not here: a package is made on Debian or Ubuntu")
    _, version, *_, tag = wheel.name.removesuffix(".whl").split("-")
    machine = next((name for name in _ARCHITECTURES if tag.endswith(name)), None)
    if machine is None:
        raise PackageError(f"{wheel.name} holds no kernels for a known processor")
    name = f"presaged_{version}_{_ARCHITECTURES[machine]}"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="presaged-deb-") as work:
        root = Path(work) / "root"
        bill = lay_out(root, wheel, time_seconds=time_seconds)
        sizes = [path.lstat().st_size for path in root.rglob("*") if not path.is_dir()]
        control = _CONTROL.format(
            version=version,
            architecture=_ARCHITECTURES[machine],
            kilobytes=sum(-(-size // 1024) for size in sizes),
            python=PYTHON,
            prefix=PREFIX,
        )
        _control(root, control)
        _settle(root, time_seconds)
        package = folder / f"{name}.deb"
        pack: list[str | Path] = ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z12", "--build", root, package]
        run(pack, SOURCE_DATE_EPOCH=str(time_seconds))
    (folder / f"{name}.cdx.json").write_text(bill, encoding="utf-8")
    return package


def _control(root: Path, control: str) -> None:
    sums = [
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(root)}\n"
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.relative_to(root).parts[0] != "etc"
    ]
    folder = root / "DEBIAN"
    folder.mkdir()
    (folder / "control").write_text(control, encoding="utf-8")
    (folder / "conffiles").write_text("/etc/presaged/config.toml\n", encoding="utf-8")
    (folder / "md5sums").write_text("".join(sums), encoding="utf-8")
    for script in sorted((ROOT / "deb/scripts").iterdir()):
        shutil.copyfile(script, folder / script.name)
        (folder / script.name).chmod(0o755)


def _settle(root: Path, time_seconds: int) -> None:
    """One time and the usual modes for everything, whatever the umask of who builds."""
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            program = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if program else 0o644)
        os.utime(path, (time_seconds, time_seconds), follow_symlinks=False)


def write_sums(folder: Path) -> Path:
    """Write SHA256SUMS of every file in `folder`, for `sha256sum --check`."""
    sums = folder / "SHA256SUMS"
    files = sorted(path for path in folder.iterdir() if path.is_file() and path != sums)
    sums.write_text("".join(f"{_sha256(path)}  {path.name}\n" for path in files), encoding="utf-8")
    return sums


def _sha256(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def source_time() -> int:
    """Return the time that stands for this version of the sources, in seconds."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or (ROOT / "pyproject.toml").stat().st_mtime)


def newest_wheel(folder: Path) -> Path:
    """Return the wheel of this version for this processor. Raises PackageError where there is none."""
    pattern = f"presaged-{__version__}-*_{platform.machine()}.whl"
    found = sorted(folder.glob(pattern), key=lambda file: file.stat().st_mtime)
    if not found:
        raise PackageError(f"{folder / pattern}: there is no such wheel; `make wheel` makes it")
    return found[-1]


def main() -> int:
    """Make the package."""
    parser = argparse.ArgumentParser(prog="python -m deb", description="Make the Debian package out of the wheel.")
    parser.add_argument("folder", type=Path, help="where the wheel is and the package goes")
    folder = parser.parse_args().folder
    try:
        package = make(newest_wheel(folder), folder, time_seconds=source_time())
    except PackageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{package} ({package.stat().st_size / 1e6:.0f} MB)\n{write_sums(folder)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
