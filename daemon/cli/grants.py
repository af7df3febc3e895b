"""What the unit's sandbox keeps from presaged, and the drop-in that grants it.

Enters: the unit's files and the configuration. Leaves: for each grant that is missing what is not seen without it,
and the drop-in as text. It reads files only, changes nothing, and never shows what a secret holds.
"""

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.config import Config, Loaded, split_address
from daemon.unit_files import unit_settings

UNIT = "presaged.service"
_DROP_INS = f"/etc/systemd/system/{UNIT}.d"
_COMPILED = Path(__file__).parents[2] / "detectors" / "kernels" / "compiled"  # its module would bring NumPy along
_JOURNAL_GROUP = "systemd-journal"
# Settings that are lists: each adds to the ones before, and an empty one takes them all away.
_LISTS = frozenset({"supplementarygroups", "ipaddressdeny", "ipaddressallow", "loadcredential", "ambientcapabilities"})
_YES = frozenset({"yes", "true", "on", "1"})


@dataclass(frozen=True, slots=True)
class Grant:
    """One thing that the unit does not allow.

    `lost`: what is missing for it. `name` and `lines` make the drop-in. `is_optional`: the default unit does not allow
    it either, and nothing that was configured asks for it.
    """

    name: str
    lost: str
    lines: tuple[str, ...]
    is_optional: bool = False

    @property
    def drop_in(self) -> str:
        """What to write where, and what to run then. The name comes after those of the shipped drop-ins: it counts."""
        text = "\n".join(("[Service]", *self.lines))
        then = "`systemctl daemon-reload && systemctl restart presaged`"
        return f"write {_DROP_INS}/with-{self.name}.conf, then {then}:\n{text}"


class Sandbox:
    """What the files of the unit say. False where there is no such unit."""

    def __init__(self, settings: Iterator[tuple[str, str]]) -> None:
        self._last: dict[str, str] = {}
        self._all: dict[str, list[str]] = {}
        for name, value in settings:
            if name in _LISTS:
                self._all[name] = [*self._all.get(name, []), value] if value else []
            self._last[name] = value

    def __bool__(self) -> bool:
        return bool(self._last)

    def value(self, name: str, default: str = "") -> str:
        """Return a setting."""
        return self._last.get(name, "") or default

    def is_on(self, name: str) -> bool:
        """Whether a setting says yes."""
        return self.value(name).lower() in _YES

    def words(self, name: str) -> Sequence[str]:
        """Return all that a list holds."""
        return [word for value in self._all.get(name, []) for word in value.split()]


def read_sandbox(root: Path = Path("/")) -> Sandbox:
    """Read the unit as it is installed on this host."""
    return Sandbox(unit_settings(root, UNIT, "service"))


def missing_grants(unit: Sandbox, loaded: Loaded) -> Iterator[Grant]:
    """Yield what the unit keeps from presaged, the gravest first."""
    yield from _secrets(unit, loaded)
    yield from _addresses(unit, loaded.config)
    if _JOURNAL_GROUP not in (unit.value("group"), *unit.words("supplementarygroups")):
        lost = "the journal: disk and machine errors, hung tasks and SMART are not recorded, errors not counted"
        yield Grant("journal", lost, (f"SupplementaryGroups={_JOURNAL_GROUP}",))
    if unit.value("protectproc", "default") != "default" or unit.value("procsubset", "all") != "all":
        lost = "processes of others: read-only file systems are not noticed, nor who takes what, nor how many there are"
        yield Grant("processes", lost, ("ProtectProc=default", "ProcSubset=all"))
    if unit.value("protecthome", "no").lower() in {*_YES, "tmpfs"}:
        yield Grant("home", "file systems in /home, /root and /run/user", ("ProtectHome=read-only",))
    backend = loaded.config.compute.backend
    if unit.is_on("memorydenywriteexecute") and not _COMPILED.is_dir() and backend in {"auto", "jit"}:
        lost = "executable memory: nothing is compiled in this installation, so NumPy computes"
        yield Grant("jit", lost, ("MemoryDenyWriteExecute=no",), is_optional=backend == "auto")
    if "CAP_SYS_PTRACE" not in unit.words("ambientcapabilities") and unit.is_on("dynamicuser"):
        capabilities = "CAP_DAC_READ_SEARCH CAP_SYS_PTRACE"
        yield Grant(
            "full",
            "what each process reads and writes, and mounts below closed folders (the profile full)",
            (
                "PrivateUsers=no",
                f"CapabilityBoundingSet={capabilities}",
                f"AmbientCapabilities={capabilities}",
                "SystemCallFilter=@resources",
            ),
            is_optional=True,
        )


def _secrets(unit: Sandbox, loaded: Loaded) -> Iterator[Grant]:
    """A user of its own cannot read what is root's alone: systemd hands it over as a credential."""
    if not unit.is_on("dynamicuser") or not loaded.files:
        return
    folder = loaded.files[0].parent
    given = {one.partition(":")[0] for one in unit.words("loadcredential")}
    # once one is a credential, every name is looked for among them
    lacking = [name for name in secret_files(loaded.config) if name not in given and not Path(name).is_absolute()]
    closed = lacking if given else [name for name in lacking if not _is_open(folder / name)]
    if closed:
        lines = tuple(f"LoadCredential={name}:{folder / name}" for name in lacking)
        yield Grant("credentials", f"secrets: its user cannot read {', '.join(closed)}", lines)


def _is_open(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def secret_files(config: Config) -> list[str]:
    """Return the names of the files that hold secrets."""
    alerting = config.alerting
    named = [alerting.heartbeat.url_file]
    for sink in alerting.sinks:
        named += [sink.url_file, sink.token_file, sink.secret_file]
    return [name for name in dict.fromkeys(named) if name]


def _addresses(unit: Sandbox, config: Config) -> Iterator[Grant]:
    """With no address but this host's own, sinks elsewhere cannot be reached."""
    if "any" not in unit.words("ipaddressdeny"):
        return
    if "any" in unit.words("ipaddressallow"):
        return
    sinks = [one.name for one in config.alerting.sinks if one.url_file or not _is_here(one.url)]
    told = f"{', '.join(sinks)} cannot be reached" if sinks else "connect latency to the gateway is not measured"
    lines = ("IPAddressDeny=", "IPAddressAllow=")
    yield Grant("network", f"addresses beyond this host: {told}", lines, is_optional=not sinks)


def _is_here(url: str) -> bool:
    host = url.partition("://")[2].partition("/")[0]
    if not host:
        return True  # a sink without an address: the journal, stdout
    try:
        host = split_address(host)[0]
    except ValueError:
        host = host.removeprefix("[").removesuffix("]")
    return host in {"localhost", "::1"} or host.startswith("127.")
