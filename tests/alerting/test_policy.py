from dataclasses import replace

import pytest

from alerting.errors import UnknownAlert
from alerting.policy import GRAVEST, KEPT_WORDS, RULES, Kept, Severity, Timing, decide, rule_of, timing_of


@pytest.mark.parametrize(
    ("notify", "learned", "kept"),
    [
        ("always", True, Kept.NOT),
        ("always", False, Kept.LEARNING),
        ("with_impact", True, Kept.RECORD),
        ("with_impact", False, Kept.RECORD),
        ("never", True, Kept.SWITCHED_OFF),
    ],
)
def test_an_anomaly_is_a_record_unless_asked_for_and_learned(settings, notify, learned, kept):
    assert decide(RULES["Anomaly"], replace(settings, notify=notify), learned=learned) is kept
    assert RULES["Anomaly"].severity is Severity.RECORD


@pytest.mark.parametrize(
    ("notify", "learned", "changing", "kept"),
    [
        ("always", True, False, Kept.NOT),
        ("with_impact", True, False, Kept.NOT),
        ("with_impact", True, True, Kept.CHANGE),
        ("with_impact", False, True, Kept.LEARNING),
        ("never", True, False, Kept.SWITCHED_OFF),
    ],
)
def test_an_anomaly_that_hurts_is_sent_once_the_week_is_known(settings, notify, learned, *, changing, kept):
    rule = RULES["AnomalyWithImpact"]
    assert decide(rule, replace(settings, notify=notify), learned=learned, changing=changing) is kept
    assert rule.severity is Severity.TICKET


@pytest.mark.parametrize(
    "alertname",
    [
        "FilesystemReadOnly",
        "StoppedCollecting",
        "ResourceExhaustionImminent",
        "RepeatedOOMKills",
        "UnitFailed",
        "Drill",
    ],
)
@pytest.mark.parametrize("notify", ["always", "with_impact", "never"])
def test_a_fact_is_sent_from_the_first_minute(settings, alertname, notify):
    assert RULES[alertname].severity == "critical"
    assert decide(RULES[alertname], replace(settings, notify=notify), learned=False, changing=True) is Kept.NOT


@pytest.mark.parametrize("alertname", ["JobMissed", "DataDrift", "ModelPromoted", "ModelRolledBack", "RetrainFailed"])
def test_a_record_is_never_sent(settings, alertname):
    assert RULES[alertname].severity is Severity.RECORD
    assert decide(RULES[alertname], settings, learned=True) is Kept.RECORD


def test_every_reason_to_keep_an_alert_has_its_words():
    assert KEPT_WORDS.keys() == set(Kept) - {Kept.NOT}
    assert set(GRAVEST) == set(Severity)


def test_times_come_from_the_rule_or_from_the_settings(settings):
    assert timing_of("Anomaly", settings) == Timing(60.0, 120.0)
    assert timing_of("FilesystemReadOnly", settings) == RULES["FilesystemReadOnly"].timing
    assert timing_of("GoneWithAnUpdate", settings) == Timing(60.0, 120.0)


def test_an_unknown_alert_is_named():
    with pytest.raises(UnknownAlert, match="'Anomally' is not in the policy table"):
        rule_of("Anomally")
