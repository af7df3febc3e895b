from dataclasses import replace

import pytest

from alerting.occurrence import Acknowledgement, State
from alerting.policy import Severity
from alerting.route import Escalation, Route, sinks_of

NEVER = Escalation(0.0, ())
EVERY = ("ops", "chat", "boss")
NOW_MS = 1_772_344_800_000


def ask(one, *routes, escalation=NEVER, every=EVERY, now_ms=NOW_MS):
    return sinks_of(one, routes, escalation, every=every, now_ms=now_ms)


def test_without_a_route_everybody_is_told(alert):
    assert ask(alert()) == EVERY


def test_the_first_route_that_takes_an_alert_decides(alert):
    routes = (
        Route(("chat",), severities=frozenset({"warning"})),
        Route(("boss",), networks=frozenset({"capacity"})),
        Route(("ops", "boss"), alertnames=("UnitFailed",)),
        Route(("ops",)),
    )
    assert ask(alert("DiskHealth"), *routes) == ("chat",)
    assert ask(alert("ResourceExhaustionImminent"), *routes) == ("boss",)
    assert ask(alert("UnitFailed"), *routes) == ("ops", "boss")
    assert ask(alert("FilesystemReadOnly"), *routes) == ("ops",)
    assert ask(alert("FilesystemReadOnly"), *routes[:3]) == EVERY


def test_a_route_wants_all_that_it_names(alert):
    taken = alert(resource="db@1.service")
    route = Route(("ops",), frozenset({"critical"}), frozenset({"host"}), ("Unit*",), ("db@*.service", "web.service"))
    assert route.takes(taken)
    for other in (
        replace(taken, severity=Severity.TICKET),
        replace(taken, network="failure"),
        replace(taken, alertname="FilesystemReadOnly"),
        replace(taken, resource="cron.service"),
    ):
        assert not route.takes(other)


def test_a_route_to_nobody_keeps_an_alert_here(alert):
    assert ask(alert(), Route(())) == ()


def test_a_sink_that_is_not_there_is_passed_over_and_none_is_told_twice(alert):
    assert ask(alert(), Route(("ops", "former", "ops"))) == ("ops",)


def test_who_is_kept_for_escalation_is_not_told_before(alert):
    assert ask(alert(), escalation=Escalation(900.0, ("boss",))) == ("ops", "chat")
    assert ask(alert(), escalation=Escalation(0.0, ("boss",))) == EVERY  # it is switched off
    assert ask(alert(), Route(("boss",)), escalation=Escalation(900.0, ("boss",))) == ("boss",)


def test_who_is_alone_is_told_even_where_he_is_kept_for_escalation(alert):
    assert ask(alert(), escalation=Escalation(900.0, ("boss",)), every=("boss",)) == ("boss",)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, True),
        ({"severity": Severity.TICKET}, False),
        ({"acknowledged": Acknowledgement("ana", 1)}, False),
        ({"state": State.RESOLVED}, False),
        ({"first_told_ms": None}, False),
        ({"first_told_ms": NOW_MS - 899_999}, False),
        ({"first_told_ms": NOW_MS + 899_999}, False),
        ({"first_told_ms": NOW_MS + 86_400_000}, True),  # told by a clock that was wrong: nobody waits a day for it
    ],
)
def test_a_page_that_nobody_takes_in_hand_goes_on_to_others(alert, change, told):
    one = replace(alert(first_told_ms=NOW_MS - 900_000), **change)
    assert ("boss" in ask(one, escalation=Escalation(900.0, ("boss",)))) is told
    routed = ask(one, Route(("chat",)), escalation=Escalation(900.0, ("boss",)))
    assert routed == (("chat", "boss") if told else ("chat",))
