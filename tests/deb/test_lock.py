"""What of the lock is installed into the package."""

import tomllib
from pathlib import Path

import pytest

from deb import lock

ROOT = Path(__file__).parents[2]
LOCK = """# made by hand
a==1.0 \\
    --hash=sha256:aa
b-b==2.0 ; python_full_version < '3.0' \\
    --hash=sha256:b2
b-b==3.0 ; python_full_version >= '3.0' \\
    --hash=sha256:b3
c==4 \\
    --hash=sha256:c1 \\
    --hash=sha256:c2
numba==1 \\
    --hash=sha256:dd
unused==5 \\
    --hash=sha256:ee
windows==6 ; sys_platform == 'win32' \\
    --hash=sha256:ff
"""
REQUIRES = {"a": ["B_b[more]>=1", "windows; sys_platform == 'win32'"], "b-b": ["c; extra == 'more'", "a"], "c": ["A"]}


def runtime(*wanted):
    return lock.runtime(LOCK, wanted, lambda name: REQUIRES.get(name, []))


def test_what_is_required_is_taken_with_its_hashes():
    assert runtime("a") == (
        "a==1.0 \\\n    --hash=sha256:aa\n"
        "b-b==3.0 ; python_full_version >= '3.0' \\\n    --hash=sha256:b3\n"
        "c==4 \\\n    --hash=sha256:c1 \\\n    --hash=sha256:c2\n"
    )


def test_an_extra_is_taken_only_where_it_is_asked_for():
    plain = {"x": ["b-b"], "b-b": ["c; extra == 'more'"]}
    for wanted, takes in (("b-b", False), ("b-b[more]", True)):
        assert ("c==4" in lock.runtime(LOCK, [wanted], lambda name: plain.get(name, []))) is takes


def test_numba_is_left_out():
    assert runtime("numba", "unused") == "unused==5 \\\n    --hash=sha256:ee\n"


def test_what_is_not_locked_is_an_error():
    with pytest.raises(KeyError, match="unknown"):
        runtime("unknown")


def test_our_own_lock_has_what_runs_and_nothing_that_tests():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = lock.runtime((ROOT / "requirements.lock").read_text(), project["dependencies"])
    names = {line.partition("==")[0] for line in text.splitlines() if not line.startswith(" ")}
    assert {"aiohttp", "numpy", "scipy", "pydantic-core", "certifi"} <= names
    assert not names & {"pytest", "ruff", "mypy", "numba", "llvmlite", "playwright", "hypothesis", "setuptools"}
    assert all("--hash=sha256:" in line for line in text.splitlines() if line.startswith(" "))
