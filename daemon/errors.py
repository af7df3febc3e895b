"""Every error that presaged raises on purpose.

PresagedError
├── ConfigError              the configuration or the environment cannot work: exit code 2
├── StateError               a database is unusable, foreign or from a newer version
├── CollectorError           a source failed: counted, the tick goes on
│   └── NotAvailable         the source does not exist on this host: neither failure nor alarm
├── DeadlineExceeded         blocking work overran its deadline and was abandoned
├── Overloaded               every lane for blocking work is stuck
├── WorkerError              the child failed: counted, the previous model serves
├── DeskError                what an operator asks for is not to be had as asked: why, and what would be right
│   ├── FieldErrors          fields of a question are wrong (it stands in daemon.web.operations, beside what reads them)
│   ├── NotFound             nothing has the name that was given
│   └── Conflict             it is there, and as things stand it cannot be done
└── DaemonError              `presage` got no usable answer from the daemon
    └── NotRunning           nothing listens where the daemon would
"""

from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "", *, likeness: float = 0.6) -> str:
    """Return the question for the one of the `known` that `name` is most like; `otherwise` where it is like none."""
    from difflib import get_close_matches  # noqa: PLC0415 - a daemon in which nobody errs needs it never

    near = get_close_matches(name, list(known), 1, likeness)
    return f'did you mean "{near[0]}"?' if near else otherwise


class PresagedError(Exception):
    """Root of the tree: its text is one readable sentence for an operator."""


class ConfigError(PresagedError):
    """One or more problems that must be mended before a start; `problems` has one line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        count = len(problems)
        head = "1 problem:" if count == 1 else f"{count} problems:"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in problems)]))


class StateError(PresagedError):
    """A database or the state folder cannot be used."""


class CollectorError(PresagedError):
    """A source could not be read; the signals it gives are missing for this tick."""


class NotAvailable(CollectorError):
    """The source does not exist on this host, by kernel, hardware or permission."""


class DeadlineExceeded(PresagedError):
    """Blocking work did not end in time. Its thread is left to it and replaced."""


class Overloaded(PresagedError):
    """No lane is free for blocking work; the caller goes without it."""


class WorkerError(PresagedError):
    """A job of the child failed, was killed or gave something unusable."""


class DeskError(PresagedError):
    """What an operator asks for cannot be done as asked; the text says what would be right."""


class NotFound(DeskError):
    """No alert, silence or sink has the name that was given."""


class Conflict(DeskError):
    """What is meant is there, and as things stand it cannot be done."""


class DaemonError(PresagedError):
    """The daemon gave no usable answer: why, and what to do about it."""


class NotRunning(DaemonError):
    """Nothing listens where the daemon would."""
