"""Who owns the state folder: a command that root gives works as that user, so that no file of root is left in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.errors import StateError


@contextmanager
def as_owner(directory: Path) -> Iterator[None]:
    """Work as the owner of `directory`, where root asks. Raises StateError for a folder that is not there."""
    try:
        there = directory.stat()
    except FileNotFoundError as error:
        raise StateError(
            f"{directory}: there is no such folder; start presaged once, or name another in [storage] directory"
        ) from error
    except OSError as error:
        raise StateError(f"{directory}: {error.strerror}; ask as its owner or as root") from error
    if os.geteuid() != 0 or there.st_uid == 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(there.st_gid)
    os.seteuid(there.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)
