from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon.collectors.base import HostPaths

SECOND = 10**9


@dataclass
class Tree:
    """A /proc, /sys and / of our own, and the ticks of one collector over it."""

    top: Path

    @property
    def paths(self):
        return HostPaths(proc=self.top / "proc", sys=self.top / "sys", root=self.top / "root")

    def write(self, place, content):
        path = self.top / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content)
        return path

    def values(self, collector, second):
        """Collect at `second` and return the values by name; no name may come twice."""
        measured = collector.collect(second * SECOND)
        by_name = {spec.name: value for spec, value in measured}
        assert len(by_name) == len(measured)
        return by_name


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)
