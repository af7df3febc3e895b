"""The file of history.db: opened and checked, brought forward from any older version, with a copy for the way back.

Enters: its path. Leaves: a connection to a file of the present version. Raises sqlite3.DatabaseError where it is
corrupt, StateError where a newer presaged has written it.
"""

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import structlog

from daemon.errors import StateError
from daemon.tables import altered

_log = structlog.get_logger()

# Numbered by their place, from 1. A released script is never edited: the next change is a new one.
_MIGRATIONS = (
    """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE boots (id INTEGER PRIMARY KEY, boot_id TEXT NOT NULL UNIQUE);
CREATE TABLE schemas (id INTEGER PRIMARY KEY, signal_ids BLOB NOT NULL UNIQUE);
CREATE TABLE samples (
    seq INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, monotonic_ns INTEGER NOT NULL, boot INTEGER NOT NULL,
    schema INTEGER NOT NULL, hour INTEGER NOT NULL, flags INTEGER NOT NULL,
    model INTEGER NOT NULL, raw_score REAL, raw_threshold REAL, data BLOB NOT NULL
);
CREATE TABLE rollups (
    tier INTEGER NOT NULL, seq INTEGER NOT NULL, time_ms INTEGER NOT NULL, schema INTEGER NOT NULL,
    count INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (tier, seq)
) WITHOUT ROWID;
""",
    """
CREATE TABLE forecasts (
    horizon TEXT NOT NULL, made_ms INTEGER NOT NULL, resource TEXT NOT NULL,
    scale REAL,  -- what an error is measured by, NULL = the history was flat
    bands BLOB NOT NULL,  -- mean, lo80, hi80, lo95, hi95 of 12 steps, little-endian float32
    known INTEGER NOT NULL DEFAULT 0,  -- steps that are over,
    judged INTEGER NOT NULL DEFAULT 0,  -- those of them that were measured, and what came of them:
    error REAL NOT NULL DEFAULT 0,  -- the sum of their absolute errors
    inside80 INTEGER NOT NULL DEFAULT 0, inside95 INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (horizon, made_ms, resource)
) WITHOUT ROWID;
""",
    """
-- scores of a month are drawn without reading the values beside them, a hundred times as long
CREATE INDEX samples_scores ON samples (seq, time_ms, raw_score, raw_threshold, flags);
""",
)
_VERSION = len(_MIGRATIONS)

_SPARE_BYTES = 256 * 1024 * 1024  # left to others when the file is copied
_COPY_SECONDS = 14 * 86_400.0
_CACHE = "PRAGMA cache_size = -256"  # KiB; SQLite's own 2 MB fill over days, and nothing is faster for it


def open_read_only(path: Path) -> sqlite3.Connection:
    """Return a connection that changes nothing; nothing is checked, nothing brought forward."""
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
    database.execute(_CACHE)
    return database


def open_to_write(path: Path) -> sqlite3.Connection:
    """Return a connection to the file, made where it is not there, of the present version and known to be readable."""
    database = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA page_size = 16384")
        database.execute(_CACHE)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA journal_size_limit = 16777216")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        _refuse_newer(path, version)
        _migrate(path, database, version)
        _refuse_altered(database)
        for table in ("meta", "boots", "schemas"):  # small; what is broken here would break every start
            database.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - our own names
        database.execute("SELECT * FROM samples ORDER BY seq DESC LIMIT 1").fetchall()
        database.execute("SELECT tier, max(seq) FROM rollups GROUP BY tier").fetchall()
    except BaseException:
        database.close()
        raise
    path.chmod(0o600)
    return database


def _refuse_altered(database: sqlite3.Connection) -> None:
    if words := altered(database, _MIGRATIONS):
        raise sqlite3.DatabaseError(words)


def _migrate(path: Path, database: sqlite3.Connection, version: int) -> None:
    for number in range(version + 1, _VERSION + 1):
        if version and number == version + 1:  # as it was found; one that is being made holds nothing to copy
            _copy_before(path, database, number)
        database.executescript(f"BEGIN;{_MIGRATIONS[number - 1]}PRAGMA user_version = {number};COMMIT;")
        if version:
            _log.info("history_migrated", version=number)


def _copy_before(path: Path, database: sqlite3.Connection, number: int) -> None:
    """Keep the file as it is for whoever goes back to the version before; history is large, and may lack room."""
    for old in path.parent.glob(f"{path.name}.before-v*"):
        old.unlink()
    pages = database.execute("PRAGMA page_count").fetchone()[0] * database.execute("PRAGMA page_size").fetchone()[0]
    if shutil.disk_usage(path.parent).free < pages + _SPARE_BYTES:
        _log.warning("history_not_copied", reason="no room on the disk", effect="an older presaged cannot read it")
        return
    copy = path.with_name(f"{path.name}.before-v{number}")
    draft = copy.with_name(f"{copy.name}.draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    with closing(sqlite3.connect(draft)) as target:
        database.backup(target)
    draft.replace(copy)


def forget_old_copies(path: Path) -> None:
    """Delete a copy that nobody has gone back to for a fortnight."""
    for copy in path.parent.glob(f"{path.name}.before-v*"):
        if time.time() - copy.stat().st_mtime > _COPY_SECONDS:
            copy.unlink()


def _refuse_newer(path: Path, version: int) -> None:
    if version > _VERSION:
        raise StateError(f"{path}: written by a newer presaged (version {version}, this one knows {_VERSION})")
