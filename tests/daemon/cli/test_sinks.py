import asyncio
import contextlib
import json
import re
from types import SimpleNamespace

import pytest
from office import STATUS, TOKEN, Office, Team

from daemon.cli import sinks as module
from daemon.clock import SystemClock


@pytest.fixture
async def offices(port, config, presage):
    """Open an office with sinks on the real clock; `live` lets it sample, ten times a second."""
    made = []

    async def build(*sinks):
        office = await Office(config.parent / "state", SystemClock(), sinks).open()
        made.append(office)
        (config.parent / "state" / "token").write_text(TOKEN + "\n")
        await office.serve(f"127.0.0.1:{port}")

        async def ask(*arguments):
            return await asyncio.to_thread(presage, *arguments, "--config", config)

        async def live():
            while True:
                await asyncio.sleep(0.1)
                await office.tick(seconds=0)

        office.ask = ask
        office.live = asyncio.create_task(live())
        return office

    yield build
    for office in made:
        office.live.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await office.live
        await office.close()


async def test_a_drill_ends_when_each_sink_has_taken_its_beginning_and_its_end(offices):
    team, mail = Team(), Team("mail")
    office = await offices(team, mail)
    said = await office.ask("drill")
    assert (said.returncode, said.stderr) == (0, "")
    line = r"firing taken within \d\.\d s; resolved taken within \d\.\d s"
    assert [bool(re.fullmatch(f"{name}: {line}", text)) for name, text in zip(
        ("team", "mail"), said.stdout.splitlines(), strict=True)] == [True, True]  # fmt: skip
    for sink in (team, mail):
        assert [(document["event"], document["drill"]) for document in sink.got] == [
            ("firing", True),
            ("resolved", True),
        ]


def _answers(capsys):
    """Return what was printed, without what the daemon logs in this same process."""
    return [line for line in capsys.readouterr().out.splitlines() if not line.startswith("20")]


async def test_a_drill_that_a_sink_does_not_take_fails_and_says_why(offices, monkeypatch, config, capsys):
    office = await offices(Team(), Team("mail", error="HTTP 500: no\x1b[31m"))
    monkeypatch.setattr(module, "_GRACE_SECONDS", 1.0)

    def run():
        with pytest.raises(module.typer.Exit) as ended:
            module.drill(config)
        return ended.value.exit_code

    assert await asyncio.to_thread(run) == 1
    out = _answers(capsys)
    assert out[0].startswith("team: firing taken within ")
    assert out[1] == "mail: firing not taken: HTTP 500: no [31m; resolved not taken"
    assert office.outbox.counts["mail"].sent == 0


async def test_a_drill_that_nobody_is_told_of_says_what_holds_it(offices):
    office = await offices(Team())
    await office.ask("silence", "add", "--everything", "--for", "1h", "--comment", "swap")
    for _ in range(3):  # at this pace a drill is over in a moment, and a busy machine may not look in time
        said = await office.ask("drill")
        assert (said.returncode, said.stdout) == (1, "")
        if "held" in said.stderr:
            break
    assert re.fullmatch(r"presage: nobody was told of the drill; held: silenced by .*: swap\n", said.stderr)


def test_a_drill_that_is_left_to_prometheus_is_no_failure(capsys):
    progress = module.Progress(held="left to Prometheus")
    progress.alert = SimpleNamespace(state="resolved", deliveries=[], sent_to=[])
    assert module._report(SimpleNamespace(sinks=["team"]), progress) is False
    out, complaint = capsys.readouterr()
    assert out == "it fired and is over, left to Prometheus: look whether you are told of it there\n"
    assert complaint == ""


async def test_a_daemon_that_takes_no_samples_is_told(offices, monkeypatch, config, capsys):
    office = await offices(Team())
    office.live.cancel()
    monkeypatch.setattr(module, "_GRACE_SECONDS", -1.5)

    def run():
        with pytest.raises(module.typer.Exit) as ended:
            module.drill(config)
        return ended.value.exit_code

    assert await asyncio.to_thread(run) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "the drill has not fired" in said.err


async def test_without_a_sink_a_drill_says_so_and_does_not_begin(offices):
    office = await offices()
    office.live.cancel()
    said = await office.ask("drill")
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == "presage: no sink is configured, so nobody would be told; see [[alerting.sinks]]\n"
    assert office.drills == []


async def test_a_sink_is_tried(offices):
    office = await offices(Team(), Team("mail", error="HTTP 500: no"))
    said = await office.ask("sinks", "test", "team")
    assert said.returncode == 0
    assert re.fullmatch(r"team took it in \d\.\d\d s\n", said.stdout)
    assert [document["event"] for document in office.sinks[0].got] == ["test"]
    said = await office.ask("sinks", "test", "mail")
    assert (said.returncode, said.stdout) == (1, "")
    assert re.fullmatch(r"presage: mail did not take it \(\d\.\d\d s\): HTTP 500: no\n", said.stderr)
    said = await office.ask("sinks", "test", "tea/../m")
    assert (said.returncode, said.stderr) == (1, 'presage: there is no sink "tea/../m": there are team, mail\n')


async def test_sinks_are_listed_with_what_they_did(offices):
    office = await offices(Team(), Team("mail-of-two"))
    await office.ask("drill")
    said = await office.ask("sinks")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.splitlines() == [
        "team         2 sent, 0 failed, 0 given up, 0 waiting",
        "mail-of-two  2 sent, 0 failed, 0 given up, 0 waiting",
    ]
    answer = json.loads((await office.ask("sinks", "--json")).stdout)
    assert [sink["name"] for sink in answer["sinks"]] == ["team", "mail-of-two"]


def test_without_sinks_the_list_says_so(presage, config, foreign):
    foreign(200, STATUS.model_dump_json().encode())
    assert presage("sinks", "--config", config).stdout.startswith("none: alerts are kept and shown, not sent")


@pytest.mark.parametrize("arguments", [("sinks",), ("sinks", "test", "team"), ("drill",)])
def test_without_a_daemon_there_is_one_line(presage, config, arguments):
    said = presage(*arguments, "--config", config)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("presage: nothing runs on ")
