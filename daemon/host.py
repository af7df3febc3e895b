"""What kind of machine this is, and how much of it is ours.

Enters: files of /proc, /sys and the root. Leaves: container, virtual machine or node, processors,
memory, identity. Runs no program and asks no service.

A cgroup limit is the capacity only in a container. The daemon's own unit has a MemoryMax too, and
that is not the host's.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from daemon.host_paths import HostPaths

Kind = Literal["container", "vm", "node"]

CGROUP_ENGINES = (
    ("kubepods", "kubernetes"),
    ("docker", "docker"),
    ("libpod", "podman"),
    ("containerd", "containerd"),
    ("lxc", "lxc"),
    ("machine.slice", "systemd-nspawn"),
)
DMI_VENDORS = (
    ("VMware", "vmware"),
    ("innotek", "virtualbox"),
    ("VirtualBox", "virtualbox"),
    ("KVM", "kvm"),
    ("QEMU", "qemu"),
    ("Amazon EC2", "amazon"),
    ("Google", "google"),
    ("Xen", "xen"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("DigitalOcean", "kvm"),
    ("OpenStack", "kvm"),
    ("Hetzner", "kvm"),
    ("Virtual Machine", "microsoft"),  # the product; Microsoft as a vendor also builds laptops
)
MACHINE_ID = re.compile(r"[0-9a-f]{32}")
NO_LIMIT = 2**60  # cgroup v1 says "none" as 2^63 rounded down to a page


@dataclass(frozen=True, slots=True)
class HostDescription:
    """The host as it was at the start.

    `cpus` counts a container's quota and may be a fraction, `memory_bytes` its limit.
    `virtualization` is "none" on a node. `machine_id` is None where the host has none (yet).
    """

    kind: Kind
    virtualization: str
    cpus: float
    memory_bytes: int
    machine_id: str | None
    hostname: str
    kernel: str


def describe_host(paths: HostPaths) -> HostDescription:
    """Describe the host whose trees `paths` shows. Files that cannot be read count as absent."""
    engine = container_engine(paths)
    hypervisor = "" if engine else _hypervisor(paths)
    cpus = float(_online_cpus(paths))
    memory = _total_memory(paths)
    if engine:
        cpus = min(cpus, _cpu_quota(paths))
        limits = container_memory(paths)
        if limits is not None and (limited := limits.read()) is not None:
            memory = min(memory, limited[1])
    return HostDescription(
        kind="container" if engine else "vm" if hypervisor else "node",
        virtualization=engine or hypervisor or "none",
        cpus=cpus,
        memory_bytes=memory,
        machine_id=_machine_id(paths),
        hostname=_text(paths.proc / "sys" / "kernel" / "hostname") or "localhost",
        kernel=_text(paths.proc / "sys" / "kernel" / "osrelease"),
    )


def container_engine(paths: HostPaths) -> str:
    """Return what runs this container ("docker", "lxc", "container" when unnamed), "" on a whole machine."""
    said = _text(paths.root / "run" / "systemd" / "container")
    if said:
        return said
    for entry in _text(paths.proc / "1" / "environ").split("\0"):
        if entry.startswith("container=") and entry != "container=":
            return entry.removeprefix("container=")
    for _, path in _cgroups(paths):
        for word, engine in CGROUP_ENGINES:
            if word in path:
                return engine
    # Both files remain in an image that a micro-VM boots from (Firecracker, seen): there the root is a disk.
    if not _root_is_a_disk(paths):
        if (paths.root / "run" / ".containerenv").exists():
            return "podman"
        if (paths.root / ".dockerenv").exists():
            return "docker"
    return ""


def _root_is_a_disk(paths: HostPaths) -> bool:
    for line in _text(paths.proc / "1" / "mountinfo").splitlines():
        fields = line.split(" ")
        if fields[4:5] == ["/"]:
            return not fields[2].startswith("0:")  # overlay, btrfs and zfs have major 0
    return False


class ContainerMemory:
    """The memory limit and use of the container, from the cgroup of its first process and those above it."""

    def __init__(self, folders: list[Path], version: Literal[1, 2]) -> None:
        self._folders = folders
        self._names = (
            ("memory.max", "memory.current", "inactive_file")
            if version == 2  # noqa: PLR2004 - the cgroup version
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )

    def read(self) -> tuple[int, int] | None:
        """Return (used bytes, limit bytes) now, None where no cgroup sets a limit.

        Use is without `inactive_file`, cache that the kernel gives back at once; so counts kubelet too.
        The limit is read each time: it can change while the container runs.
        """
        limit_name, usage_name, inactive_name = self._names
        limits = [(limit, folder) for folder in self._folders if (limit := _number(folder / limit_name)) is not None]
        limits = [(limit, folder) for limit, folder in limits if 0 < limit < NO_LIMIT]
        if not limits:
            return None
        limit, folder = min(limits)
        usage = _number(folder / usage_name)
        if usage is None:
            return None
        return max(usage - _field(_text(folder / "memory.stat"), inactive_name), 0), limit


def container_memory(paths: HostPaths) -> ContainerMemory | None:
    """Return the reader of the container's memory limit; None on a whole machine, whatever its units' limits are."""
    if not container_engine(paths):
        return None
    for version, folders in _controllers(paths, "memory"):
        limit_name = "memory.max" if version == 2 else "memory.limit_in_bytes"  # noqa: PLR2004 - the cgroup version
        existing = [folder for folder in folders if (folder / limit_name).exists()]
        if existing:
            return ContainerMemory(existing, version)
    return None


def _cpu_quota(paths: HostPaths) -> float:
    """Return the processors that the container may use, infinite without a quota."""
    quotas = [float("inf")]
    for version, folders in _controllers(paths, "cpu"):
        for folder in folders:
            if version == 1:
                quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
            else:
                words = [*_text(folder / "cpu.max").split(), "", ""]  # "max 100000" where there is no quota
                quota, period = (int(word) if word.isdecimal() else None for word in words[:2])
            if quota and period and quota > 0:
                quotas.append(quota / period)
    return min(quotas)


def _controllers(paths: HostPaths, controller: str) -> Iterator[tuple[Literal[1, 2], list[Path]]]:
    """Yield the version and the cgroup folders of the first process, up to the top, where `controller` may be.

    A path that the namespace does not show (`/../..`, or that of the outer host) falls back to the
    top, which then is the container's own cgroup.
    """
    top = paths.sys / "fs" / "cgroup"
    for names, path in _cgroups(paths):
        if names == [""]:
            yield 2, _upwards(top, path)
        elif controller in names:
            base = next((top / n for n in (",".join(names), controller) if (top / n).is_dir()), top / controller)
            yield 1, _upwards(base, path)


def _upwards(top: Path, path: str) -> list[Path]:
    parts = [part for part in path.split("/") if part]
    if ".." in parts:
        parts = []
    return [top.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _cgroups(paths: HostPaths) -> list[tuple[list[str], str]]:
    """Return (controllers, path) of the first process; version 2 has one line with no controller."""
    lines = (line.split(":", 2) for line in _text(paths.proc / "1" / "cgroup").splitlines())
    return [(fields[1].split(","), fields[2]) for fields in lines if len(fields) == 3]  # noqa: PLR2004 - id:names:path


def _hypervisor(paths: HostPaths) -> str:
    """Return the hypervisor's name, "vm" when it has none, "" on bare metal."""
    if "microsoft" in _text(paths.proc / "sys" / "kernel" / "osrelease").lower():
        return "wsl"
    xen = _text(paths.sys / "hypervisor" / "type")
    if xen and "control_d" not in _text(paths.proc / "xen" / "capabilities"):  # dom0 is the machine itself
        return xen
    if _text(paths.proc / "device-tree" / "hypervisor" / "compatible"):
        return "kvm"
    flags = re.search(r"^flags\s*:(.*)$", _text(paths.proc / "cpuinfo"), re.MULTILINE)
    if flags is not None and "hypervisor" not in flags[1].split():
        return ""  # x86 always says so; clouds rent out bare metal under the same vendor's name
    dmi = paths.sys / "class" / "dmi" / "id"
    words = " ".join(_text(dmi / name) for name in ("sys_vendor", "product_name", "board_vendor", "bios_vendor"))
    named = next((name for vendor, name in DMI_VENDORS if vendor in words), "")
    if flags is not None:
        return named or "vm"
    return "" if "metal" in words else named


def _online_cpus(paths: HostPaths) -> int:
    found = len(re.findall(r"^cpu\d", _text(paths.proc / "stat"), re.MULTILINE))
    return found or os.cpu_count() or 1


def _total_memory(paths: HostPaths) -> int:
    return _field(_text(paths.proc / "meminfo"), "MemTotal:") * 1024


def _machine_id(paths: HostPaths) -> str | None:
    for place in ("etc/machine-id", "var/lib/dbus/machine-id"):
        said = _text(paths.root / place)
        if MACHINE_ID.fullmatch(said):  # "uninitialized" during a first boot
            return said
    return None


def _field(table: str, name: str) -> int:
    """Return the number behind `name` at the start of a line, 0 when there is none."""
    match = re.search(rf"^{re.escape(name)}\s+(\d+)", table, re.MULTILINE)
    return int(match[1]) if match else 0


def _number(path: Path) -> int | None:
    said = _text(path)
    return int(said) if said.removeprefix("-").isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \t\n")
    except OSError:  # absent or not ours to read: the caller has another source or a default
        return ""
