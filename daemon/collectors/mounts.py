"""Which mounts of the host are worth watching, from the text of mountinfo.

Enters: the bytes of /proc/1/mountinfo. Leaves: local mounts that hold data, one for each device.
Never touches a mount: a dead network mount would block.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from daemon.collectors.base import one_of, printable

ESCAPE = re.compile(rb"\\([0-7]{3})")
# 6.15 calls it emergency_ro when ext4 refused to write on after an error
READ_ONLY = frozenset((b"ro", b"emergency_ro"))
VIRTUAL_TYPES = frozenset(
    b"autofs bdev binder binfmt_misc bpf cgroup cgroup2 configfs cpuset debugfs devfs devpts devtmpfs dmabuf drm "
    b"efivarfs fusectl hugetlbfs mqueue nfsd none nsfs overlay pipefs proc pstore ramfs resctrl rootfs rpc_pipefs "
    b"securityfs selinuxfs smackfs sockfs sysfs tracefs".split()
)
IMAGE_TYPES = frozenset(b"cramfs erofs iso9660 romfs squashfs udf".split())  # always full, never written
NETWORK_TYPES = frozenset(
    b"9p afs beegfs ceph cifs coda fuse glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs pvfs2 smb3 smbfs "
    b"virtiofs".split()
)
SKIPPED_TYPES = VIRTUAL_TYPES | IMAGE_TYPES | NETWORK_TYPES
KEPT_TMPFS = frozenset((b"/tmp", b"/run"))
SKIPPED_MOUNTS = (
    "/dev/*",
    "/proc/*",
    "/sys/*",
    "/run/user/*",
    "/run/credentials/*",
    "/snap/*",
    "/var/lib/kubelet/*",
    "*/kubelet/pods/*",  # of those that have it elsewhere: k0s, microk8s
    "*/kubelet/plugins/*",
    "/var/lib/docker/*",
    "/var/lib/containerd/*",
    "/var/lib/containers/storage/*",
    "/etc/hosts",  # these three are single files that a container engine binds
    "/etc/hostname",
    "/etc/resolv.conf",
)


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount: `path` as the kernel knows it, `name` as text, `device` as (major, minor)."""

    path: bytes
    name: str
    kind: bytes
    device: tuple[int, int]
    read_only: bool


class MountFilter:
    """Picks the mounts to watch; `exclude` are shell patterns for mount points."""

    def __init__(self, exclude: Sequence[str] = ()) -> None:
        self._excluded = one_of((*SKIPPED_MOUNTS, *exclude))

    def pick(self, mountinfo: bytes) -> list[Mount]:
        """Return the mounts worth watching in the order of the file.

        The last of several on one mount point is on top of the others. Of several mounts of one
        device (bind mounts, subvolumes) the one with the shortest path stays.

        Raises:
            ValueError: a line is not what proc(5) says.
        """
        visible: dict[bytes, Mount | None] = {}
        for line in mountinfo.splitlines():
            path, mount = self._parse(line)
            visible.pop(path, None)
            visible[path] = mount
        shortest: dict[tuple[int, int], Mount] = {}
        for mount in visible.values():
            if mount is not None:
                known = shortest.get(mount.device)
                if known is None or len(mount.path) < len(known.path):
                    shortest[mount.device] = mount
        return [mount for mount in visible.values() if mount is not None and shortest[mount.device] is mount]

    def _parse(self, line: bytes) -> tuple[bytes, Mount | None]:
        fields = line.split(b" ")
        path = unescape(fields[4])
        after = fields.index(b"-", 6) + 1
        kind, source, options = fields[after], fields[after + 1], fields[after + 2]
        if not _holds_data(path, kind, source):
            return path, None
        name = printable(path)
        if self._excluded.match(name):
            return path, None
        major, minor = fields[2].split(b":")
        read_only = not READ_ONLY.isdisjoint((*fields[5].split(b","), *options.split(b",")))
        return path, Mount(path, name, kind, (int(major), int(minor)), read_only)


def _holds_data(path: bytes, kind: bytes, source: bytes) -> bool:
    if path == b"/":  # in a container it is an overlay, and still what fills up
        return kind not in IMAGE_TYPES and kind != b"rootfs"
    if path.endswith(b"//deleted") or source.startswith(b"/dev/loop"):
        return False
    if kind == b"tmpfs":
        return path in KEPT_TMPFS
    return kind not in SKIPPED_TYPES and not kind.startswith(b"fuse.")  # fuseblk, a local disk, stays


def unescape(field: bytes) -> bytes:
    r"""Return the field with the kernel's octal escapes (`\040` for a space) resolved."""
    return ESCAPE.sub(lambda match: bytes((int(match[1], 8) & 0xFF,)), field) if b"\\" in field else field
