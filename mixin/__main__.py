"""Write the dashboards and the rules; with --check only tell whether they are as they would be written.

Exit code 1 when a file differs.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from mixin import rules
from mixin.board import Board
from mixin.boards.anomaly import anomaly
from mixin.boards.capacity import capacity
from mixin.boards.host import host
from mixin.boards.hosts import hosts
from mixin.boards.itself import itself
from mixin.boards.learning import learning
from mixin.boards.risk import risk

HERE = Path(__file__).parent


def boards() -> tuple[Board, ...]:
    """Return every dashboard."""
    return hosts(), host(), anomaly(), capacity(), risk(), learning(), itself()


def files(places: rules.Places) -> Mapping[str, str]:
    """Return the text of every file by its path below the folder."""
    made = {f"dashboards/{board.uid}.json": board.document() for board in boards()}
    return made | {"rules/presaged-alerts.yaml": rules.alerts(places), "rules/presaged-records.yaml": rules.records()}


def main() -> int:
    """Write or check the files."""
    parser = argparse.ArgumentParser(prog="python -m mixin", description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write into (default: mixin/)")
    parser.add_argument("--grafana", default="", help='address of Grafana in the links of alerts ("" = a path alone)')
    parser.add_argument("--runbooks", default="docs/runbooks", help="address of the folder of runbooks")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    given = parser.parse_args()
    made = files(rules.Places(given.grafana, given.runbooks))
    differ = []
    for name, text in made.items():
        path = given.out / name
        if given.check:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                differ.append(name)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if differ:
        sys.stderr.write(f"not as they would be generated: {', '.join(differ)}. Run: make mixin\n")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
