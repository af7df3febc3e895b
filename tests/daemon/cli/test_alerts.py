"""`presage` on alerts: a real command on a real desk, with alerts of a test's own."""

import asyncio
import json
import os
import pty
import re
import subprocess
import sys

import pytest
from office import TOKEN, Office, Team, read_only

from alerting.policy import KEPT_WORDS, Kept
from daemon.cli import alerts as module
from daemon.cli.alerts import choose
from daemon.web.alert_answers import AlertsAnswer
from daemon.web.api import AlertAnswer
from detectors.findings import Finding, Strength

HOSTILE = "/srv\x1b[31m\nred [bold]x[/bold] \u202eevil"


@pytest.fixture
async def desk(tmp_path, clock, port, config, presage):
    """An office where `presage` finds it; `ask` runs a command beside it."""
    office = await Office(config.parent / "state", clock, (Team(),)).open()
    (config.parent / "state" / "token").write_text(TOKEN + "\n")
    await office.serve(f"127.0.0.1:{port}")

    async def ask(*arguments):
        return await asyncio.to_thread(presage, *arguments, "--config", config)

    office.ask = ask
    yield office
    await office.close()


async def test_open_alerts_come_first_then_those_that_are_over(desk):
    (old,) = await desk.fire(read_only("/old"))
    await desk.end()
    (one,) = await desk.fire(read_only("/srv"))
    await desk.tick(read_only("/srv"), read_only("/new"))
    said = await desk.ask("alerts")
    assert (said.returncode, said.stderr) == (0, "")
    lines = said.stdout.splitlines()
    assert re.fullmatch(rf"{one.id[-6:]} 2026-03-01 [\d:]+ critical firing   FilesystemReadOnly /srv", lines[0])
    assert lines[1] == "       web1: /srv is mounted read-only"
    assert re.search(r"critical pending  FilesystemReadOnly /new$", lines[2])
    assert re.search(rf"^{old.id[-6:]} .* resolved FilesystemReadOnly /old$", lines[4])
    assert len(lines) == 6
    answer = AlertsAnswer.model_validate_json((await desk.ask("alerts", "--json", "--limit", "1")).stdout)
    assert [alert.occurrence for alert in answer.alerts] == [one.id]


async def test_why_an_alert_is_held_and_in_whose_hands_it_is_is_listed(desk):
    await desk.ask("silence", "add", "--resource", "/srv", "--for", "2h", "--comment", "swap")
    (one,) = await desk.fire(read_only("/srv"))
    await desk.desk.acknowledge(one.id, "ann")
    await desk.tick(read_only("/srv"))
    lines = (await desk.ask("alerts")).stdout.splitlines()
    assert lines[2] == f"       held: silenced by {module.login_name()}: swap; in the hands of ann"
    status = (await desk.ask("status")).stdout
    assert f"{one.id}, held: silenced by {module.login_name()}: swap; in the hands of ann" in status


async def test_records_that_are_over_are_listed_only_when_asked_for(desk):
    said = await desk.ask("alerts")
    assert said.stdout == "none; with --all, records that are over are listed too\n"
    await desk.fire(Finding("Anomaly", "anomaly", "", Strength.RAISED, "unusual", 5.0, 3.0), changing=True)
    assert "held: a change was marked just before" in (await desk.ask("alerts")).stdout
    await desk.end()
    assert (await desk.ask("alerts")).stdout.startswith("none; ")
    assert json.loads((await desk.ask("alerts", "--json")).stdout) == {"alerts": [], "next": None}
    assert "resolved Anomaly" in (await desk.ask("alerts", "--all")).stdout


def test_what_would_have_been_sent_is_listed_when_it_is_over():
    def alert(number, **more):
        given = {"severity": "warning", "state": "resolved", "sent_to": [], "alertname": "A", "resource": "", **more}
        return AlertAnswer(occurrence=str(number), sentence="", started_at=None, fired_at=None, **given)

    given = [
        alert(0, held=KEPT_WORDS[Kept.LEARNING]),
        alert(1, severity="info", held=KEPT_WORDS[Kept.RECORD]),
        alert(2, severity="info", sent_to=["team"]),
        alert(3, state="firing", severity="info"),
        alert(4, state="pending", severity="critical"),
        alert(5, state="firing", severity="critical"),
    ]
    assert [one.occurrence for one in choose(given, records=False)] == ["5", "3", "4", "0", "2"]
    assert [one.occurrence for one in choose(given, records=True)] == ["5", "3", "4", "0", "1", "2"]


async def test_an_alert_is_taken_in_hand(desk):
    (one,) = await desk.fire(read_only("/srv"))
    said = await desk.ask("ack", one.id[-6:].lower())
    assert (said.returncode, said.stdout) == (0, f"FilesystemReadOnly /srv ({one.id[-6:]}) is yours\n")
    await desk.end()
    said = await desk.ask("ack", "latest")
    assert (said.returncode, said.stdout) == (1, "")
    assert (
        said.stderr == f"presage: FilesystemReadOnly /srv ({one.id[-6:]}) is over: there is nothing to take in hand\n"
    )


async def test_who_came_first_keeps_an_alert(desk):
    (one,) = await desk.fire(read_only("/srv"))
    await desk.desk.acknowledge(one.id, "somebody else")
    assert (await desk.ask("ack", "latest")).stdout.endswith(" is in the hands of somebody else already\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("ack", "ZZZZZZ"), 1, "presage: no alert has an id ending in ZZZZZZ; see `presage alerts --all`"),
        (("ack", ""), 1, 'presage: "'),
        (("ack", "../silences"), 1, 'presage: "../silences" is no alert'),
        (("ack", ".."), 1, "is no alert"),
        (("ack", "?state=all"), 1, 'presage: "?state=all" is no alert'),
        (("explain", "a\x1b[31mb"), 1, "is no alert"),
        (("ack", "\udcff\udcfe\udcff\udcfe"), 1, "is no alert"),
        (("alerts", "--limit", "0"), 2, "--limit"),
    ],
)
async def test_what_cannot_be_is_one_sentence(desk, arguments, code, message):
    await desk.fire(read_only("/srv"))
    said = await desk.ask(*arguments)
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (code, "", 1)
    assert message in said.stderr
    assert said.stderr[:-1].isprintable()


@pytest.mark.parametrize(
    "arguments",
    [("alerts",), ("explain", "latest"), ("ack", "latest"), ("feedback", "x", "real"), ("feedback",)],
)
def test_without_a_daemon_there_is_one_line(presage, config, arguments):
    said = presage(*arguments, "--config", config)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("presage: nothing runs on ")


async def test_names_with_control_letters_are_shown_as_spaces(desk):
    await desk.fire(read_only(HOSTILE))
    for command in (("alerts",), ("explain", "latest"), ("ack", "latest"), ("status",)):
        text = (await desk.ask(*command)).stdout
        assert "red [bold]x[/bold]" in text
        assert all(line.isprintable() for line in text.splitlines())


async def test_on_a_terminal_a_long_sentence_is_wrapped(desk, config, environment):
    await desk.fire(read_only("/srv", detail="/srv is mounted read-only, " + "and so on " * 30))
    command = [sys.executable, "-P", "-c", "import sys; from daemon.cli import main; sys.exit(main())"]

    def run():
        ours, theirs = pty.openpty()
        process = subprocess.Popen([*command, "alerts", "--config", str(config)], stdout=theirs, env=environment)
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65_536)
            except OSError:  # a terminal whose other side has closed
                break
            if not part:
                break
            shown += part
        os.close(ours)
        assert process.wait(10) == 0
        return shown.decode()

    text = await asyncio.to_thread(run)
    assert "\x1b[1;31mFilesystemReadOnly /srv" in text
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) > 4


def test_behind_sudo_the_author_is_who_called_it(monkeypatch):
    monkeypatch.setenv("SUDO_USER", "ann")
    assert module.login_name() == "ann"
    monkeypatch.delenv("SUDO_USER")

    def nobody():
        raise OSError("no name")

    monkeypatch.setattr(module.getpass, "getuser", nobody)
    assert module.login_name() == f"user {os.getuid()}"
