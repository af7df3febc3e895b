"""`--watch` into a pipe: one answer after the other, until Ctrl-C, which is no failure."""

import json
import sys

import pytest
from crowded import Crowded

from daemon import cli
from daemon.cli import watching


@pytest.fixture
def typed(monkeypatch, capsys, config, port):
    """Type a command, and press Ctrl-C when it has waited `times` times; return its code, output, errors and waits."""
    crowded = Crowded(port)

    def run(*words, times=2, then=None):
        waits = []

        def sleep(seconds):
            waits.append(seconds)
            if len(waits) > times:
                raise KeyboardInterrupt
            if len(waits) == times and then is not None:
                then(crowded)

        monkeypatch.setattr(watching.time, "sleep", sleep)
        monkeypatch.setattr(sys, "argv", ["presage", *words, "--config", str(config)])
        code = cli.main()
        return code, *capsys.readouterr(), waits

    yield run
    crowded.close()


def test_answers_come_one_after_the_other(typed):
    code, out, error, waits = typed("sinks", "-w")
    assert (code, error) == (0, "")
    assert out.count("12345 sent") == 3
    assert waits == [10.0] * 3


def test_what_changes_with_each_sample_is_asked_more_often(typed):
    assert typed("status", "--watch")[3] == [2.0] * 3


def test_the_stored_history_is_looked_at_once(typed):
    code, out, error, _ = typed("status", "--data", "--watch")
    assert (code, out) == (2, "")
    assert "'--watch': what is stored is looked at once" in error


def test_json_is_one_document_after_the_other(typed):
    code, out, _, _ = typed("risk", "--watch", "--json")
    decoder, place, found = json.JSONDecoder(), 0, []
    while place < len(out):
        answer, end = decoder.raw_decode(out, place)
        found.append(answer)
        place = end + 1
    assert code == 0
    assert [one["within_1h"]["probability"] for one in found] == [0.12] * 3


def test_where_nobody_draws_a_daemon_that_goes_is_an_error(typed):
    code, _, error, _ = typed("status", "--watch", then=Crowded.close)
    assert code == 1
    assert error.startswith("presage: nothing runs on ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "command", ["status", "alerts", "forecast", "plot", "risk", "drift", "changes", "failures", "sinks"]
)
def test_every_listing_can_be_watched(typed, command):
    code, out, _, waits = typed(command, "--watch", times=1)
    assert (code, len(waits)) == (0, 2)
    assert out
