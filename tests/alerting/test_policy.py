from dataclasses import replace

import pytest

from alerting.errors import UnknownAlert
from alerting.policy import RULES, Severity, Timing, decide, rule_of, timing_of


@pytest.mark.parametrize(
    ("notify", "learned", "sent"),
    [
        ("always", True, True),
        ("always", False, False),
        ("with_impact", True, False),
        ("with_impact", False, False),
        ("never", True, False),
    ],
)
def test_an_anomaly_is_a_record_unless_asked_for_and_learned(settings, notify, learned, sent):
    assert decide(RULES["Anomaly"], replace(settings, notify=notify), learned=learned) is sent
    assert RULES["Anomaly"].severity is Severity.RECORD


@pytest.mark.parametrize("alertname", ["FilesystemReadOnly", "StoppedCollecting"])
@pytest.mark.parametrize("notify", ["always", "with_impact", "never"])
def test_a_fact_is_sent_from_the_first_minute(settings, alertname, notify):
    assert RULES[alertname].severity == "critical"
    assert decide(RULES[alertname], replace(settings, notify=notify), learned=False)


def test_the_week_is_over_when_it_was_seen(settings):
    assert not settings.learned(7 * 86_400 - 1)
    assert settings.learned(7 * 86_400)


def test_times_come_from_the_rule_or_from_the_settings(settings):
    assert timing_of("Anomaly", settings) == Timing(60.0, 120.0)
    assert timing_of("FilesystemReadOnly", settings) == RULES["FilesystemReadOnly"].timing
    assert timing_of("GoneWithAnUpdate", settings) == Timing(60.0, 120.0)


def test_an_unknown_alert_is_named():
    with pytest.raises(UnknownAlert, match="'Anomally' is not in the policy table"):
        rule_of("Anomally")
