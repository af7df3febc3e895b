import io
import json
import math
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from alerting.document import message_document
from alerting.group import Message, News, What
from alerting.policy import Kept, Severity
from daemon.backtest.report import headline, lead_words, make_report, rows, to_json
from daemon.backtest.result import Notification
from daemon.cli.terminal import print_rows
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

DAY = 2880
HOUR = 120


@pytest.fixture(autouse=True)
def summer_time(monkeypatch):
    """Local time is shown."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def printed(report, *, plain=True):
    return "\n".join(f"{label:<10} {text.plain}".rstrip() for label, text in rows(report, plain=plain))


def test_a_quiet_month_says_so_in_one_line(scene):
    report = make_report(scene(days=30).backtest())
    assert headline(report) == "nothing would have been sent in 23 judged days"
    assert report.notifications == ()
    text = printed(report)
    assert "the first 7 days were learned from: would have sent 0" in text
    assert "feedback" not in text  # there is nothing to judge
    assert "never fired: NodeSystemSaturation" in text


def test_what_would_have_been_sent(scene):
    host = scene()
    one = host.alert(8 * DAY)
    host.tell(8 * DAY, one)
    host.tell(8 * DAY, one, sink="slack")
    host.tell(8 * DAY + 40, one, event="resolved", reason="ended")
    report = make_report(host.backtest())
    first, last = report.notifications
    assert (first.what, first.sinks, first.severity, first.learning) == ("began", ("mail", "slack"), "warning", False)
    assert (last.what, last.sinks, last.lead) == ("ended", ("mail",), None)
    assert headline(report) == (
        "2 notifications would have been sent in 7 judged days: 1 that something began, 1 that something ended"
    )
    assert report.records == 0
    text = printed(report)
    assert re.search(r"^000000     2026-03-09 07:00 warning  began    AnomalyWithImpact$", text, re.MULTILINE)
    assert "to mail, slack; nothing followed within 24 h" in text
    assert "`presage feedback ID false` judges an alert" in text


@pytest.mark.parametrize(
    ("harm_after", "said"),
    [
        (HOUR, "lead 60 min: then NodeSystemSaturation"),
        (23 * HOUR, "lead 23 h: then NodeSystemSaturation"),
        (24 * HOUR, "lead 24 h: then NodeSystemSaturation"),
        (24 * HOUR + 1, "nothing followed within 24 h"),
        (0, "lead 0 s: then NodeSystemSaturation"),
        (-2, "lead -60 s: NodeSystemSaturation came first"),
        (-4, "lead -120 s: NodeSystemSaturation came first"),
        (-5, "nothing followed within 24 h"),  # it was there before the alert began
    ],
)
def test_the_lead_is_what_harm_left_of_it(scene, harm_after, said):
    host = scene()
    row = 8 * DAY
    host.harm(row + harm_after)
    host.tell(row, host.alert(row))
    (told,) = make_report(host.backtest()).notifications
    assert lead_words(told).replace("2 min", "120 s") == said
    if said.startswith("lead"):
        assert told.lead.seconds == harm_after * 30


def test_the_first_harm_counts_and_a_fact_of_ours_is_one(scene):
    host = scene()
    host.tell(8 * DAY, host.alert(8 * DAY))
    fact = host.alert(8 * DAY + 60, "FilesystemReadOnly", Severity.PAGE, resource="/var")
    host.tell(8 * DAY + 60, fact)
    host.harm(8 * DAY + 90)
    first, second = make_report(host.backtest()).notifications
    assert lead_words(first) == "lead 30 min: then FilesystemReadOnly /var"
    assert second.is_fact
    assert second.lead is None
    assert lead_words(second) == "a fact, harm by itself"


def test_a_busy_processor_is_no_harm_and_fires_beside_it_all_the_same(scene):
    host = scene()
    host.columns[SignalSpec("cpu.busy", Unit.RATIO, Kind.GAUGE, "cpu")] = np.full(host.rows, 0.99)
    host.tell(8 * DAY, host.alert(8 * DAY))
    host.columns[next(one for one in host.columns if one.name == "cpu.busy")][: 8 * DAY] = 0.1
    report = make_report(host.backtest())
    assert lead_words(report.notifications[0]) == "nothing followed within 24 h"
    assert [one.name for one in report.beside if one.counted and one.kind == "static"] == ["NodeCPUHighUsage"]


def test_a_repeat_has_no_lead_of_its_own(scene):
    host = scene()
    one = host.alert(8 * DAY)
    host.tell(8 * DAY, one)
    host.tell(8 * DAY + HOUR, one, reason="again")
    first, again = make_report(host.backtest()).notifications
    assert first.lead is not None
    assert (again.what, again.lead) == ("again", None)


def test_where_the_history_ends_the_lead_says_how_far_it_looked(scene):
    host = scene(days=8)
    host.tell(8 * DAY - 2 * HOUR, host.alert(8 * DAY - 2 * HOUR))
    (told,) = make_report(host.backtest()).notifications
    assert lead_words(told) == "nothing followed within 120 min, where the history ends"


def test_what_was_judged_is_said_and_counted_once_an_alert(scene):
    host = scene()
    alerts = [host.alert(row * DAY) for row in (8, 9, 10)]
    for row, one in zip((8, 9, 10), alerts, strict=True):
        host.tell(row * DAY, one)
        host.tell(row * DAY + 40, one, event="resolved", reason="ended")
    record = host.alert(11 * DAY, "Anomaly", Severity.RECORD)
    verdicts = {alerts[0].id: "real", alerts[1].id: "false", record.id: "expected"}
    report = make_report(replace(host.backtest(), verdicts=verdicts))
    text = printed(report)
    assert "verdicts   2 alerts told and judged: 1 real, 1 false; 50% were real" in text
    assert "skipped    what 3 verdicts changed: given after these samples, or of no effect on them" in text
    one_left = make_report(replace(host.backtest(), verdicts=verdicts, honoured=2))
    assert any(one.what == "what a verdict changed" for one in one_left.skipped)
    none_left = make_report(replace(host.backtest(), verdicts=verdicts, honoured=3))
    assert not any("verdict" in one.what for one in none_left.skipped)
    assert text.count("judged real") == 2  # beside its beginning and beside its end
    document = to_json(report)
    assert [one["verdict"] for one in document["notifications"]] == ["real", "real", "false", "false", None, None]
    assert document["records"]["newest"][0]["verdict"] == "expected"
    assert "judged" not in printed(make_report(host.backtest())).replace("judged days", "")


def test_the_learning_time_is_told_apart(scene):
    host = scene(days=30)
    for row in (DAY, 2 * DAY, 3 * DAY):
        host.alert(row, kept=Kept.LEARNING)
    host.tell(4 * DAY, host.alert(4 * DAY, "StoppedCollecting", Severity.PAGE, resource="disk"))
    digest = {"event": "digest", "sentence": "would have sent 3"}
    host.notifications.append(Notification(host.at(5 * DAY), "mail", digest, (host.occurrences[0].id,)))
    report = make_report(host.backtest())
    assert report.records == 3
    assert (report.would_have_sent, report.digests, len(report.notifications)) == (3, 1, 1)
    assert report.notifications[0].learning
    assert headline(report) == "nothing would have been sent in 23 judged days"
    text = printed(report)
    assert (
        "the first 7 days were learned from: would have sent 3; 1 notification of facts went out all the same" in text
    )
    assert "not sent: the host is still being learned" in text


def test_records_are_counted_by_week_and_the_newest_are_shown(scene):
    host = scene(days=30)
    for number in range(25):
        host.record(DAY + number * DAY, sentence=f"record {number}")
    report = make_report(host.backtest())
    assert report.records == 25
    assert [week.records for week in report.weeks] == [6, 7, 7, 5, 0]
    assert [one.sentence for one in report.newest_records] == [f"record {number}" for number in range(24, 4, -1)]
    assert "25 alerts kept and shown, told to nobody, the newest 20 of them" in printed(report)


def test_the_budget_is_counted_by_week_against_the_ceiling(scene):
    host = scene(days=15)
    for number in range(10):
        host.raw[DAY + number * HOUR] = 9.0
    for number in range(2):
        host.raw[9 * DAY + number * HOUR] = 9.0
    report = make_report(host.backtest())
    assert [week.episodes for week in report.weeks] == [10, 2, 0]
    assert [round(week.days, 2) for week in report.weeks] == [7, 7, 1]
    assert [round(week.judged_days, 2) for week in report.weeks] == [0, 7, 1]
    assert (report.episodes, report.judged_episodes) == (12, 2)
    text = printed(report)
    assert "2 episodes after the learning, 1.8 a week; at most 7 a week are meant" in text
    assert "week 1     ###############|##### 10 episodes of 7, 0 records, learning" in text
    assert "week 2     ####...........|..... 2 episodes of 7, 0 records\n" in text
    assert "0 episodes of 7 in 1 day, 0 records" in text


def test_simple_methods_are_compared_with_ours(scene):
    host = scene()
    host.harm(8 * DAY)
    host.harm(10 * DAY)
    host.tell(8 * DAY - HOUR, host.alert(8 * DAY - HOUR))  # within the hour
    host.tell(12 * DAY, host.alert(12 * DAY))
    host.record(10 * DAY)
    (one,) = [one for one in make_report(host.backtest()).beside if one.name == "NodeSystemSaturation"]
    assert (one.counted, one.near_notifications, one.near_records) == (2, 1, 1)
    assert one.per_week == pytest.approx(1.0)
    text = printed(make_report(host.backtest()))
    assert "2 firings, 1.0 a week; within an hour of 1 of our 2 alerts told and 1 of our 1 record" in text


def test_what_was_not_judged_is_said_with_the_reason(scene):
    host = scene()
    host.time_ms[5000:] += 7_200_000
    host.raw[6000:6010] = np.nan
    skipped = {one.what: one.why for one in make_report(host.backtest()).skipped}
    assert skipped["the first 30 min of samples"] == "there was no model to score them with"
    assert skipped["a gap, 2 h in all"] == "nothing was sampled then"
    assert "5 min of later samples" in skipped
    assert skipped["NodeCPUHighUsage"] == "this host has no such signal"


@pytest.mark.parametrize("days", [0, 1 / DAY, 3])
def test_an_empty_or_short_history_is_told_without_a_stumble(scene, days):
    report = make_report(scene(days=days).backtest())
    said = headline(report)
    assert said == "there is no history to judge yet" if not days else said.endswith("nothing was judged yet")
    assert printed(report)
    json.dumps(to_json(report), allow_nan=False)


def test_signals_that_are_all_missing_are_told_without_a_stumble(scene):
    host = scene()
    host.raw[:] = host.threshold[:] = np.nan
    for values in host.columns.values():
        values[:] = np.nan
    report = make_report(host.backtest())
    assert report.alarmed_share is None
    assert next(one.why for one in report.skipped) == "there was no model to score them with"
    json.dumps(to_json(report), allow_nan=False)


def test_json_has_lasting_keys_and_utc(scene):
    host = scene()
    host.tell(8 * DAY, host.alert(8 * DAY))
    host.record(9 * DAY)
    document = json.loads(json.dumps(to_json(make_report(host.backtest())), allow_nan=False))
    assert list(document) == [
        "version", "name", "host", "headline", "notify", "from", "to", "interval_seconds", "samples",
        "imported_samples", "signals", "judged_days", "learning", "notifications", "records", "budget",
        "simple_methods", "forecasts", "skipped", "models", "replay_seconds", "comparison",
    ]  # fmt: skip
    assert document["from"] == "2026-03-01T06:00:00.000Z"
    (told,) = document["notifications"]
    assert told["at"] == "2026-03-09T06:00:00.000Z"
    assert told["lead"] == {"seconds": None, "harm": None, "looked_seconds": 86_400.0}
    assert document["records"]["newest"][0]["kept"] == "record"
    assert document["comparison"] is None
    assert document["forecasts"] is None


def test_two_are_compared_by_what_only_one_would_have_sent(scene):
    first, second = scene(name="as it is"), scene(name="always")
    for host, shift in ((first, 0), (second, 100)):  # 50 minutes later is the same alert
        host.tell(8 * DAY + shift, host.alert(8 * DAY + shift))
    second.tell(9 * DAY, second.alert(9 * DAY, sentence="only the second"))
    first.tell(10 * DAY, first.alert(10 * DAY, sentence="only the first"))
    second.tell(10 * DAY + 130, second.alert(10 * DAY + 130, sentence="too late to be the same"))
    report = make_report(first.backtest(), second.backtest())
    assert [one.sentence for one in report.comparison.only_first] == ["only the first"]
    assert [one.sentence for one in report.comparison.only_second] == ["only the second", "too late to be the same"]
    text = printed(report)
    assert "A is as it is, B is always" in text
    assert re.search(r"notifications after the learning +2 +3$", text, re.MULTILINE)
    assert "only B     2026-03-10 07:00 AnomalyWithImpact" in text
    document = to_json(report)
    assert document["comparison"]["other"]["name"] == "always"
    same = printed(make_report(first.backtest(), first.backtest()))
    assert "both would have told the same alerts" in same


def test_what_comes_from_elsewhere_stays_on_its_line(scene):
    host = scene(host="we\x1b[31mb\n1")
    nasty = "/mnt/\x1b[2J\n<script>"
    host.tell(8 * DAY, host.alert(8 * DAY, "FilesystemReadOnly", Severity.PAGE, resource=nasty, sentence=f"x {nasty}"))
    host.record(9 * DAY, resource=nasty, sentence=nasty)
    for _, text in rows(make_report(host.backtest()), plain=True):
        assert isinstance(text, Text)
        assert text.plain.isprintable()


def test_rows_fit_a_terminal_of_80_columns(scene):
    host = scene()
    host.tell(8 * DAY, host.alert(8 * DAY))
    host.record(9 * DAY)
    report = make_report(host.backtest(), host.backtest())
    out = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    print_rows(out, rows(report, plain=False), 10)
    assert max(map(len, out.file.getvalue().splitlines())) <= 80
    assert all(ord(letter) < 128 for letter in printed(report))


def test_the_evidence_is_that_of_the_notification_and_not_of_a_later_peak(scene):
    host = scene()
    one = host.alert(8 * DAY)
    host.tell(8 * DAY, one)
    (told,) = make_report(host.backtest()).notifications
    assert told.contributors == one.contributors  # where the document has none
    then = replace(one, contributors=(replace(one.contributors[0], value=1.5, expected_low=math.nan),))
    news = (News(What.BEGAN, then),)
    document = message_document("01A", "web1", Message("mail", "g", news, 1), time_ms=host.at(8 * DAY), not_followed={})
    host.notifications[0] = replace(host.notifications[0], document=document)
    (told,) = make_report(host.backtest()).notifications
    (part,) = told.contributors
    assert (part.signal, part.unit, part.value, part.expected_high) == ("load.one_per_cpu", Unit.RATIO, 1.5, 0.4)
    assert math.isnan(part.expected_low)
    host.notifications[0] = replace(host.notifications[0], document={**document, "contributors": [{"signal": 1}]})
    assert make_report(host.backtest()).notifications[0].contributors == one.contributors
