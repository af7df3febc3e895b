"""The text in which programs tell their figures: Prometheus' format and OpenMetrics.

Enters: bytes as they were fetched or read. Leaves: what a line is made of, and the sums over the series of some
metrics. Lines of other metrics are passed over unread. It knows nothing of files and connections.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from math import nan

MILLISECONDS_FROM = 10**11  # as seconds it is the year 5138, as milliseconds 1973

NAME = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*")
# name and labels, value, timestamp, and an exemplar that is of no use
SAMPLE = re.compile(
    rb'(?P<head>(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)?\s*(?:\{(?P<labels>(?:[^"}]|"(?:[^"\\]|\\.)*+")*+)\})?)'
    rb"\s+(?P<value>[^\s#]+)(?:\s+(?P<time>[^\s#]+))?\s*(?:\s#.*)?"
)
_LABEL = re.compile(r'\s*(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"(?P<value>(?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPE = re.compile(r"\\(.)")
_TYPE = re.compile(rb"#\s+TYPE\s+(?P<name>\S+)\s+(?P<type>\S+)\s*")
_HEAD = re.compile(rb"\s*([^\s{#]*)")
_COUNTER = "counter"
_PARTED = frozenset(("histogram", "summary"))


@dataclass(slots=True)
class Figures:
    """Sums over all labels by name of the sample, NaN = one of them is missing; what a metric is by its `# TYPE`."""

    totals: dict[str, float] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)

    def is_parted(self, name: str) -> bool:
        """Whether the metric is a histogram or a summary: of value are its `_sum` and `_count`, never a sum of all."""
        return self.types.get(name) in _PARTED

    def is_counter(self, name: str) -> bool:
        """Whether the samples of this name only grow. What has no type is told by its suffix."""
        base, _, suffix = name.rpartition("_")
        # OpenMetrics names the type without the suffix, Prometheus with it
        told = self.types.get(name) or (self.types.get(base) if suffix == "total" else None)
        if told in (None, "unknown", "untyped"):
            return suffix == "total" or (suffix in ("sum", "count") and self.is_parted(base))
        return told == _COUNTER


def figures(text: bytes, names: Collection[str], oldest_seconds: float) -> Figures:
    """Return the sums and types of the metrics `names`, of a histogram or summary those of its sum and count.

    A sample with a timestamp before `oldest_seconds` (Unix time) is missing. Raises ValueError with the number of a
    line that is not understood.
    """
    found = Figures()
    wanted = {f"{name}{suffix}".encode() for name in names for suffix in ("", "_sum", "_count")}
    typed = wanted | {name.removesuffix(end).encode() for name in names for end in ("_total", "_sum", "_count")}
    for number, line in enumerate(text.split(b"\n"), 1):
        if line.startswith(b"#"):
            told = _TYPE.fullmatch(line)
            if told is not None and told["name"] in typed:
                found.types[told["name"].decode()] = told["type"].decode("ascii", "replace")
            continue
        head = _HEAD.match(line)
        if head is None or head[1] not in wanted:
            continue
        name = head[1].decode()
        try:
            found.totals[name] = found.totals.get(name, 0.0) + _value(line, oldest_seconds)
        except ValueError as error:
            raise ValueError(f"line {number} is not understood") from error
    return found


def _value(line: bytes, oldest_seconds: float) -> float:
    sample = SAMPLE.fullmatch(line.strip())
    if sample is None:
        raise ValueError
    if sample["time"] is not None:
        stamp = float(sample["time"])
        if (stamp / 1000 if abs(stamp) >= MILLISECONDS_FROM else stamp) < oldest_seconds:
            return nan
    return float(sample["value"])


def labels_of(text: bytes) -> dict[str, str]:
    r"""Return the labels with `\\`, `\"` and `\n` resolved. Raises ValueError."""
    labels: dict[str, str] = {}
    raw = text.decode("utf-8").strip()
    at = 0
    while at < len(raw):
        match = _LABEL.match(raw, at)
        if match is None:
            raise ValueError(raw)
        labels[match["name"]] = _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], match["value"])
        at = match.end()
    return labels
