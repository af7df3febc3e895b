"""`presage doctor`: what on this host keeps presaged from its work, each finding with its remedy.

Enters: the host and the configuration. Leaves: findings. It changes nothing; databases are opened
read-only, and compiled code is tried in a child.

One piece beyond the usual size, because every check is a function of one screen and they are read as a list.
"""

import ctypes
import json
import os
import pwd
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from daemon.cli.client import fetch_cost, fetch_failures, fetch_status
from daemon.cli.configuration import verdict
from daemon.cli.grants import missing_grants, read_sandbox
from daemon.cli.status import CONFIG_HELP
from daemon.cli.terminal import console, print_json, print_rows, printable
from daemon.config import Loaded, load
from daemon.dashboard.answers import COSTLY_BYTES, COSTLY_CPU_RATIO, SelfAnswer
from daemon.errors import CollectorError, ConfigError, DaemonError, NotRunning
from daemon.host import describe_host
from daemon.host_paths import PROC_VARIABLE, ROOT_VARIABLE, HostPaths, find_host
from daemon.web.api import StatusAnswer

Verdict = Literal["ok", "warning", "problem"]

_STYLES: dict[Verdict, str] = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_LABEL = 14
_OLDEST_PYTHON = (3, 11)
_PACKAGES = ("daemon", "detectors", "alerting")
_MOST_NAMES = 5
_LITTLE_BYTES, _TOO_LITTLE_BYTES = 1_000_000_000, 50_000_000
_DATABASE_SECONDS = 10.0
_PROBE_SECONDS = 60.0
_JUDGED_AFTER = timedelta(hours=1)
_ROOM = {
    "disk": "make room in the state folder, or see why it cannot be written",
    "memory": "give the unit (`MemoryMax=`), its container or the host more memory",
}
_STA_UNSYNC = 0x0040
_SYNCHRONIZED = Path("run/systemd/timesync/synchronized")
_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "ceph", "afs", "lustre", "fuse.", "glusterfs", "ocfs2", "gfs2")
_VOLATILE_FILE_SYSTEMS = ("tmpfs", "ramfs")
_PROBE = """
import json, sys
from pathlib import Path
from detectors import kernels
folder = Path(sys.argv[1])
ready, name, error = False, "", ""
try:
    try:
        ready = kernels.came_compiled() or kernels.is_cached(folder)
    except PermissionError:
        pass  # told as the kernel cache
    if ready:
        backend, reasons = kernels.load("auto", folder)
        name, error = backend.name, "; ".join(reasons) if backend is kernels.NUMPY else ""
    else:
        import numba
except (ImportError, OSError, RuntimeError) as failure:
    error = str(failure)
print(json.dumps({"name": name, "error": error}))
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found; `remedy` is "" when there is nothing to do."""

    check: str
    verdict: Verdict
    finding: str
    remedy: str = ""


Check = Callable[[], Iterable[Result]]
HostCheck = Callable[[HostPaths], Iterable[Result]]


def show_findings(
    config: Annotated[Path | None, typer.Option(metavar="FILE", help=CONFIG_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as a JSON array.")] = False,
    root_fs: Annotated[
        Path | None,
        typer.Option(metavar="DIR", envvar=ROOT_VARIABLE, help="In a container: where the host's root is mounted."),
    ] = None,
    proc: Annotated[
        Path | None, typer.Option(metavar="DIR", envvar=PROC_VARIABLE, help="In a container: the host's /proc.")
    ] = None,
) -> None:
    """Check that presaged can work on this host.

    Each finding comes with its remedy. Exit code 1 when there is a problem; warnings are none.
    """
    results = []
    out = console()
    for result in examine(config, root_fs, proc):
        results.append(result)
        if not as_json:
            print_rows(out, _rows(result), _LABEL)
    if as_json:
        print_json(out, [asdict(result) for result in results])
    raise typer.Exit(int(any(result.verdict == "problem" for result in results)))


def _rows(result: Result) -> Iterator[tuple[str, Text]]:
    text = Text(f"{result.verdict:<8}", _STYLES[result.verdict])
    yield result.check, text.append(printable(result.finding), "default not bold")
    for number, line in enumerate(result.remedy.splitlines()):  # more than one: a drop-in, to be copied
        yield "", Text(f"{'   ' if number else '-> '}{printable(line)}", "cyan")


def examine(config: Path | None, root_fs: Path | None = None, proc: Path | None = None) -> Iterator[Result]:
    """Yield the result of every check; one that fails itself is a finding and hides no other."""
    loaded: Loaded | None = None
    try:
        loaded = load(config)
        configuration = [Result("configuration", "ok", verdict(loaded).replace(": ok", ""))]
    except ConfigError as error:
        remedy = "mend it, then `presage config check`"
        configuration = [Result("configuration", "problem", problem, remedy) for problem in error.problems]
    yield from _guarded("python", check_python)
    yield from _guarded("packages", check_packages)
    yield from configuration
    paths = HostPaths()
    try:
        paths = find_host(root_fs, proc)
    except ConfigError as error:
        remedy = "mount the host's root with all that is mounted below it, read-only, and name it"
        yield from (Result("host paths", "problem", problem, remedy) for problem in error.problems)
    for name, configured in _CONFIGURED.items():
        if loaded is None:
            yield Result(name, "warning", "not checked: the configuration cannot be used")
        else:
            yield from _guarded(name, partial(configured, loaded))
    for name, check in _HOST.items():
        yield from _guarded(name, partial(check, paths))


def _guarded(name: str, check: Check) -> list[Result]:
    try:
        return list(check())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the other checks are still of use
        return [Result(name, "problem", f"this check failed: {type(error).__name__}: {error}", "please report it")]


def check_python() -> list[Result]:
    """The interpreter's version."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _OLDEST_PYTHON:
        return [Result("python", "problem", found, "install Python 3.11 or newer")]
    return [Result("python", "ok", f"{found} ({sys.executable})")]


def check_packages() -> list[Result]:
    """Whether another distribution owns one of our top-level names: its files would overwrite ours."""
    owners = metadata.packages_distributions()
    foreign = {name: sorted(set(owners.get(name, [])) - {"presaged"}) for name in _PACKAGES}
    results = [
        Result(
            "packages",
            "problem",
            f"the package {name} belongs to {', '.join(others)} too",
            "install presaged into an environment of its own: `pipx install presaged`",
        )
        for name, others in foreign.items()
        if others
    ]
    return results or [Result("packages", "ok", f"{', '.join(_PACKAGES)} are ours alone")]


def check_state_folder(loaded: Loaded) -> Iterator[Result]:
    """Whether the state folder is there, ours, writable and private."""
    name, folder = "state folder", loaded.state_directory
    existing = _nearest(folder)
    writable = os.access(existing, os.W_OK | os.X_OK)
    status = existing.stat()
    mode = stat.S_IMODE(status.st_mode)
    if not existing.is_dir():
        yield Result(name, "problem", f"{existing} is a file", "name a folder in [storage] directory")
    elif existing != folder and writable:
        yield Result(name, "ok", f"{folder} does not exist yet; presaged makes it")
    elif existing != folder:
        remedy = "start presaged by systemd, as root, or name another folder in [storage] directory"
        yield Result(name, "warning", f"{folder}: we may not look or write in {existing}", remedy)
    elif not writable and status.st_uid != os.geteuid():
        finding = f"{folder} belongs to {_user(status.st_uid)}, we are {_user(os.geteuid())}"
        yield Result(name, "warning", finding, "run this as root to check what is in it")
    elif not writable:
        yield Result(name, "problem", f"{folder} is not writable", f"chmod 700 {folder}")
    elif mode & 0o077:
        yield Result(name, "warning", f"{folder} is open to other users ({mode:04o})", f"chmod 700 {folder}")
    else:
        yield Result(name, "ok", f"{folder}, writable, private")


def check_file_system(loaded: Loaded) -> Iterator[Result]:
    """Whether SQLite is safe there, the data outlives a restart, and there is room."""
    name, folder = "file system", _nearest(loaded.state_directory)
    kind = _file_system(folder)
    free = shutil.disk_usage(folder).free
    finding = f"{kind}, {free / 1e9:.1f} GB free"
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        yield Result(name, "problem", f"{finding}, read-only", "name another folder in [storage] directory")
    elif free < _TOO_LITTLE_BYTES:
        yield Result(name, "problem", finding, "make room: presaged needs 50 MB at least")
    elif kind.startswith(_NETWORK_FILE_SYSTEMS):
        remedy = "SQLite needs a local disk: name another folder in [storage] directory"
        yield Result(name, "warning", f"{finding}; it may be on the network", remedy)
    elif kind in _VOLATILE_FILE_SYSTEMS:
        yield Result(name, "warning", f"{finding}; it is lost at a restart", "name a folder on a disk")
    elif kind == "overlay":
        yield Result(name, "warning", f"{finding}; it is lost with the container", "mount a volume there")
    elif free < _LITTLE_BYTES:
        yield Result(name, "warning", finding, "make room: history grows for years")
    else:
        yield Result(name, "ok", finding)


def check_database(file: str, loaded: Loaded) -> Iterator[Result]:
    """`PRAGMA quick_check` on one database, read-only."""
    path = loaded.state_directory / file
    try:
        if not path.exists():
            yield Result(file, "ok", "does not exist yet")
            return
        # Without a journal nobody has it open, and SQLite need not make one to read.
        still = "" if path.with_name(f"{file}-wal").exists() else "&immutable=1"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro{still}", uri=True, timeout=2)) as database:
            until = time.monotonic() + _DATABASE_SECONDS
            database.set_progress_handler(lambda: int(time.monotonic() > until), 1_000)
            found = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    except PermissionError:
        yield Result(file, "warning", f"not checked: {path} is not ours to read", "run this as root")
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            yield Result(file, "ok", f"nothing wrong in the first {_DATABASE_SECONDS:g} s of checking")
        elif os.access(path, os.R_OK):
            yield Result(file, "problem", f"not checked: {error}", "see whether presaged runs; try again")
        else:
            yield Result(file, "warning", f"not checked: {error}", "run this as root")
    except sqlite3.DatabaseError as error:
        yield Result(file, "problem", f"{path}: {error}", _mend(file))
    else:
        if found == "ok":
            yield Result(file, "ok", f"intact, {path.stat().st_size / 1e6:.1f} MB")
        else:
            yield Result(file, "problem", f"{path}: {' '.join(found.split())}", _mend(file))


def _mend(file: str) -> str:
    if file == "history.db":
        return "restart presaged: it sets the file aside and learns anew"
    return f"stop presaged, restore {file} from a copy or move it away, start it again"


def check_compute(loaded: Loaded) -> list[Result]:
    """Whether kernels can be kept, and what would compute the networks; tried in a child."""
    folder = loaded.cache_directory
    existing = _nearest(folder)
    results = []
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        finding = f"{folder} is not writable for {_user(os.geteuid())}"
        remedy = "harmless if presaged runs as another user, who may write there"
        results.append(Result("kernel cache", "warning", finding, remedy))
    if loaded.config.compute.backend == "numpy":
        return [*results, Result("compute", "ok", "NumPy, as [compute] backend asks for")]
    try:
        name, error = _probe(folder)
    except subprocess.TimeoutExpired:
        finding = f"Numba did not load within {_PROBE_SECONDS:g} s; NumPy would serve until it does"
        return [*results, Result("compute", "warning", finding, "try again when the host is less busy")]
    if not results:
        state = "compiled" if name else "not compiled yet: a child does it when there is a network"
        results.append(Result("kernel cache", "ok", f"{folder}: {state}"))
    if error:
        remedy = 'install numba, or say [compute] backend = "numpy" to be without this warning'
        return [*results, Result("compute", "warning", f"NumPy serves, Numba cannot: {error}", remedy)]
    serving = f"{name}, tested against NumPy" if name else "NumPy, until Numba's kernels are compiled"
    return [*results, Result("compute", "ok", serving)]


def _probe(folder: Path) -> tuple[str, str]:
    """Return the back end whose kernels are ready, "" where none are, and why better than NumPy cannot serve.

    Root becomes the owner of the cache for it: files of root would be in the daemon's way.
    """
    owner = _nearest(folder).stat().st_uid
    answer = subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-P", "-c", _PROBE, str(folder)],
        capture_output=True,
        text=True,
        timeout=_PROBE_SECONDS,
        check=False,
        user=owner if os.geteuid() == 0 and owner != 0 else None,
    )
    if answer.returncode:
        return "", (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
    found = json.loads(answer.stdout)
    return str(found["name"]), str(found["error"])


def check_listener(loaded: Loaded) -> Iterator[Result]:
    """Whether our daemon answers, has room and takes little, or its port is free for it."""
    name, listen = "daemon", loaded.config.http.listen
    try:
        status, _ = fetch_status(loaded)
        yield Result(name, "ok", f"presaged {status.version} answers on {listen}, {status.samples:,} samples")
        for mode, why in status.degraded.items():
            yield Result(name, "warning", f"short of {mode}: {why}", _ROOM.get(mode, "see its log"))
        yield from _cost(fetch_cost(loaded), status)
    except NotRunning:
        yield Result(name, "warning", f"does not run; {listen} is free", "`systemctl start presaged`")
    except DaemonError as error:
        yield Result(name, "problem", str(error), "choose another port, or stop what listens there")


def _cost(cost: SelfAnswer, status: StatusAnswer) -> Iterator[Result]:
    """Yield what presaged takes too much of; the first hour says little of its share of a processor."""
    up = datetime.now(UTC) - datetime.fromisoformat(status.started_at)
    cpu_ratio, resident_bytes = cost.cpu_ratio or 0.0, cost.resident_bytes or 0
    if up >= _JUDGED_AFTER and cpu_ratio > COSTLY_CPU_RATIO:
        remedy = (
            "a longer [sampling] interval_seconds; a collector less: `presage status --json` has the seconds of each"
        )
        yield Result("daemon", "warning", f"takes {cpu_ratio * 100:.0f} % of a processor", remedy)
    if resident_bytes > COSTLY_BYTES:
        remedy = "`systemctl restart presaged` loses nothing; if it comes again, report it: `presage support-bundle`"
        yield Result("daemon", "warning", f"takes {resident_bytes / 1e6:.0f} MB of memory", remedy)


def check_applications(loaded: Loaded) -> Iterator[Result]:
    """Whether the applications that are configured tell what is listed of them."""
    from daemon.collectors.application import Asked, application_collectors  # noqa: PLC0415 - NumPy comes with it

    name = "application"
    asked = [Asked(one.name, one.url, one.directory, one.metrics) for one in loaded.config.collectors.application]
    if not asked:
        yield Result(name, "ok", "none is configured (optional)")
    interval_seconds = loaded.config.sampling.interval_seconds
    collectors = application_collectors(asked, gap_seconds=2.5 * interval_seconds)
    for one, collector in zip(asked, collectors, strict=True):
        try:
            collector.collect(time.monotonic_ns())
        except CollectorError as error:
            remedy = "see that it runs, and that the user presaged may reach it"
            yield Result(name, "warning", f"{one.name}: {error}", remedy)
        else:
            found = f"{one.name}: {len(one.metrics) - len(collector.missing)} of {len(one.metrics)} metrics"
            if collector.missing:
                remedy = f"{', '.join(collector.missing)}: leave it out, or name it as it is told there"
                yield Result(name, "warning", found, remedy)
            else:
                yield Result(name, "ok", found)
        finally:
            collector.close()


def check_failures(loaded: Loaded) -> Iterator[Result]:
    """Which failures the running daemon can see: its user's permissions count, not ours."""
    name = "failures"
    try:
        answer, _ = fetch_failures(loaded, 1)
    except NotRunning:
        yield Result(name, "warning", "not checked: presaged does not run", "start it, then ask again")
        return
    except DaemonError as error:
        yield Result(name, "warning", f"not checked: {error}")
        return
    problems = {source.name: source.problem for source in answer.sources if source.problem}
    if problem := problems.get("journal"):
        remedy = "keep one (Storage= in journald.conf): kernel errors are not seen without it"
        if "is not ours to read" in problem:
            remedy = "the unit's user must be in the group systemd-journal, as that of the shipped one is"
        elif "is not installed" in problem:
            remedy = "install systemd, in the image of a container too: journalctl comes with it"
        yield Result(name, "warning", f"journal: {problem}", remedy)
    if (problem := problems.get("systemd")) and "does not run this host" not in problem:
        remedy = (
            "install dbus, and `useradd --system presaged`: the bus must know our user; else the journal tells later"
        )
        yield Result(name, "warning", f"failed units: {problem}", remedy)
    if problem := problems.get("memory"):
        yield Result(name, "warning", f"killed processes: {problem}", "mount /proc in full: kills are not counted")
    if problem := problems.get("smartd"):
        yield Result(name, "ok", f"disks: {problem} (optional: smartmontools, where there are disks to watch)")
    if not problems:
        yield Result(name, "ok", "the journal, failed units, killed processes and disks are seen")


def check_grants(loaded: Loaded) -> Iterator[Result]:
    """What the unit keeps from presaged, each with the drop-in that grants it."""
    name, unit = "grants", read_sandbox()
    if not unit:
        yield Result(name, "ok", "there is no unit here that could refuse anything")
        return
    complete = True
    for grant in missing_grants(unit, loaded):
        if grant.is_optional:
            yield Result(name, "ok", f"not granted (optional): {grant.lost}", grant.drop_in)
        else:
            complete = False
            yield Result(name, "warning", f"not granted: {grant.lost}", grant.drop_in)
    if complete:
        yield Result(name, "ok", "the unit allows all that the default one does")


def check_host(paths: HostPaths) -> list[Result]:
    """What kind of machine this is."""
    host = describe_host(paths)
    kind = host.kind if host.virtualization == "none" else f"{host.kind} ({host.virtualization})"
    finding = f"{kind}, {host.cpus:g} CPUs, {host.memory_bytes / 2**30:.1f} GiB, Linux {host.kernel}"
    if host.machine_id is None:
        remedy = "`systemd-machine-id-setup`, or a cloned state folder cannot be told"
        return [Result("host", "warning", f"{finding}; no machine-id", remedy)]
    return [Result("host", "ok", finding)]


def check_paths(paths: HostPaths) -> Iterator[Result]:
    """In a container: which file systems of the host it is not shown. They are looked up, not asked."""
    from daemon.collectors.mounts import MountFilter  # noqa: PLC0415 - NumPy comes with it, only this needs it

    name = "host paths"
    if not paths.is_elsewhere:
        return
    mounts = MountFilter().pick((paths.proc / "1" / "mountinfo").read_bytes())
    hidden = [mount.name for mount in mounts if not _shows(paths.root, mount.path, mount.device)]
    if hidden:
        remedy = f"mount the host's / at {paths.root} with all that is mounted below it (rslave, HostToContainer)"
        yield Result(name, "warning", f"not seen below {paths.root}: {', '.join(hidden[:_MOST_NAMES])}", remedy)
    else:
        yield Result(name, "ok", f"the host's root is {paths.root}, its /proc {paths.proc}: {len(mounts)} file systems")


def _shows(root: Path, mount: bytes, device: tuple[int, int]) -> bool:
    try:
        found = os.stat(os.fsencode(root) + mount).st_dev  # noqa: PTH116 - bytes: a mount point need not be text
    except PermissionError:  # it is there, in a folder that is closed to us: the daemon says so itself
        return True
    except OSError:
        return False
    return (os.major(found), os.minor(found)) == device or device[0] == 0  # those of btrfs have others


def check_pressure(paths: HostPaths) -> list[Result]:
    """Whether the kernel says how long work waits."""
    try:
        (paths.proc / "pressure" / "memory").read_text(encoding="ascii")
    except OSError as error:
        remedy = "boot with psi=1 on the kernel's command line; without it waiting is not seen"
        return [Result("pressure", "warning", f"no PSI: {error.strerror}", remedy)]
    return [Result("pressure", "ok", "PSI is on")]


def check_permissions(paths: HostPaths) -> list[Result]:
    """Who we are, and whether the host's mounts can be seen from a sandbox."""
    user, file = _user(os.geteuid()), paths.proc / "1" / "mountinfo"
    try:
        file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        remedy = "mount /proc without hidepid, and no ProtectProc=invisible in the unit"
        return [Result("permissions", "warning", f"{user} cannot read {file}: {error.strerror}", remedy)]
    return [Result("permissions", "ok", f"{user} can read {file}")]


class _Timex(ctypes.Structure):
    """The head of the kernel's struct timex; what follows is room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def check_clock(paths: HostPaths) -> list[Result]:
    """Whether the clock is kept right, and the boot can be told from others."""
    results = []
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        results.append(Result("boot id", "ok", boot))
    except OSError as error:
        results.append(Result("boot id", "warning", f"cannot be read: {error.strerror}", "mount /proc in full"))
    timex = _Timex()
    failed = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0
    if (paths.root / _SYNCHRONIZED).exists() or (not failed and not timex.status & _STA_UNSYNC):
        return [*results, Result("clock", "ok", "synchronised")]
    if failed:
        finding = f"it cannot be told whether it is synchronised: {os.strerror(ctypes.get_errno())}"
        return [*results, Result("clock", "warning", finding)]
    remedy = "start chrony or systemd-timesyncd: times of day would be learned wrong"
    return [*results, Result("clock", "warning", "not synchronised", remedy)]


def check_unit(paths: HostPaths) -> list[Result]:
    """Whether systemd looks after presaged; it is optional."""
    if paths.is_elsewhere:
        folder = paths.sys / "fs" / "cgroup"
        if any((folder / top / "system.slice/presaged.service").is_dir() for top in (".", "unified", "systemd")):
            remedy = "`systemctl disable --now presaged` on the host, or remove the container"
            return [Result("unit", "warning", "the host runs presaged.service too: each fault is told twice", remedy)]
        return [Result("unit", "ok", "in a container: who runs it starts it again (probes: /healthz, /readyz)")]
    if not Path("/run/systemd/system").is_dir():
        finding = "no systemd here: no watchdog and no restart (both optional)"
        return [Result("unit", "ok", finding)]
    if (
        any(Path("/sys/fs/cgroup").glob("*/system.slice/presaged.service"))
        or Path("/sys/fs/cgroup/system.slice/presaged.service").is_dir()
    ):
        return [Result("unit", "ok", "presaged.service is active")]
    folders = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
    if any(Path(folder, "presaged.service").exists() for folder in folders):
        return [Result("unit", "warning", "presaged.service is not active", "`systemctl enable --now presaged`")]
    shipped = Path(sys.prefix, "share/presaged/systemd/presaged.service")  # of a wheel
    unit = shipped if shipped.exists() else Path("systemd/presaged.service")
    remedy = f"copy {unit} to /etc/systemd/system: restarts, a watchdog and a sandbox come with it"
    return [Result("unit", "warning", "presaged.service is not installed (optional)", remedy)]


_CONFIGURED: dict[str, Callable[[Loaded], Iterable[Result]]] = {
    "state folder": check_state_folder,
    "file system": check_file_system,
    "state.db": partial(check_database, "state.db"),
    "history.db": partial(check_database, "history.db"),
    "compute": check_compute,
    "daemon": check_listener,
    "failures": check_failures,
    "application": check_applications,
    "grants": check_grants,
}

_HOST: dict[str, HostCheck] = {
    "host paths": check_paths,
    "host": check_host,
    "pressure": check_pressure,
    "permissions": check_permissions,
    "clock": check_clock,
    "unit": check_unit,
}


def _nearest(path: Path) -> Path:
    """The path itself, or the closest above it that exists and that we may look at."""
    for candidate in (path, *path.parents):
        try:
            if candidate.exists():
                return candidate
        except OSError:  # the folder around it may not be entered
            continue
    return Path("/")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _file_system(path: Path) -> str:
    """The type of the file system that holds `path`: that of the last mount on the deepest mount point above it."""
    place, deepest, kind = path.resolve(), 0, "unknown"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split(" ")
        mount = Path(fields[4].replace("\\040", " "))
        if place.is_relative_to(mount) and len(mount.parts) >= deepest:
            deepest, kind = len(mount.parts), fields[fields.index("-") + 1]
    return kind
