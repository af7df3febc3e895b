"""Where the host's own trees are: at their usual places, or, in a container, where it has the host's mounted.

Enters: `--root-fs` and `--proc`, or the environment. Leaves: the paths that every source reads, or a ConfigError.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import ConfigError

ROOT_VARIABLE, PROC_VARIABLE = "PRESAGED_ROOT_FS", "PRESAGED_PROC"
_ZONES = "zoneinfo/"


@dataclass(frozen=True, slots=True)
class HostPaths:
    """Where the host's own trees are mounted; elsewhere in a container and in tests."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    root: Path = Path("/")

    @property
    def is_elsewhere(self) -> bool:
        """Whether the host's root is not our own."""
        return self.root != Path("/")


def find_host(root: Path | None = None, proc: Path | None = None) -> HostPaths:
    """Return the paths of the host whose root is mounted at `root`, and its /proc at `proc`; blocks.

    What is not given is taken from the environment, else /proc and /sys are those below the root. Raises ConfigError
    where there is no such host.
    """
    root = root or Path(os.environ.get(ROOT_VARIABLE) or "/")
    proc = proc or Path(os.environ.get(PROC_VARIABLE) or root / "proc")
    found = HostPaths(proc, root / "sys", root)
    if found == HostPaths():  # what of our own is hidden, each source says itself
        return found
    problems = []
    if not (root / "etc").is_dir():
        problems.append(f"--root-fs: {root} is not the root of a host: it has no etc")
    if not (proc / "stat").exists():  # the first process may be hidden (hidepid, ProtectProc=invisible)
        problems.append(f"--proc: {proc} is not the /proc of a host: mount it, or the host's root with all below it")
    if not (root / "sys" / "class").is_dir():
        problems.append(f"--root-fs: {root}/sys is empty: mount the host's root with all that is mounted below it")
    if problems:
        raise ConfigError(problems)
    return found


def keep_time_of(paths: HostPaths) -> None:
    """Take over the host's time zone where its root is not ours: what is usual depends on the hour of its day."""
    if not paths.is_elsewhere or "TZ" in os.environ:
        return
    try:
        zone = str((paths.root / "etc" / "localtime").readlink()).partition(_ZONES)[2]
    except OSError:  # UTC, or a copy of a zone without its name
        zone = ""
    file = paths.root / "usr" / "share" / "zoneinfo" / zone if zone else paths.root / "etc" / "localtime"
    if file.is_file():
        os.environ["TZ"] = f":{file}"
        time.tzset()
