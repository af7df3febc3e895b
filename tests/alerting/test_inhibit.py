from dataclasses import replace

import pytest

from alerting.inhibit import INHIBITIONS, inhibitor_of, inhibitors
from alerting.occurrence import State
from alerting.policy import RULES, Kept
from detectors.findings import Contributor, Unit


def part(name="disk./srv.write_seconds", family="disk", resource="/srv", surprise=9.0):
    return Contributor(name, Unit.SECONDS, family, resource, 2.0, 0.0, 0.1, surprise)


def explains(one, *others):
    return inhibitor_of(one, inhibitors([one, *others]))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("ResourceExhaustionImminent", "ResourceExhaustionExpected"),
        ("FilesystemReadOnly", "ResourceExhaustionImminent"),
        ("FilesystemReadOnly", "ResourceExhaustionExpected"),
    ],
)
def test_by_the_same_resource(alert, source, target):
    cause = alert(source, "/srv")
    assert explains(alert(target, "/srv"), cause) is cause
    assert explains(alert(target, "/var"), cause) is None


@pytest.mark.parametrize("source", ["ResourceExhaustionImminent", "FilesystemReadOnly"])
@pytest.mark.parametrize("target", ["AnomalyWithImpact", "Anomaly"])
def test_by_what_is_most_unusual_a_full_disk_explains_its_slow_writes(alert, source, target):
    cause = alert(source, "/srv")
    assert explains(alert(target, "", contributors=(part(),)), cause) is cause
    assert explains(alert(target, "", contributors=(part(resource="/var"),)), cause) is None
    second = (part(resource="/var"), part(surprise=8.0))
    assert explains(alert(target, "", contributors=second), cause) is None  # it is not the foremost signal
    assert explains(alert(target, "", contributors=()), cause) is None


def test_a_source_that_stopped_explains_what_is_unusual_of_its_family(alert):
    cause = alert("StoppedCollecting", "disk")
    assert explains(alert("AnomalyWithImpact", "", contributors=(part(),)), cause) is cause
    assert explains(alert("AnomalyWithImpact", "", contributors=(part(family="cpu"),)), cause) is None


def test_what_is_about_the_whole_host_explains_no_signal_without_a_resource(alert):
    cause = alert("FilesystemReadOnly", "")
    assert explains(alert("Anomaly", "", contributors=(part(resource=""),)), cause) is None


@pytest.mark.parametrize(
    ("source", "target"), [("RepeatedOOMKills", "FailureRiskHigh"), ("AnomalyWithImpact", "Anomaly")]
)
def test_by_the_host(alert, source, target):
    cause = alert(source, "app.service")
    assert explains(alert(target, ""), cause) is cause


def test_only_what_fires_explains_and_only_what_is_less(alert):
    cause, symptom = alert("FilesystemReadOnly", "/srv"), alert("ResourceExhaustionExpected", "/srv")
    assert explains(symptom, replace(cause, state=State.RESOLVED)) is None
    assert explains(symptom, replace(cause, state=State.PENDING)) is None
    assert explains(symptom, replace(cause, kept=Kept.CHANGE)) is not None  # that it is not told is no matter
    assert explains(cause, symptom) is None
    assert explains(alert("UnitFailed", "/srv"), cause) is None


def test_the_first_of_several_that_fits_is_named(alert):
    causes = [alert("FilesystemReadOnly", mount) for mount in ("/a", "/srv", "/b")]
    assert explains(alert("ResourceExhaustionExpected", "/srv"), *causes) is causes[1]


def test_the_table_names_alerts_that_exist_and_goes_in_no_circle():
    below = {}
    for rule in INHIBITIONS:
        assert {rule.source, rule.target} <= RULES.keys()
        below.setdefault(rule.source, set()).add(rule.target)

    def reached(name):
        direct = below.get(name, set())
        return direct.union(*(reached(other) for other in direct))

    assert all(name not in reached(name) for name in below)
