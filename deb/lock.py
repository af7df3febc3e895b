"""What of the lock file the installed program needs.

Enters: requirements.lock (run, test, check and build) and what each distribution says it requires. Leaves: the part
of the lock that is needed to run, pins and hashes as they are. Nothing is resolved anew and nothing is asked of a
registry.
"""

import re
from collections.abc import Callable, Iterable
from importlib import metadata

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Numba compiles in a checkout. In the package the kernels are compiled, and its unit allows no executable memory.
LEFT_OUT = frozenset({"numba"})
_PIN = re.compile(r"([A-Za-z0-9._-]+)==\S+")


def runtime(lock: str, wanted: Iterable[str], requires: Callable[[str], Iterable[str]] | None = None) -> str:
    """Return the entries of `lock` for `wanted` and all that they require. Raises KeyError for one that is not locked.

    `requires` tells the requirements of a distribution by name; without it, those installed here do.
    """
    requires = requires or (lambda name: metadata.requires(name) or ())
    entries = _entries(lock)
    found: dict[str, str] = {}
    asked = [(requirement, "") for requirement in map(Requirement, wanted)]
    seen: set[tuple[str, str]] = set()
    while asked:
        requirement, extra = asked.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        if name in LEFT_OUT:
            continue
        found[name] = entries[name]
        for one in ("", *sorted(requirement.extras)):
            if (name, one) not in seen:
                seen.add((name, one))
                asked += [(below, one) for below in map(Requirement, requires(name))]
    return "".join(found[name] for name in sorted(found))


def _entries(lock: str) -> dict[str, str]:
    """Return the text of each entry by name; of several for one name, that of this Python."""
    found: dict[str, str] = {}
    text = "\n".join(line for line in lock.splitlines() if not line.startswith("#"))
    for entry in re.split(r"\n(?=\S)", text):
        if pin := _PIN.match(entry):
            _, _, marker = entry.partition("\n")[0].rstrip(" \\").partition(" ; ")
            if not marker or Marker(marker).evaluate():
                found[canonicalize_name(pin[1])] = entry.rstrip("\n") + "\n"
    return found
