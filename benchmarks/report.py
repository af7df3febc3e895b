"""The one form in which every benchmark reports: rows of ours against a peer's, on a known machine."""

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `ratio` above 1 means that ours is better; None without a peer."""

    case: str
    metric: str
    unit: str
    ours: float
    peer: str | None = None
    theirs: float | None = None
    ratio: float | None = None


def smaller_is_better(case: str, metric: str, unit: str, ours: float, peer: tuple[str, float]) -> Row:
    """Return a row beside `peer`, its name and its figure; the ratio is theirs to ours."""
    name, theirs = peer
    return Row(case, metric, unit, ours, name, theirs, theirs / ours)


def write(benchmark: str, rows: Sequence[Row], packages: Sequence[str], *, as_json: bool) -> None:
    """Print the rows, as one JSON object or as a table."""
    if as_json:
        document = {
            "benchmark": benchmark,
            "rows": [asdict(row) for row in rows],
            "machine": machine(),
            "versions": {name: metadata.version(name) for name in packages},
        }
        json.dump(document, sys.stdout, indent=1)
        print()
        return
    for row in rows:
        ratio = "" if row.ratio is None else f"   ratio {row.ratio:.2f}"
        beside = "" if row.theirs is None else f"   {row.peer}: {row.theirs:.3g}{ratio}"
        print(f"{row.case:32} {row.metric:24} {row.ours:10.3g} {row.unit}{beside}")


def machine() -> dict[str, str | int]:
    """Describe the machine by processor, cores and kernel."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "processor": model,
        "cores": sum(line.startswith("processor") for line in lines),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
