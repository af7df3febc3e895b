from dataclasses import replace

import pytest

from alerting.dispatch import Dispatcher, DispatchSettings
from alerting.group import EVERYTHING
from alerting.limit import Limits
from alerting.occurrence import Acknowledgement, State
from alerting.policy import DRILL, Kept, Severity
from alerting.route import Escalation, Route

T0 = 1_772_344_800_000
FREE = Limits(10, 0.0)


class Played:
    """A dispatcher with the alerts that it was given, as the pipeline keeps them."""

    def __init__(self, *sinks, settings):
        self.settings = settings
        self.sinks = sinks
        self.dispatcher = Dispatcher(settings, sinks)
        self.alerts = {}

    def put(self, *alerts):
        self.alerts |= {one.id: one for one in alerts}

    def end(self, one):
        self.put(replace(self.alerts[one.id], state=State.RESOLVED, resolved_ms=T0))

    def change(self, one, **fields):
        self.put(replace(self.alerts[one.id], **fields))

    def __getitem__(self, one):
        return self.alerts[one.id]

    def restart(self, *sinks):
        self.sinks = sinks or self.sinks
        self.dispatcher = Dispatcher(self.settings, self.sinks)
        self.dispatcher.restore(list(self.alerts.values()))

    def plan(self, seconds, *muted):
        """Return what goes, one entry a notification: the sink, and why and what of each alert."""
        before = list(self.alerts.values())
        plan = self.dispatcher.plan(
            before, {one.id: "so" for one in muted}, now_ms=T0 + int(seconds * 1000), now_ns=int(seconds * 1e9)
        )
        assert set(plan.changed) <= set(self.alerts)
        assert all(self.alerts[number] != one for number, one in plan.changed.items())
        self.alerts |= plan.changed
        self.alerts = {number: one for number, one in self.alerts.items() if one.state is State.FIRING or one.owed}
        return [
            (message.sink, *((news.what.value, news.occurrence.resource) for news in message.news))
            for message in plan.messages
        ]


@pytest.fixture
def played():
    def build(*sinks, **settings):
        return Played(*(sinks or ("ops",)), settings=DispatchSettings(**{"limits": FREE, **settings}))

    return build


# Beginning and end


def test_what_fires_is_told_once_and_so_is_its_end(played, alert):
    host, one = played("ops", "chat"), alert(resource="a")
    host.put(one)
    assert host.plan(0) == [("ops", ("began", "a")), ("chat", ("began", "a"))]
    assert (host[one].told, host[one].group, host[one].owed) == (("ops", "chat"), one.id, False)
    assert (host[one].first_told_ms, host[one].last_told_ms, host[one].told_severity) == (T0, T0, "critical")
    assert host.plan(30) == host.plan(10_000) == []
    host.end(one)
    assert host.plan(10_030) == [("ops", ("ended", "a")), ("chat", ("ended", "a"))]
    assert host.alerts == {}


def test_alerts_that_fire_together_are_one_notification(played, alert):
    host = played()
    host.put(*[alert(resource=name) for name in "abc"])
    assert host.plan(0) == [("ops", ("began", "a"), ("began", "b"), ("began", "c"))]


def test_a_page_that_joins_is_told_after_a_minute_and_a_ticket_after_the_time_of_the_group(played, alert):
    host = played()
    host.put(alert(resource="a"), alert("DiskHealth", "sda"))
    assert host.plan(0) == [("ops", ("began", "a")), ("ops", ("began", "sda"))]
    page, ticket = alert(resource="b"), alert("DiskHealth", "sdb")
    host.put(page, ticket)
    assert host.plan(10) == host.plan(59) == []
    assert host[page].owed
    assert host[ticket].owed
    assert host.plan(60) == [("ops", ("began", "b"))]
    assert not host[page].owed
    assert host.plan(299) == []
    assert host.plan(300) == [("ops", ("began", "sdb"))]


def test_the_end_of_a_whole_group_is_told_at_once(played, alert):
    host, first, second = played(), alert(resource="a"), alert(resource="b")
    host.put(first, second)
    host.plan(0)
    host.end(first)
    assert host.plan(10) == []  # the other still fires: its end may follow soon
    host.end(second)
    assert host.plan(20) == [("ops", ("ended", "a"), ("ended", "b"))]
    assert host.alerts == {}


def test_the_end_of_one_of_a_group_waits_for_the_time_of_the_group_only(played, alert):
    host, first, second = played(), alert(resource="a"), alert(resource="b")
    host.put(first, second)
    host.plan(0)
    host.end(first)
    assert host.plan(299) == []
    assert host.plan(300) == [("ops", ("ended", "a"))]


def test_a_drill_is_told_alone_and_at_once(played, alert):
    host, drill = played(), alert(DRILL, "")
    host.put(alert(resource="a"))
    host.plan(0)
    host.put(drill)
    assert host.plan(10) == [("ops", ("began", ""))]
    host.end(drill)
    assert host.plan(20) == [("ops", ("ended", ""))]


def test_what_begins_as_the_group_ends_keeps_the_group(played, alert):
    host, first, second, third = played(), *(alert(resource=name) for name in "abc")
    host.put(first)
    host.plan(0)
    host.end(first)
    host.put(second)
    assert host.plan(100) == [("ops", ("began", "b"), ("ended", "a"))]
    assert host[second].group == first.id
    host.put(third)
    assert host.plan(110) == []  # a page joins a group that was told just now, not before a minute
    assert host.plan(160) == [("ops", ("began", "c"))]


def test_nothing_is_remembered_of_groups_that_are_over(played, alert):
    host = played(limits=Limits(1, 30.0))
    for number in range(20):
        one = alert(resource=f"{number}")
        host.put(one)
        host.plan(1_000 * number)
        host.end(one)
        host.plan(1_000 * number + 500)
    assert host.alerts == {}
    assert host.dispatcher._groups._told_ms == {}


def test_for_a_receiver_that_groups_by_itself_all_goes_in_one_and_at_once(played, alert):
    host, first = played(group_seconds=0.0), alert(resource="a")
    host.put(first, alert("DiskHealth", "sda"))
    assert host.plan(0) == [("ops", ("began", "a"), ("began", "sda"))]
    assert host[first].group == EVERYTHING
    host.put(alert(resource="b"))
    host.end(first)
    assert host.plan(1) == [("ops", ("began", "b"), ("ended", "a"))]


# What is not told


def test_what_is_kept_as_a_record_is_never_told(played, alert):
    host = played()
    for kept in set(Kept) - {Kept.NOT}:
        host.put(alert("Anomaly", kept.value, kept=kept))
    assert host.plan(0) == []
    assert not any(one.owed for one in host.alerts.values())
    for one in tuple(host.alerts.values()):
        host.end(one)
    assert host.plan(300) == []
    assert host.alerts == {}


def test_what_waits_for_the_digest_goes_on_waiting(played, alert):
    host = played()
    host.put(alert("AnomalyWithImpact", "", kept=Kept.LEARNING, owed=True))
    assert host.plan(0) == []
    (one,) = host.alerts.values()
    assert one.owed


def test_what_fired_while_it_was_muted_is_told_when_that_is_over(played, alert):
    host, one = played(), alert(resource="a")
    host.put(one)
    assert host.plan(0, one) == []
    assert host.plan(3_000, one) == []
    assert not host[one].owed
    assert host.plan(3_030) == [("ops", ("began", "a"))]


def test_what_began_and_ended_while_it_was_muted_is_never_told(played, alert):
    host, one = played(), alert(resource="a")
    host.put(one)
    host.plan(0, one)
    host.end(one)
    assert host.plan(30, one) == []
    assert host.alerts == {}


def test_the_end_of_what_was_told_is_told_muted_or_not(played, alert):
    host, one = played(repeat_seconds=100.0), alert(resource="a")
    host.put(one)
    host.plan(0)
    assert host.plan(1_000, one) == []  # but it is not repeated meanwhile
    host.end(one)
    assert host.plan(1_030, one) == [("ops", ("ended", "a"))]


# Who is told


def test_a_route_decides_and_only_those_who_know_are_told_the_end(played, alert):
    host, one = played("ops", "chat", routes=(Route(("chat",)),)), alert(resource="a")
    host.put(one)
    assert host.plan(0) == [("chat", ("began", "a"))]
    host.end(one)
    assert host.plan(30) == [("chat", ("ended", "a"))]


def test_a_page_is_repeated_until_somebody_has_taken_it_in_hand(played, alert):
    host, page, ticket = played(repeat_seconds=3_600.0), alert(resource="a"), alert("DiskHealth", "sda")
    host.put(page, ticket)
    host.plan(0)
    assert host.plan(3_599) == []
    assert host.plan(3_600) == [("ops", ("again", "a"))]
    assert host.plan(7_199) == []
    assert host.plan(7_200) == [("ops", ("again", "a"))]
    host.change(page, acknowledged=Acknowledgement("ana", T0))
    assert host.plan(50_000) == []


def test_without_a_time_for_it_nothing_is_repeated(played, alert):
    host = played()
    host.put(alert())
    host.plan(0)
    assert host.plan(10**7) == []


def test_a_page_that_nobody_takes_in_hand_is_told_to_others_once(played, alert):
    host, page = played("ops", "boss", escalation=Escalation(900.0, ("boss",))), alert(resource="a")
    host.put(page)
    assert host.plan(0) == [("ops", ("began", "a"))]
    assert host.plan(899) == []
    assert host.plan(900) == [("boss", ("began", "a"))]
    assert host.plan(930) == []
    host.end(page)
    assert host.plan(960) == [("ops", ("ended", "a")), ("boss", ("ended", "a"))]


def test_a_page_that_was_taken_in_hand_goes_no_further(played, alert):
    host, page = played("ops", "boss", escalation=Escalation(900.0, ("boss",))), alert(resource="a")
    host.put(page)
    host.plan(0)
    host.change(page, acknowledged=Acknowledgement("ana", T0))
    assert host.plan(5_000) == []
    host.end(page)
    assert host.plan(6_000) == [("ops", ("ended", "a"))]


def test_another_severity_is_told_once(played, alert):
    host, one = played("ops", "chat"), alert(resource="a", severity=Severity.TICKET)
    host.put(one)
    host.plan(0)
    host.change(one, severity=Severity.PAGE)
    assert host.plan(10) == [("ops", ("gravity", "a")), ("chat", ("gravity", "a"))]
    assert host.plan(20) == host.plan(10_000) == []


def test_what_an_earlier_version_told_is_no_change_of_severity(played, alert):
    host = played(repeat_seconds=3_600.0)
    host.put(alert(told=("ops",), group="g"))
    assert host.plan(0) == host.plan(4_000) == []


# Restarts and changed settings


def test_a_restart_tells_nothing_twice(played, alert):
    host, one = played("ops", "chat"), alert(resource="a")
    host.put(one)
    host.plan(0)
    host.restart()
    assert host.plan(400) == []
    host.end(one)
    assert host.plan(430) == [("ops", ("ended", "a")), ("chat", ("ended", "a"))]


def test_a_restart_in_the_middle_of_a_group_keeps_its_waits(played, alert):
    host, second = played(), alert(resource="b")
    host.put(alert(resource="a"))
    host.plan(0)
    host.put(second)
    assert host.plan(10) == []
    host.end(next(iter(host.alerts.values())))
    host.plan(20)
    assert {one.resource for one in host.alerts.values()} == {"a", "b"}  # the end of a is owed, and so is b
    host.restart()
    # b was in no group yet, and the new process knows of none that it could join: it is told at once.
    assert host.plan(30) == [("ops", ("ended", "a")), ("ops", ("began", "b"))]


def test_a_sink_that_left_is_owed_nothing_and_a_new_one_learns_what_fires(played, alert):
    host, one = played("ops", "former"), alert(resource="a")
    host.put(one)
    host.plan(0)
    host.restart("ops", "new")
    assert host.plan(400) == [("new", ("began", "a"))]
    host.end(one)
    assert host.plan(430) == [("ops", ("ended", "a")), ("new", ("ended", "a"))]
    assert host.alerts == {}


def test_a_clock_that_went_back_over_a_restart_makes_nobody_wait_a_day(played, alert):
    host = played("ops", "boss", repeat_seconds=3_600.0, escalation=Escalation(900.0, ("boss",)))
    host.put(alert(resource="a"))
    host.plan(86_400)
    host.restart()
    assert host.plan(86_400 - 30) == []
    assert host.plan(0) == [("boss", ("began", "a")), ("ops", ("again", "a"))]


def test_changed_settings_are_followed(played, alert):
    host = played("ops", "chat")
    host.put(alert(resource="a"))
    host.plan(0)
    host.dispatcher.reconfigure(DispatchSettings(routes=(Route(("chat",)),), repeat_seconds=60.0, limits=FREE))
    assert host.plan(60) == [("chat", ("again", "a"))]
    host.dispatcher.reconfigure(DispatchSettings(routes=(Route(("chat",)),), group_seconds=20.0, limits=FREE))
    host.put(alert(resource="b"))
    assert host.plan(70) == [("chat", ("began", "b"))]
    host.put(alert(resource="c"))
    assert host.plan(89) == []
    assert host.plan(90) == [("chat", ("began", "c"))]


# The limit


def test_what_the_limit_holds_back_is_told_in_one(played, alert):
    host = played(limits=Limits(2, 60.0), group_seconds=1.0)
    told = []
    for second in range(50):
        host.put(alert(resource=f"{second:02d}"))
        told.append(host.plan(10 * second))
    sent = [notification for one in told for notification in one]
    assert len(sent) == 2 + 8  # a burst of two and one a minute
    resources = [resource for _, *news in sent for what, resource in news]
    left = [one.resource for one in host.alerts.values() if one.owed]
    assert sorted(resources + left) == [f"{second:02d}" for second in range(50)]
    assert host.plan(10_000)[0][1:] == tuple(("began", resource) for resource in left)


def test_tickets_leave_a_part_of_the_limit_to_pages(played, alert):
    host = played(limits=Limits(10, 0.001), group_seconds=1.0)
    for number in range(40):
        host.put(alert("DiskHealth", f"sd{number}"))
        host.plan(2 * number)
    host.put(alert(resource="a"))
    assert host.plan(100) == [("ops", ("began", "a"))]


def test_what_is_over_before_its_turn_came_is_told_as_over(played, alert):
    host, first, second = played(limits=Limits(1, 60.0)), alert(resource="a"), alert(resource="b")
    host.put(first)
    host.plan(0)
    host.put(second)
    assert host.plan(10) == []
    host.end(second)
    assert host.plan(20) == []
    assert host[second].owed
    host.end(first)
    assert host.plan(60) == [("ops", ("ended", "a"), ("ended", "b"))]
    assert host.alerts == {}


def test_whom_the_limit_kept_from_knowing_of_a_page_learns_that_it_was(played, alert):
    host, page = played("ops", "chat", limits=Limits(1, 60.0)), alert(resource="a")
    host.dispatcher._limiter.take("chat", 0, page=True)
    host.put(page)
    assert host.plan(0) == [("ops", ("began", "a"))]
    host.end(page)
    assert host.plan(10) == []
    assert host.plan(60) == [("ops", ("ended", "a")), ("chat", ("ended", "a"))]
    assert host.alerts == {}


def test_a_limit_of_one_sink_is_none_of_another(played, alert):
    host = played("ops", "chat", limits=Limits(1, 60.0))
    host.dispatcher._limiter.take("ops", 0, page=True)
    host.put(alert(resource="a"))
    assert host.plan(0) == [("chat", ("began", "a"))]
    assert host.plan(60) == [("ops", ("began", "a"))]
