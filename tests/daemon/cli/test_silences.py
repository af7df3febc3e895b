import asyncio
import json

import pytest
import typer
from office import TOKEN, Office

from daemon.cli.alerts import login_name
from daemon.cli.silences import seconds_of
from daemon.web.alert_answers import SilencesAnswer


@pytest.fixture
async def desk(clock, port, config, presage):
    office = await Office(config.parent / "state", clock).open()
    (config.parent / "state" / "token").write_text(TOKEN + "\n")
    await office.serve(f"127.0.0.1:{port}")

    async def ask(*arguments):
        return await asyncio.to_thread(presage, *arguments, "--config", config)

    office.ask = ask
    yield office
    await office.close()


async def test_a_silence_is_added_listed_and_expired(desk):
    assert (await desk.ask("silence", "list")).stdout == "none\n"
    said = await desk.ask(
        "silence", "add", "--alert", "Filesystem*", "--resource", "/srv/*", "--severity", "critical",
        "--network", "host", "--for", "2h", "--comment", "swap \u03a9",
    )  # fmt: skip
    assert (said.returncode, said.stderr) == (0, "")
    (silence,) = desk.desk.silences().silences
    short = silence.id[-6:]
    words = "Filesystem* on /srv/* of severity critical of network host"
    assert said.stdout.startswith(f"{short}: {words} is quiet until 2026-03-01 ")
    assert said.stdout.endswith(f"; `presage silence expire {short}` ends it\n")
    assert (silence.starts_at, silence.ends_at) == ("2026-03-01T06:00:00.000Z", "2026-03-01T08:00:00.000Z")
    listed = (await desk.ask("silence", "list")).stdout
    assert listed.startswith(f"{short}  until 2026-03-01 ")
    assert listed.endswith(f"  {words}, by {login_name()}: swap \u03a9\n")
    answer = SilencesAnswer.model_validate_json((await desk.ask("silence", "list", "--json")).stdout)
    assert answer.silences == [silence]
    over = await desk.ask("silence", "expire", short.lower())
    assert over.stdout == f"{short} is over: {words} is told again\n"
    assert json.loads((await desk.ask("silence", "list", "--json")).stdout) == {"silences": [], "next": None}
    again = await desk.ask("silence", "expire", short)
    assert (again.returncode, again.stdout) == (1, "")
    assert (
        again.stderr
        == f"presage: no silence that is not over has an id ending in {short}; see `presage silence list`\n"
    )


async def test_everything_is_silenced_only_by_that_word(desk):
    assert "every alert is quiet" in (await desk.ask("silence", "add", "--everything", "--for", "30m")).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--for", "2h"), 2, "give what is to be quiet, or else --everything alone"),
        (("--for", "2h", "--everything", "--alert", "Drill"), 2, "or else --everything alone"),
        (("--alert", "Drill"), 2, "Missing option"),
        (("--for", "0h", "--alert", "Drill"), 2, "give a whole number above 0 and its unit"),
        (("--for", "soon", "--alert", "Drill"), 2, "like 2h"),
        (("--for", "2h", "--severity", "page", "--alert", "Drill"), 2, "'page' is not one of"),
        (("--for", "366d", "--alert", "Drill"), 1, "refused: for_seconds: "),
        (("--for", "2h", "--alert", "Dril"), 1, 'refused: alertname: no alert is named "Dril"; did you mean "Drill"?'),
        (("--for", "2h", "--resource", "a\nb"), 1, "refused: resource: the text must be one line"),
    ],
)
async def test_a_silence_that_makes_no_sense_is_one_sentence(desk, arguments, code, message):
    said = await desk.ask("silence", "add", *arguments)
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (code, "", 1)
    assert message in said.stderr
    assert desk.desk.silences().silences == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("30m", 1800), ("2h", 7200), (" 1D ", 86_400), ("2w", 1_209_600)]
)
def test_lengths_of_time(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "0s", "-1h", "1.5h", "1 h", "2h30m", "\u0663h", "9" * 10 + "s"])
def test_what_is_no_length_of_time(text):
    with pytest.raises(typer.BadParameter, match="like 2h"):
        seconds_of(text)
