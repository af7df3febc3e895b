"""A slice of the hostile inputs: 6,000 times the scale, at a seed of its own each run."""

import random

import pytest

from benchmarks import fuzz


@pytest.fixture(scope="module")
def parsers(tmp_path_factory):
    return fuzz.parsers(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", list(fuzz.SHARES))
def test_no_input_crashes_a_parser(parsers, name, scale, seed):
    inputs = 6_000 * scale * fuzz.SHARES[name] // sum(fuzz.SHARES.values())
    tally = fuzz.attack(parsers[name], inputs, random.Random(seed))
    print(f"{name}: {inputs} inputs, {tally.refused} refused, slowest {tally.slowest * 1e3:.0f} ms")
    assert tally.crashes == {}
    assert tally.slowest < 10


@pytest.mark.parametrize("name", list(fuzz.SHARES))
def test_what_is_right_is_taken(parsers, name):
    for seed in parsers[name].seeds[:1]:
        parsers[name].run(seed)


def test_a_crash_is_found_and_told_with_its_place():
    def run(given):
        if b"\xff" in given:
            raise KeyError("planted")

    tally = fuzz.attack(fuzz.Parser((b"0123456789" * 20,), run, (ValueError,)), 2_000, random.Random(1))
    (words,) = tally.crashes
    assert words.startswith("KeyError at test_fuzz.py:")
