"""Who serves, and what the other models are: two small files, each replaced whole by one rename.

Enters: names of models. Leaves: the pointer (champion, predecessor, since when) and the roles of the rest. A file that
is missing, cut short or foreign reads as nothing known, never as an error: the models themselves are still there.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from detectors.model_file import sync

KEPT_OTHERS = 3  # versions beside those that something needs
_LINES = 3
_LONGEST = 255  # of a name, as file systems have it


class State(StrEnum):
    """What a model is to its host."""

    CHAMPION = "champion"  # it serves
    PREDECESSOR = "predecessor"  # it served before, and is what is rolled back to
    SHADOW = "shadow"  # it scores beside the champion, and is judged when it has for long enough
    CHALLENGER = "challenger"  # it has passed, and waits for a person's word
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Role:
    """What is noted of one model, and what was measured when it was judged; whether it serves, the pointer says."""

    state: State = State.RETIRED
    since_ms: int = 0
    reason: str = ""
    pinned: bool = False
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pointed:
    """What the pointer says; "" = none."""

    champion: str = ""
    predecessor: str = ""
    since_ms: int = 0

    def __contains__(self, name: str) -> bool:
        """Tell whether `name` serves or did last."""
        return bool(name) and name in (self.champion, self.predecessor)


class Pointer:
    """The file that says who serves: the names of champion and predecessor and a time, a line each.

    Before predecessors were kept it had the first line only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Pointed:
        """Return what it says; a name that is none of a folder here counts as none."""
        try:
            lines = self._path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError):
            return Pointed()
        champion, predecessor, since = (*(line.strip() for line in lines[:_LINES]), *[""] * _LINES)[:_LINES]
        return Pointed(_name(champion), _name(predecessor), int(since) if since.isdecimal() else 0)

    def move(self, champion: str, predecessor: str, since_ms: int) -> None:
        """Point elsewhere, by one rename. Raises OSError."""
        _replace(self._path, f"{champion}\n{predecessor}\n{since_ms}\n")


class Roles:
    """The file of all that the pointer does not say."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Mapping[str, Role]:
        """Return what is noted, by name."""
        try:
            stored = json.loads(self._path.read_bytes())
            return {
                str(name): Role(
                    _noted(State(one["state"])),
                    int(one["since_ms"]),
                    str(one["reason"]),
                    one["pinned"] is True,
                    {str(key): float(value) for key, value in one["metrics"].items()},
                )
                for name, one in stored.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return {}

    def note(
        self, name: str, state: State, now_ms: int, reason: str = "", metrics: Mapping[str, float] | None = None
    ) -> None:
        """Note what `name` is from now on, and, where given, what was measured of it. Raises OSError."""
        roles = dict(self.read())
        before = roles.get(name, Role())
        known = before.metrics if metrics is None else dict(metrics)
        roles[name] = replace(before, state=state, since_ms=now_ms, reason=reason, metrics=known)
        self._write(roles)

    def pin(self, name: str, *, pinned: bool) -> None:
        """Note that `name` is kept for good, or no longer. Raises OSError."""
        roles = dict(self.read())
        roles[name] = replace(roles.get(name, Role()), pinned=pinned)
        self._write(roles)

    def keep(self, names: Collection[str]) -> None:
        """Forget all but `names`. Raises OSError."""
        roles = self.read()
        if roles.keys() - names:
            self._write({name: role for name, role in roles.items() if name in names})

    def _write(self, roles: Mapping[str, Role]) -> None:
        _replace(self._path, json.dumps({name: asdict(role) for name, role in roles.items()}, indent=1) + "\n")


def _noted(state: State) -> State:
    """Return what a model is beside the pointer: who serves and who did last, only that says."""
    return State.RETIRED if state in (State.CHAMPION, State.PREDECESSOR) else state


def _name(text: str) -> str:
    """Return `text` where a folder can be called so and is none of elsewhere."""
    fits = 0 < len(text.encode()) <= _LONGEST and "/" not in text and "\0" not in text and not text.startswith(".")
    return text if fits else ""


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    sync(partial)
    partial.replace(path)
    sync(path.parent)
