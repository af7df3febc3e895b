"""What tables a database should have: a flipped bit in a name is no damage to SQLite, and would break every question.

Enters: an open database and the scripts that made it. Leaves: the first difference in words, "" for none.
"""

import sqlite3
from contextlib import closing
from functools import cache

Columns = frozenset[tuple[str, str]]


def altered(database: sqlite3.Connection, migrations: tuple[str, ...]) -> str:
    """Say which column of our own is missing, or is there and is none of ours; other people's tables are no matter."""
    wanted, there = _made_by(migrations), _columns(database)
    tables = {table for table, _ in wanted}
    for table, column in sorted(wanted - there) or sorted(one for one in there - wanted if one[0] in tables):
        return f"the columns of its table {table} are altered: {column}"
    return ""


@cache
def _made_by(migrations: tuple[str, ...]) -> Columns:
    with closing(sqlite3.connect(":memory:")) as database:
        for script in migrations:
            database.executescript(script)
        return _columns(database)


def _columns(database: sqlite3.Connection) -> Columns:
    rows = database.execute(
        "SELECT made.name, info.name FROM sqlite_master AS made JOIN pragma_table_info(made.name) AS info"
        " WHERE made.type = 'table'"
    )
    return frozenset((str(table), str(column)) for table, column in rows)
