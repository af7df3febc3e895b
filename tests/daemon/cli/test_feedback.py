"""`presage feedback`: a real command on a real desk."""

import asyncio
import json

import pytest
from office import TOKEN, Office, Team, read_only

from alerting.verdict import VerdictKind
from daemon.cli.alerts import login_name
from daemon.web.alert_answers import FeedbackAnswer, VerdictsAnswer
from detectors.findings import Contributor, Finding, Strength, Unit

PATTERN = tuple(Contributor(name, Unit.RATIO, "", "", 1.0, 0.0, 0.5, 4.0) for name in ("disk\x1b[31m", "load"))
UNUSUAL = Finding("Anomaly", "anomaly", "", Strength.RAISED, "unusual", 0.9, 0.8, PATTERN)


@pytest.fixture
async def desk(clock, port, config, presage):
    """An office where `presage` finds it; `ask` runs a command beside it."""
    office = await Office(config.parent / "state", clock, (Team(),)).open()
    (config.parent / "state" / "token").write_text(TOKEN + "\n")
    await office.serve(f"127.0.0.1:{port}")

    async def ask(*arguments):
        return await asyncio.to_thread(presage, *arguments, "--config", config)

    office.ask = ask
    yield office
    await office.close()


async def test_a_verdict_is_given_and_taken_back(desk):
    (one,) = await desk.fire(UNUSUAL)
    short = one.id[-6:]
    said = await desk.ask("feedback", "latest", "false", "--comment", "cron \u03a9")
    assert (said.returncode, said.stderr) == (0, "")
    kept, changed = said.stdout.splitlines()
    assert kept == f"{short} is kept as false; `presage feedback {short} undo` takes it back"
    assert changed.startswith("threshold 2 -> 2.06 for anomalies of this host, until 2026-03-29 ")
    (verdict,) = desk.state.verdicts(one.id)
    assert (verdict.kind, verdict.author, verdict.comment) == (VerdictKind.FALSE, login_name(), "cron \u03a9")
    said = (await desk.ask("feedback", "latest", "real")).stdout
    assert said.splitlines()[1] == "threshold 2.06 -> 2 for anomalies of this host"
    assert "until it is over, 30 minutes of recovery included, is never learned from (0 samples up to now)" in said
    said = await desk.ask("feedback", short, "undo")
    assert said.stdout.splitlines()[0] == (
        f"{short}: the verdict is taken back; what counts is false, by {login_name()}"
    )
    assert "threshold 2 -> 2.06" in said.stdout
    said = (await desk.ask("feedback", short, "--undo")).stdout
    assert said.splitlines() == [
        f"{short}: the verdict is taken back; none counts",
        "threshold 2.06 -> 2 for anomalies of this host",
    ]
    said = await desk.ask("feedback", short, "undo")
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (1, "", 1)
    assert "has no verdict that could be taken back" in said.stderr


async def test_what_verdicts_change_now_is_listed_explained_and_in_the_status(desk):
    assert (await desk.ask("feedback")).stdout == "none: no verdict changes anything now\n"
    (one,) = await desk.fire(UNUSUAL)
    said = await desk.ask("feedback", "latest", "expected", "--every", "week", "--json")
    answer = FeedbackAnswer.model_validate_json(said.stdout)
    assert answer.verdict.every == "week"
    (line,) = (await desk.ask("feedback")).stdout.splitlines()
    assert line.startswith(f"{one.id[-6:]}  expected  by {login_name()}, 2026-03-01 ")
    assert "raise no alarm every week at about Sunday" in line
    assert line.isprintable()
    listed = VerdictsAnswer.model_validate_json((await desk.ask("feedback", "--json")).stdout)
    assert [each.effect for each in listed.verdicts] == answer.changed
    told = " ".join((await desk.ask("explain", "latest")).stdout.split())
    assert "raise no alarm every week at about Sunday" in told
    assert "verdicts 1 pattern is expected" in " ".join((await desk.ask("status")).stdout.split())
    assert json.loads((await desk.ask("status", "--json")).stdout)["verdicts"] == [
        "1 pattern is expected, and no alarm"
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("latest",), 2, "give real, false or expected, or else undo"),
        (("latest", "real", "--undo"), 2, "give real, false or expected, or else --undo"),
        (("latest", "maybe"), 2, "'maybe' is not one of"),
        (("latest", "false", "--every", "day"), 2, "goes with expected only"),
        (("latest", "expected", "--every", "hour"), 2, "'hour' is not one of"),
        (("latest", "real", "--comment", "a\nb"), 1, "refused: comment: the text must be one line"),
        (("ZZZZZZ", "real"), 1, "presage: no alert has an id ending in ZZZZZZ; see `presage alerts --all`"),
    ],
)
async def test_what_cannot_be_is_one_sentence(desk, arguments, code, message):
    await desk.fire(read_only("/srv"))
    said = await desk.ask("feedback", *arguments)
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (code, "", 1)
    assert message in said.stderr
    assert said.stderr[:-1].isprintable()
