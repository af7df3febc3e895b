"""`presage plot`: which signal is meant, and what is said of it."""

import json
import sys

import pytest
from crowded import SIGNAL, Crowded

from daemon import cli


@pytest.fixture
def typed(monkeypatch, capsys, config, port):
    crowded = Crowded(port)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["presage", "plot", *words, "--config", str(config)])
        code = cli.main()
        return code, *capsys.readouterr()

    yield run
    crowded.close()


def test_without_a_name_it_is_the_score_with_its_threshold(typed):
    code, out, error = typed()
    assert (code, error) == (0, "")
    first, *picture = out.splitlines()
    assert first == "anomaly.score, the last 24h: 79 % at the end, 20 % to 79 %; it is one from 80 % on"
    assert len(picture) == 16
    assert max(map(len, picture)) <= 80
    assert typed("score")[1].splitlines()[0] == first


@pytest.mark.parametrize("word", [SIGNAL, "nvme", "write_bytes", "NVME"])
def test_a_part_that_one_signal_has_is_enough(typed, word):
    assert typed(word, "--last", "2h")[1].startswith(f"{SIGNAL}, the last 2h: 0.79 B/s at the end")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["bytes"], 1, f'"bytes" may be {SIGNAL}, network.eth0.receive_bytes_per_second'),
        (["cpu.bsy"], 1, 'there is no signal "cpu.bsy"; the nearest is cpu.busy'),
        (["x\x1b[31m"], 1, "the nearest is"),
        (["--last", "0h"], 2, "'--last': give a whole number above 0 and its unit"),
        (["--last", "yesterday"], 2, "'--last'"),
    ],
)
def test_what_cannot_be_is_one_line(typed, words, code, message):
    given, out, error = typed(*words)
    assert (given, out, error.count("\n")) == (code, "", 1)
    assert message in error
    assert error[:-1].isprintable()


def test_of_what_nothing_is_stored_it_says_so(typed):
    assert typed("cpu.busy")[1] == "nothing is stored of cpu.busy in the last 24h\n"


def test_json_is_the_answer(typed):
    answer = json.loads(typed("nvme", "--json")[1])
    assert {"times_ms", "series", "step_seconds"} <= set(answer)
