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


def test_every_model_file_that_is_shipped_is_built_in():
    globs = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["detectors"]
    built = {found for pattern in globs for found in (ROOT / "detectors").glob(pattern)}
    there = {found for found in (ROOT / "detectors" / "pretrained").rglob("*") if found.is_file()}
    assert there <= built
    assert {"failure/history", "failure/network"} <= {
        str(found.parent.relative_to(ROOT / "detectors" / "pretrained")) for found in there
    }
