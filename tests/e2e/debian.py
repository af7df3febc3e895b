"""A clean Debian 12, as debootstrap leaves it: systemd, the bus, Python, and nothing of this host."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from container import Container
from real import need

ROOT = Path("/var/cache/presaged-e2e/debian12")
_INSIDE = (
    "systemd-sysv,dbus,libnss-systemd,python3"  # what an ordinary server has; libgcc, libstdc++ and zlib come along
)
_SECONDS = 600


def clean_debian():
    """Return the root of a clean Debian 12; it is made once, in three minutes, from where apt has its packages."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("a clean Debian takes root, and a Debian host to make it on")
    need("debootstrap", "debootstrap")
    if ROOT.is_dir():
        return ROOT
    new = ROOT.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    make = ["debootstrap", "--variant=minbase", f"--include={_INSIDE}", "bookworm", str(new), _mirror()]
    done = subprocess.run(make, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        pytest.skip(f"debootstrap failed: {done.stdout.strip().splitlines()[-1:]}")
    shutil.rmtree(new / "var/cache/apt/archives", ignore_errors=True)
    return new.rename(ROOT)


def _mirror():
    """Return from where this host's own apt takes Debian's packages."""
    ask = ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(CODENAME)|$(REPO_URI)", "Created-By: Packages"]
    lines = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    for line in lines:
        origin, name, place = line.split("|")
        if (origin, name) == ("Debian", "bookworm"):
            return place
    pytest.skip("this host's apt has no source of Debian 12")


def boot(folder):
    """Boot it; what is done inside is gone when it stops."""
    return Container(folder, below=str(clean_debian()))
