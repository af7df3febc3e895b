"""Which part of a cgroup path is the unit that an operator knows: a service, a scope, a container.

Enters: a cgroup's path. Leaves: a name that `systemctl`, `docker` or `crictl` understands. Nothing is read here.
"""

import re

from daemon.collectors.base import printable

_CONTAINER = re.compile(r"(?:(docker|libpod|crio|cri-containerd|containerd)-)?([0-9a-f]{64})(?:\.scope)?")
_ENGINES = {"libpod": "podman"}
_GROUPS = frozenset(("burstable", "besteffort", "docker", "kubepods", "libpod_parent", "lxc", "podman"))
_POD = re.compile(r"pod[0-9a-f-]{36}")
_PASSING = re.compile(
    r"(?:docker|podman|crio|cri-containerd|containerd|container|burstable|besteffort|kubepods|lxc) [0-9a-f]{12}$"
    r"|kubepods-(?:[a-z]+-)?pod[0-9a-f_]+\.slice$|pod[0-9a-f-]{36}$"
)
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_SHOWN_LETTERS = 12  # of a container's id, as its engine lists it


def is_group(name: str) -> bool:
    """Tell whether a cgroup of this name only holds others: a slice, or the place where an engine keeps its own.

    The manager of a user's session is a service by name; what runs is in it.
    """
    return (
        name.endswith(".slice")
        or name in _GROUPS
        or _POD.fullmatch(name) is not None
        or (name.startswith("user@") and name.endswith(".service"))
    )


def is_passing(name: str) -> bool:
    """Tell whether what `name_of` called so never comes back under this name: a container, a pod, what is transient."""
    return is_transient(name) or _PASSING.match(name) is not None


def is_transient(name: str) -> bool:
    """Tell whether a session, a timer of a user or `systemd-run` has made it."""
    return name.endswith(".scope") or name.startswith(("run-", "user-runtime-dir@", "session-"))


def name_of(cgroup: str, parent: str = "") -> str:
    """Return how the unit in the cgroup folder `cgroup` of `parent` is called."""
    container = _CONTAINER.fullmatch(cgroup)
    if container is None:
        plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), cgroup)
        return printable(plain.encode("utf-8", "surrogateescape"))
    engine = container[1] or (parent if parent in _GROUPS else "container")
    return f"{_ENGINES.get(engine, engine)} {container[2][:_SHOWN_LETTERS]}"


def unit_of(path: str) -> str:
    """Return the unit that a process belongs to by its cgroup path; "" for one that is in none."""
    parent = ""
    for part in path.split("/"):
        if part and not is_group(part):
            return name_of(part, parent)
        parent = part or parent
    return ""


def cgroup_path(text: bytes) -> str:
    """Return the path of /proc/PID/cgroup: that of version 2, or of systemd's own tree beside version 1.

    Read in a container of a cgroup namespace of its own, what is outside of it begins with so many "/.." .
    """
    paths = {}
    for line in text.splitlines():
        _, _, rest = line.partition(b":")
        names, _, path = rest.partition(b":")
        while path.startswith(b"/.."):
            path = path.removeprefix(b"/..") or b"/"
        paths[names] = path
    found = paths.get(b"", b"/")
    return (found if found != b"/" else paths.get(b"name=systemd", found)).decode("utf-8", "surrogateescape")
