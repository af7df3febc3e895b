"""Words that are new, of a newer daemon, and letters that a terminal cannot show: nothing breaks."""

import json
import re
import subprocess
import sys

import pytest
from crowded import Crowded

from daemon import cli

ASKED = {
    "status": ("status", "sinks"),
    "alerts": ("alerts --all",),
    "alerts/latest": ("explain latest",),
    "silences": ("silence list",),
    "verdicts": ("feedback",),
    "forecasts": ("forecast", "forecast /srv"),
    "risk": ("risk",),
    "drift": ("drift",),
    "changes": ("changes",),
    "failures": ("failures",),
    "neural/models": ("models list",),
    "neural/models/9222": ("models show 9222",),
    "series": ("plot",),
}
NEW = "a-new-word"
TIME = re.compile(r"\d{4}-\d\d-\d\dT")


def with_one_new_word(value):
    """Yield the answer again and again, each time with another of its words new; moments stay moments."""
    if isinstance(value, dict):
        for key, inner in value.items():
            for other in with_one_new_word(inner):
                yield {**value, key: other}
    elif isinstance(value, list):
        for place, inner in enumerate(value[:2]):
            for other in with_one_new_word(inner):
                yield [*value[:place], other, *value[place + 1 :]]
    elif isinstance(value, str) and not TIME.match(value):
        yield NEW


@pytest.mark.parametrize("path", sorted(ASKED))
def test_new_words_are_shown_and_break_nothing(monkeypatch, capsys, config, port, path):
    crowded = Crowded(port)
    try:
        place = f"/api/v1/{path}"
        usual = json.loads(crowded.given[place])
        shown = 0
        for answer in with_one_new_word(usual):
            crowded.given[place] = json.dumps(answer).encode()
            for typed in ASKED[path]:
                monkeypatch.setattr(sys, "argv", ["presage", *typed.split(), "--config", str(config)])
                code = cli.main()
                out, error = capsys.readouterr()
                assert code == 0 or error.count("\n") == 1, answer
                shown += NEW in out
        assert shown or path == "series"
    finally:
        crowded.close()


def test_letters_that_cannot_be_shown_hide_nothing_else(config, port, environment):
    crowded = Crowded(port)
    program = "import sys; from daemon.cli import main; sys.exit(main())"
    given = {**environment, "PYTHONIOENCODING": "ascii"}

    def said(*words):
        command = [sys.executable, "-P", "-c", program, *words, "--config", str(config)]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=given, timeout=50).stdout

    try:
        assert "/var/lib/kubernetes/pods/???-???/volumes/" in said("forecast")
        changes = json.loads(said("changes", "--json"))["changes"]
        assert changes == json.loads(crowded.given["/api/v1/changes"])["changes"]
    finally:
        crowded.close()
