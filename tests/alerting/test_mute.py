from dataclasses import replace
from datetime import time
from zoneinfo import ZoneInfo

import pytest

from alerting.mute import Maintenance, reasons
from alerting.occurrence import State
from alerting.policy import Kept
from alerting.silence import Match, Silence
from alerting.timeinterval import Window

T0 = 1_772_344_800_000  # 2026-03-01T06:00:00Z, a Sunday
WINDOW = Window("patches", frozenset({6}), time(5), time(7), ZoneInfo("UTC"))


@pytest.fixture
def ask():
    def why(*alerts, silences=(), maintenance=(), left_to="", time_ms=T0):
        found = reasons(alerts, silences=silences, maintenance=maintenance, left_to=left_to, time_ms=time_ms)
        return [found.get(one.id, "") for one in alerts]

    return why


def silence(match=None, comment="disk swap", starts=T0, ends=T0 + 1):
    return Silence("s1", match or Match(), starts, ends, "ana", comment)


def test_without_a_reason_nothing_is_muted(ask, alert):
    assert ask(alert(), alert("FilesystemReadOnly", "/srv")) == ["", ""]


def test_what_another_explains(ask, alert):
    assert ask(alert("ResourceExhaustionExpected", "/srv"), alert("FilesystemReadOnly", "/srv")) == [
        "explained by FilesystemReadOnly /srv", "",
    ]  # fmt: skip
    assert ask(alert("Anomaly", ""), alert("AnomalyWithImpact", "")) == ["explained by AnomalyWithImpact", ""]


def test_what_is_over_explains_nothing(ask, alert):
    over = alert("FilesystemReadOnly", "/srv", state=State.RESOLVED)
    assert ask(alert("ResourceExhaustionExpected", "/srv"), over) == ["", ""]


def test_what_an_operator_silenced(ask, alert):
    assert ask(alert(), silences=[silence()]) == ["silenced by ana: disk swap"]
    assert ask(alert(), silences=[silence(comment="")]) == ["silenced by ana: s1"]
    assert ask(alert(), silences=[silence(Match("Disk*"))]) == [""]
    assert ask(alert(), silences=[silence()], time_ms=T0 + 1) == [""]
    assert ask(alert(), silences=[silence(starts=T0 + 1)]) == [""]


def test_a_silenced_alert_explains_all_the_same(ask, alert):
    cause, symptom = alert("FilesystemReadOnly", "/srv"), alert("ResourceExhaustionExpected", "/srv")
    assert ask(cause, symptom, silences=[silence(Match("Filesystem*"))]) == [
        "silenced by ana: disk swap", "explained by FilesystemReadOnly /srv",
    ]  # fmt: skip


def test_what_maintenance_is_for(ask, alert):
    window = Maintenance(WINDOW, Match(resource="app*"))
    assert ask(alert(), alert(resource="db"), maintenance=[window]) == ["maintenance patches", ""]
    assert ask(alert(), maintenance=[window], time_ms=T0 + 3_600_000) == [""]


def test_what_is_left_to_another(ask, alert):
    assert ask(alert(), left_to="Prometheus") == ["left to Prometheus"]


def test_the_first_reason_is_told(ask, alert):
    cause, symptom = alert("FilesystemReadOnly", "/srv"), alert("ResourceExhaustionExpected", "/srv")
    everything = {"maintenance": [Maintenance(WINDOW, Match())], "left_to": "Prometheus"}
    said = ask(symptom, cause, silences=[silence()], **everything)
    assert said == ["explained by FilesystemReadOnly /srv", "silenced by ana: disk swap"]
    assert ask(cause, **everything) == ["maintenance patches"]


def test_what_is_kept_has_its_reason_already(ask, alert):
    kept = replace(alert("Anomaly", ""), kept=Kept.LEARNING)
    assert ask(kept, silences=[silence()], left_to="Prometheus") == [""]
