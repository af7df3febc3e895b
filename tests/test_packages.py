"""What is installed is what is there."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_named_where_it_is_built():
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = [
        ".".join(found.parent.relative_to(ROOT).parts)
        for top in ("daemon", "detectors", "alerting")
        for found in (ROOT / top).rglob("__init__.py")
    ]
    assert sorted(built) == sorted(there)
