"""Who owns the state folder: what root creates in it belongs to that user, or the daemon could not open it.

Enters: the state folder. Leaves: its files in the hands of its owner. Root cannot become that user instead: systemd
keeps the folder of a dynamic user where only root gets in.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.config import Loaded
from daemon.errors import StateError


@contextmanager
def owner_kept(loaded: Loaded) -> Iterator[None]:
    """Work in the state folder; then give what root has created to its owner. Raises StateError without a folder."""
    directory = loaded.state_directory
    try:
        directory.stat()
    except FileNotFoundError as error:
        raise StateError(no_folder(loaded)) from error
    except OSError as error:
        raise StateError(f"{directory}: {error.strerror}; ask as its owner or as root") from error
    try:
        yield
    finally:
        give_to_owner(directory)


def no_folder(loaded: Loaded) -> str:
    """Say that there is no state folder, and what would be right."""
    remedy = "start presaged once, it makes it"
    if not loaded.files:
        remedy += "; no configuration was found: in a checkout, give --config config.toml"
    return f"{loaded.state_directory}: there is no such folder; {remedy}"


def give_to_owner(directory: Path) -> None:
    """Give the files of root in the folder of another user to that user."""
    owner = directory.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for path in directory.iterdir():
        if path.is_file() and not path.is_symlink() and path.stat().st_uid == 0:
            os.chown(path, owner.st_uid, owner.st_gid)
