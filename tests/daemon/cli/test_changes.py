import json
import re

import pytest

from daemon.cli import wire
from daemon.cli.client import fetch_changes, mark_change
from daemon.config import load
from daemon.errors import DaemonError
from daemon.web.api import ChangesAnswer


def test_a_change_is_marked_and_listed(daemon, presage, config):
    said = presage("mark-change", "deploy \u03a9 42", "--config", config)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout == "marked; anomalies of the next 900 s are recorded, not sent\n"
    listed = presage("changes", "--config", config)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert any(re.search("mark +deploy \u03a9 42$", line) for line in listed.stdout.splitlines())
    answer = presage("changes", "--json", "--limit", "1000", "--config", config)
    assert "deploy \u03a9 42" in [change.text for change in ChangesAnswer.model_validate_json(answer.stdout).changes]
    for wrong in (["a\nb"], [" "], ["x" * 201]):
        refused = presage("mark-change", *wrong, "--config", config)
        assert refused.returncode == 1
        assert "refused: text: " in refused.stderr
        assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("changes",), ("mark-change", "x")])
def test_without_a_daemon_there_is_one_line(presage, config, arguments):
    said = presage(*arguments, "--config", config)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("presage: nothing runs on ")


def test_nothing_yet_is_said(presage, config, foreign):
    foreign(200, b'{"changes": []}')
    assert presage("changes", "--config", config).stdout == "none seen yet\n"


def test_names_with_control_characters_are_shown_as_spaces(presage, config, foreign):
    change = {"at": "2026-03-01T06:00:00.000Z", "kind": "mount", "text": "/a\x1b[31mb was mounted"}
    foreign(200, json.dumps({"changes": [change]}).encode())
    assert "\x1b" not in presage("changes", "--config", config).stdout


@pytest.mark.parametrize(
    ("status", "message"), [(401, "does not let us in"), (503, "refused: no room"), (404, "is not presaged")]
)
def test_what_the_daemon_refuses_is_told(config, foreign, status, message):
    foreign(status, b"no room\n")
    with pytest.raises(DaemonError, match=message):
        fetch_changes(load(config), 5)


def test_the_token_is_not_shown_to_a_stranger_on_the_port(config, foreign, monkeypatch):
    monkeypatch.setattr(wire, "_listeners", lambda _port: {65_534})
    (config.parent / "state").mkdir()
    token = config.parent / "state" / "token"
    token.write_text("secret\n")
    seen = foreign(501, b"")
    with pytest.raises(DaemonError):
        mark_change(load(config), "x")
    assert seen
    assert all("Authorization" not in headers for headers in seen)
