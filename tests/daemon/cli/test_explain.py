import os
import re
import time
from datetime import UTC, datetime

import pytest
from rich.console import Console

from daemon.cli.explain import rows
from daemon.cli.terminal import print_rows
from daemon.web.alert_answers import (
    AlertDetail,
    ContributorAnswer,
    CulpritAnswer,
    DeliveryAnswer,
    PrecedentAnswer,
    SilenceAnswer,
    VerdictAnswer,
    VictimAnswer,
)
from daemon.web.api import ChangeAnswer

NOW = datetime(2026, 3, 1, 6, 10, tzinfo=UTC)


def contributor(signal, value, low, high, **more):
    given = {"unit": "ratio", "direction": None, "network_share": None, **more}
    return ContributorAnswer(
        signal=signal, family="cpu", resource="", value=value, expected_low=low, expected_high=high, surprise=9.0,
        recent_low=None, recent_high=None, **given,
    )  # fmt: skip


ALERT = AlertDetail(
    occurrence="01KJ0000000000000000ABCDEF",
    fingerprint="f" * 16,
    alertname="AnomalyWithImpact",
    network="anomaly",
    severity="warning",
    state="firing",
    resource="",
    sentence="web1: unusual, and it hurts: cpu.busy is 97 % (usually 3 % to 12 %)",
    meaning="The host behaves unlike itself, and it hurts.",
    started_at="2026-03-01T06:00:00.000Z",
    fired_at="2026-03-01T06:01:00.000Z",
    sent_to=["team", "mail"],
    acknowledged_by=None,
    acknowledged_at=None,
    group="01KJ0000000000000000ABCDEF",
    firings=3,
    score=5.0,
    threshold=3.0,
    contributors=[
        contributor("cpu.busy", 0.97, 0.03, 0.12, direction="above", network_share=0.41),
        contributor("load.one_per_cpu", 3.2, 0.1, 0.4, direction="rising", network_share=0.2),
        contributor("memory.available_bytes", None, None, None, unit="bytes"),
    ],
    culprits=[
        CulpritAnswer(
            unit="backup.service", process="rsync", resource="reads", share=0.61, usual_share=0.03, times_usual=None
        ),
        CulpritAnswer(unit="", process="cc1", resource="cpu", share=0.3, usual_share=None, times_usual=4.2),
    ],
    victims=[VictimAnswer(unit="db.service", waits_for="disk", share_of_time=0.12, usual_share_of_time=0.01)],
    change=ChangeAnswer(at="2026-03-01T05:55:00.000Z", kind="mark", text="deploy 42"),
    precedent=PrecedentAnswer(
        occurrence="01KJ0000000000000000PRECED",
        started_at="2026-02-01T06:00:00.000Z",
        lasted_seconds=720.0,
        likeness=0.93,
    ),
    owed=False,
    deliveries=[
        DeliveryAnswer(id="1", sink="team", event="firing", reason="began", state="delivered", attempts=1, error=None),
        DeliveryAnswer(
            id="2",
            sink="mail",
            event="firing",
            reason="began",
            state="pending",
            attempts=4,
            error="HTTP 500: no\x1b[31m",
        ),
        DeliveryAnswer(id="3", sink="sms", event="firing", reason="again", state="dead", attempts=20, error="HTTP 410"),
    ],
    verdicts=[
        VerdictAnswer(
            verdict="false",
            author="ann",
            comment="cron",
            at="2026-03-01T06:05:00.000Z",
            undone_at="2026-03-01T06:06:00.000Z",
        ),
        VerdictAnswer(verdict="real", author="bob", comment="", at="2026-03-01T06:07:00.000Z", undone_at=None),
    ],
    silences=[],
)


def shown(alert, now=NOW):
    return [(label, text.plain) for label, text in rows(alert, now)]


@pytest.fixture(autouse=True)
def _utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_all_that_is_known_is_on_one_screen():
    lines = shown(ALERT)
    assert lines[0] == ("alert", "AnomalyWithImpact (warning), firing")
    assert lines[1] == ("", ALERT.sentence)
    assert (
        "when",
        "began 2026-03-01 06:00 UTC; fired 2026-03-01 06:01 UTC; lasts 10 min; fired 3 times within the hour",
    ) in lines
    assert ("told", "sent to team, mail") in lines
    assert ("", "team: firing taken") in lines
    assert ("", "mail: firing waiting, 4 attempts: HTTP 500: no [31m") in lines
    assert ("", "sms: firing again given up, 20 attempts: HTTP 410") in lines
    assert ("takes most", "backup.service (rsync): 61 % of the disk reads, usually 3 %") in lines
    assert ("", "process cc1: 30 % of the CPU time, 4.2 times its usual") in lines
    assert ("waits", "db.service: 12 % of the time for the disk, usually 1 %") in lines
    assert ("before it", "2026-03-01 05:55 UTC: deploy 42 (mark)") in lines
    assert ("like it", "2026-02-01 06:00 UTC, for 12 min: PRECED") in lines
    assert ("verdict", "false, by ann, 2026-03-01 06:05 UTC: cron (taken back)") in lines
    assert ("verdict", "real, by bob, 2026-03-01 06:07 UTC") in lines
    assert ("id", "01KJ0000000000000000ABCDEF") in lines
    assert lines[-5:] == [
        ("next", "presage ack ABCDEF"),
        ("", "presage feedback ABCDEF real|false|expected"),
        ("", "presage silence add --alert AnomalyWithImpact --for 2h"),
        ("", "presage explain PRECED"),
        ("", "presage status"),
    ]


def test_what_runs_out_has_a_forecast_to_look_at():
    alert = ALERT.model_copy(update={"network": "capacity", "resource": "/var inodes", "precedent": None})
    assert [text for _, text in shown(alert)][-2:] == ["presage forecast '/var inodes'", "presage status"]
    assert not any("presage forecast" in text for _, text in shown(ALERT))


def test_the_signals_are_a_table_in_their_own_units():
    table = [text for _, text in shown(ALERT)]
    at = next(number for number, text in enumerate(table) if text.startswith("signal "))
    cells = [re.split(r" {2,}", line) for line in table[at : at + 4]]
    assert cells == [
        ["signal", "now", "usually", "what is unusual", "network"],
        ["cpu.busy", "97 %", "3 % to 12 %", "too high", "41%"],
        ["load.one_per_cpu", "3.2", "0.1 to 0.4", "rising", "20%"],
        ["memory.available_bytes", "unknown", "not known"],
    ]
    columns = [line.find(word) for line, word in zip(table[at : at + 3], ("usually", "3 % to", "0.1 to"), strict=True)]
    assert len(set(columns)) == 1


def test_without_a_network_there_is_no_column_for_it():
    parts = [part.model_copy(update={"network_share": None}) for part in ALERT.contributors]
    heading = next(t for _, t in shown(ALERT.model_copy(update={"contributors": parts})) if t.startswith("signal "))
    assert not heading.endswith("network")


def test_why_nobody_is_told_and_in_whose_hands_it_is():
    held = {"held": "silenced by ann: swap", "sent_to": [], "acknowledged_by": "bob"}
    silence = SilenceAnswer(
        id="01KJ0000000000000000SLNCED", alertname="", resource="", severity="", network="", takes="every alert",
        starts_at="2026-03-01T06:00:00.000Z", ends_at="2026-03-01T08:00:00.000Z", author="ann", comment="swap",
    )  # fmt: skip
    lines = shown(ALERT.model_copy(update={**held, "silences": [silence]}))
    assert ("told", "held: silenced by ann: swap; in the hands of bob") in lines
    assert ("silence", "SLNCED by ann until 2026-03-01 08:00 UTC: swap") in lines
    commands = [text for _, text in lines if text.startswith("presage ")]
    assert not any(text.startswith(("presage ack", "presage silence")) for text in commands)


def test_an_alert_that_is_over_says_how_long_it_lasted_and_offers_what_is_left():
    lines = shown(
        ALERT.model_copy(update={"state": "resolved", "resolved_at": "2026-03-01T06:05:00.000Z", "firings": 1})
    )
    assert (
        "when",
        "began 2026-03-01 06:00 UTC; fired 2026-03-01 06:01 UTC; over 2026-03-01 06:05 UTC after 5 min",
    ) in lines
    commands = [text for _, text in lines if text.startswith("presage ")]
    assert commands[0] == "presage feedback ABCDEF real|false|expected"
    assert not any(text.startswith(("presage ack", "presage silence")) for text in commands)


def test_one_that_has_not_fired_says_so():
    lines = shown(ALERT.model_copy(update={"state": "pending", "fired_at": None, "sent_to": [], "deliveries": []}))
    assert ("told", "nobody yet: it must hold for a while first") in lines
    assert not any("feedback" in text for _, text in lines)


def test_a_resource_of_any_letters_makes_a_command_that_can_be_pasted():
    lines = shown(ALERT.model_copy(update={"resource": "/mnt/it's $(rm) here"}))
    assert (
        "",
        """presage silence add --alert AnomalyWithImpact --resource '/mnt/it'"'"'s $(rm) here' --for 2h""",
    ) in lines


def test_it_fits_a_terminal_of_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a stream, not a path
        out = Console(file=nowhere, force_terminal=True, width=80, record=True, markup=False)
        print_rows(out, rows(ALERT, NOW), 10)
    text = re.sub(r"\x1b\[[0-9;]*m", "", out.export_text())
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) < 45
