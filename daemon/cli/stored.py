"""`presage data export` and `data purge`: all that is stored of this host, taken along or deleted.

Enters: the state folder. Leaves: one tar.gz with both databases as they stand at one moment, the models and a list of
the tables; or an empty folder. Neither needs the daemon; to purge, it must not run. Secrets are not exported.
"""

import fcntl
import shutil
import sqlite3
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.archive import private_archive
from daemon.cli.configuration import ConfigOption
from daemon.cli.owner import give_to_owner, no_folder
from daemon.cli.terminal import say
from daemon.config import Loaded, load
from daemon.errors import StateError

_DATABASES = ("history.db", "state.db")
_NOT_EXPORTED = frozenset(("token", "links.key", "machine", "lock", "state.reserve", "cache"))
_OURS = (
    "history.db*", "state.db*", "state.reserve", "token", ".token.partial", "links.key", ".links.key.partial",
    "machine", "machine.draft", "models", "drift", "cache", "*.draft",
)  # fmt: skip
_README = """All that presaged has stored of this host.

history.db: every sample, and rollups (SQLite; tables samples, rollups, forecasts)
state.db: signals, alerts, notifications, silences, verdicts, changes, failures (SQLite)
models/: what was learned (safetensors, with a manifest each)

Secrets are not among it. `daemon/history.py` says how a sample is packed (`encode`, `decode`).
"""


def export(
    output: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to write it (default: here).")] = None,
    config: ConfigOption = None,
) -> None:
    """Write all that is stored of this host into one file.

    The daemon may run. Secrets are not among it.
    """
    loaded = load(config)
    file = output or Path(f"presaged-data-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.tar.gz")
    folder = _folder(loaded)
    try:
        with private_archive(file) as archive:
            _export(folder, archive, file.parent)
    except (OSError, sqlite3.Error) as error:
        raise StateError(f"{getattr(error, 'filename', None) or folder}: {_words(error)}") from error
    say(f"{file}: {file.stat().st_size / 1e6:.1f} MB, both databases, models; readable by you alone")


def purge(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
) -> None:
    """Delete all that is stored of this host.

    The daemon must not run. The next start begins anew, with another token.
    """
    loaded = load(config)
    folder = _folder(loaded)
    with _alone(folder):
        found = sorted({path for pattern in _OURS for path in folder.glob(pattern)})
        files = [path for one in found for path in (one, *one.rglob("*")) if path.is_file() and not path.is_symlink()]
        size = sum(path.stat().st_size for path in files)
        what = f"{len(files)} files, {size / 1e6:.1f} MB in {folder}"
        if not yes:
            if not sys.stdin.isatty():
                raise typer.BadParameter(f"this deletes {what}: say --yes")
            typer.confirm(f"Delete {what}? History, alerts, models, verdicts and the token are gone then", abort=True)
        try:
            for path in found:  # what is not ours stays, wherever the state was put
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except OSError as error:
            raise StateError(f"{error.filename or folder}: {error.strerror}") from error
    give_to_owner(folder)  # the lock, which root may have made
    say(f"deleted {what}")


def _folder(loaded: Loaded) -> Path:
    folder = loaded.state_directory
    try:
        next(folder.iterdir(), None)
    except FileNotFoundError:
        raise StateError(no_folder(loaded)) from None
    except OSError as error:
        raise StateError(f"{folder}: {error.strerror}; ask as its owner or as root") from error
    if not any((folder / name).exists() for name in (*_DATABASES, "token")):
        raise StateError(f"{folder} holds nothing of presaged")  # whatever it holds, it is not deleted
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the daemon's own lock. Raises StateError while it runs."""
    try:
        with (folder / "lock").open("a", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StateError(f"presaged is running on {folder}: `systemctl stop presaged` first") from None
            yield
    except OSError as error:
        raise StateError(f"{error.filename or folder}: {error.strerror}; ask as its owner or as root") from error


def _export(folder: Path, archive: tarfile.TarFile, beside: Path) -> None:
    with tempfile.TemporaryDirectory(dir=beside, prefix=".presaged-data-") as draft:  # where there is room for it all
        readme = Path(draft) / "README"
        readme.write_text(_README, encoding="utf-8")
        archive.add(readme, "presaged-data/README")
        for name in _DATABASES:
            if (folder / name).exists():
                copy = Path(draft) / name
                source = sqlite3.connect(f"{(folder / name).absolute().as_uri()}?mode=ro", uri=True, timeout=5)
                with closing(source), closing(sqlite3.connect(copy)) as target:
                    source.backup(target)
                archive.add(copy, f"presaged-data/{name}")
                copy.unlink()
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in _NOT_EXPORTED and not path.is_symlink():
            archive.add(path, f"presaged-data/{path.name}")


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
