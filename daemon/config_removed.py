"""Keys that the configuration once had: for one minor version they are taken with a warning, then they are refused.

Enters: the table of a file. Leaves: the same table in today's keys, warnings, and what is refused, each a key and one
line that says what to write instead. No file is changed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from daemon import __version__

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class RemovedKey:
    """`key`, dotted without numbers of blocks, is unknown since `version` ("major.minor").

    `instead` is the key of the same table that its value goes to, "" = nothing took its place.
    """

    key: str
    version: str
    instead: str = ""


# The newest last. One is taken out of this table when no supported upgrade begins where it was known.
REMOVED: tuple[RemovedKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What is to be said of the keys at some places, in words that follow the key."""

    warnings: list[tuple[Location, str]] = field(default_factory=list)
    problems: list[tuple[Location, str]] = field(default_factory=list)


def replace_removed(
    table: dict[str, Any], version: str = __version__, removed: Sequence[RemovedKey] | None = None
) -> Told:
    """Take what is removed out of `table`, put its value where it belongs today, and return what is to be said."""
    told = Told()
    for one in REMOVED if removed is None else removed:
        *path, name = one.key.split(".")
        last = _minor(one.version)
        for location, inner in _tables(table, path, ()):
            if name not in inner:
                continue
            value, place = inner.pop(name), (*location, name)
            if _minor(version) > last:
                remedy = f"write {one.instead}" if one.instead else "leave it out"
                told.problems.append((place, f"was removed in {one.version}; {remedy}"))
                continue
            if one.instead:
                inner.setdefault(one.instead, value)
            effect = f"it is taken for {one.instead}" if one.instead else "it does nothing"
            until = f"{last[0]}.{last[1] + 1}"
            told.warnings.append((place, f"is gone since {one.version}: {effect}, and from {until} on it is refused"))
    return told


def _tables(table: object, path: Sequence[str], location: Location) -> Iterator[tuple[Location, dict[str, Any]]]:
    """Yield the tables at `path`, every block of an array of them, each with its place."""
    if isinstance(table, list):
        for number, block in enumerate(table):
            yield from _tables(block, path, (*location, number))
    elif isinstance(table, dict):
        if path:
            yield from _tables(table.get(path[0]), path[1:], (*location, path[0]))
        else:
            yield location, table


def _minor(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
