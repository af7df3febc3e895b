"""One SQLite file that keeps promises: private, checked, migrated, and written even when the disk is full.

Enters: statements of the tables that stand on it. Leaves: the same values after a crash, a power cut or a full
disk: WAL with synchronous FULL, and a reserve beside it that is given up when the disk has no room. It is never
set aside by itself: a file that is damaged, foreign or newer is refused in one line that says what to do.
"""

import errno
import hashlib
import hmac
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from alerting.redact import plain
from daemon.errors import StateError
from daemon.tables import altered

T = TypeVar("T")

_APPLICATION_ID = 0x70727364  # "prsd" in the file's header: whose database this is
_KEPT_COPIES = 2
_BUSY_MS = 2_000
_LOCK_SECONDS = 4.0  # shorter than the door's deadline: a caller behind a stuck one gives its thread back
_RESERVE_BYTES = 4 * 1024 * 1024
_SPARE_BYTES = 2 * 1024 * 1024  # left to others when the reserve is put back, or it would fill the disk itself
_NO_ROOM_BYTES = 1024 * 1024
# Names this program to `hmac`, so that the machine-id itself, which systemd asks to keep private, is not written.
_MACHINE_KEY = bytes.fromhex("6f1c7b0a5e9d4b60a3c2f8d1907e45bb")


class DurableDatabase:
    """The one connection to the file. Its methods block and may be called from any thread.

    `migrations` are the scripts that make the tables, numbered by their place, from 1. Opening creates, migrates
    and checks. Raises StateError, from every method, in one readable line.
    """

    def __init__(self, path: Path, migrations: tuple[str, ...]) -> None:
        self._path = path
        self._migrations = migrations
        self._reserve = path.with_name(f"{path.stem}.reserve")
        self._lock = threading.Lock()
        self.reserve_releases = 0
        try:
            _make_private(path)
        except OSError as error:
            raise StateError(f"{path} cannot be created: {error.strerror}") from error
        self._connection = self._with_room(self._open)
        self.restore_reserve()

    def close(self) -> None:
        """Close the connection. Nothing is lost without it."""
        with self._locked():
            self._connection.close()

    # Room on the disk

    def restore_reserve(self) -> bool:
        """Put the reserve in its place where the disk has room to spare; tell whether it is there."""
        if self._reserve.exists():
            return True
        if _free_bytes(self._path) < _RESERVE_BYTES + _SPARE_BYTES:
            return False
        draft = self._reserve.with_suffix(".draft")
        try:
            _make_private(draft)
            with draft.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, _RESERVE_BYTES)
            draft.replace(self._reserve)
        except OSError:  # no room after all: the answer says so, and the caller asks again later
            draft.unlink(missing_ok=True)
            return False
        return True

    def _with_room(self, work: Callable[[], T]) -> T:
        """Do `work`; on a full disk give up the reserve and do it once more."""
        try:
            try:
                return work()
            except (sqlite3.Error, OSError) as error:
                if not self._is_full(error) or not self._reserve.exists():
                    raise
                self._reserve.unlink()
                self.reserve_releases += 1
                return work()
        except UnicodeDecodeError as error:  # raised in the place of SQLite's own error, whose text quotes the file
            remedy = self._how_to_restore(len(self._migrations))
            raise StateError(f"{self._path} is damaged (a text in it is none); {remedy}") from error
        except (sqlite3.Error, OSError) as error:
            raise StateError(self._explain(error)) from error

    def _is_full(self, error: sqlite3.Error | OSError) -> bool:
        if isinstance(error, OSError):
            return error.errno in {errno.ENOSPC, errno.EDQUOT}
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the module's own errors have none
        if code in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}:  # how a side file without room is reported
            return _free_bytes(self._path) < _NO_ROOM_BYTES
        return code == sqlite3.SQLITE_FULL

    def _explain(self, error: sqlite3.Error | OSError) -> str:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        said = plain(str(error))  # where the file is damaged it quotes what stands there, whatever that is
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return f"{self._path} is damaged ({said}); {self._how_to_restore(len(self._migrations))}"
        if self._is_full(error):
            return f"{self._path} cannot be written: no room on the disk, and the reserve is used up"
        return f"{self._path}: {said}"

    def _how_to_restore(self, version: int) -> str:
        """Return what an operator can do; `version` is the newest schema that this program reads."""
        fitting = [copy for number, copy in self._copies() if number <= version + 1]
        files = f"{self._path.name}, {self._path.name}-wal and {self._path.name}-shm"
        if fitting:
            return f"stop presaged, move {files} away and copy {fitting[-1]} to {self._path}"
        return f"there is no copy of it: stop presaged, move {files} away to begin anew without open alerts"

    # The connection

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=_LOCK_SECONDS):
            raise StateError(f"{self._path} has not answered for {_LOCK_SECONDS:g} s")
        try:
            yield
        finally:
            self._lock.release()

    # The rows come from our own statements, whose columns the caller unpacks.
    def _read(self, statement: str, *values: str | int) -> list[tuple]:  # type: ignore[type-arg]
        with self._locked():
            return self._with_room(lambda: self._connection.execute(statement, values).fetchall())

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._locked():
            return self._with_room(lambda: self._transact(work))

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            value = work(self._connection)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return value

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            self._refuse_what_is_not_ours(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -256")  # KiB; SQLite's own 2 MB fill over weeks
            connection.execute("PRAGMA foreign_keys = ON")
            self._migrate(connection)
            self._refuse_altered(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _refuse_what_is_not_ours(self, connection: sqlite3.Connection) -> None:
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        ((owner,),) = connection.execute("PRAGMA application_id").fetchall()
        if tables and owner != _APPLICATION_ID:
            raise StateError(f"{self._path} is a database of another program; name another folder for the state")
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        if version > len(self._migrations):
            raise StateError(
                f"{self._path} is from a newer presaged (schema {version}, this one knows {len(self._migrations)});"
                f" install that one again, or {self._how_to_restore(len(self._migrations))}"
            )
        ((verdict,), *_) = connection.execute("PRAGMA quick_check(1)").fetchall()
        if verdict != "ok":
            raise StateError(
                f"{self._path} is damaged ({plain(verdict)}); {self._how_to_restore(len(self._migrations))}"
            )

    def _refuse_altered(self, connection: sqlite3.Connection) -> None:
        if words := altered(connection, self._migrations):
            raise StateError(f"{self._path} is damaged ({words}); {self._how_to_restore(len(self._migrations))}")

    def _migrate(self, connection: sqlite3.Connection) -> None:
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        for number in range(version + 1, len(self._migrations) + 1):
            if version:  # a file that is being made holds nothing to copy
                self._copy_before(connection, number)
            try:
                connection.executescript(
                    f"BEGIN IMMEDIATE; {self._migrations[number - 1]};"
                    f" PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
                )
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _copy_before(self, connection: sqlite3.Connection, number: int) -> None:
        copy = self._path.with_name(f"{self._path.name}.before-v{number}")
        draft = copy.with_name(f"{copy.name}.draft")
        draft.unlink(missing_ok=True)
        _make_private(draft)
        with closing(sqlite3.connect(draft)) as target:
            connection.backup(target)
        _sync(draft)
        draft.replace(copy)
        _sync(copy.parent)
        for _, old in self._copies()[:-_KEPT_COPIES]:
            old.unlink()

    def _copies(self) -> list[tuple[int, Path]]:
        """Return the copies made before migrations, the oldest schema first."""
        found = []
        for copy in self._path.parent.glob(f"{self._path.name}.before-v*"):
            with suppress(ValueError):  # a name of somebody else's making
                found.append((int(copy.name.rpartition("-v")[2]), copy))
        return sorted(found)


def bind_to_machine(directory: Path, machine_id: str | None) -> None:
    """Bind the state folder to the machine at the first call, and check the binding at every later one.

    Raises StateError when the folder was bound to another machine. Without a machine-id there is no binding.
    """
    if machine_id is None:
        return
    mark = hmac.new(_MACHINE_KEY, machine_id.strip().encode("utf-8"), hashlib.sha256).hexdigest()
    path = directory / "machine"
    try:
        if not path.exists():
            draft = path.with_name("machine.draft")
            _make_private(draft)
            draft.write_text(f"{mark}\n", encoding="ascii")
            _sync(draft)
            draft.replace(path)
            return
        known = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}") from error
    if not hmac.compare_digest(known.encode(), mark.encode()):
        raise StateError(
            f"the state in {directory} belongs to another machine (a cloned image?):"
            f" move the folder away to begin anew, or delete {path} to keep it"
        )


def _make_private(path: Path) -> None:
    """Create the file 0600, and its folder 0700 where there is none; side files of SQLite follow the file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path.parent).free
