from dataclasses import replace

import pytest

from alerting.group import EVERYTHING, Groups, Message, News, What, gravest_first
from alerting.occurrence import State
from alerting.policy import DRILL

T0 = 1_772_344_800_000


@pytest.fixture
def groups():
    return Groups(300.0)


def message(one, what=What.BEGAN, *, group="g", still_firing=1, sink="ops"):
    return Message(sink, group, (News(what, one),), still_firing)


def test_what_fires_within_the_time_of_the_first_joins_it(groups, alert):
    first, second, third, later = (alert(resource=name) for name in "abcd")
    assert groups.group_of(first, T0) == first.id
    assert groups.group_of(second, T0) == first.id
    assert groups.group_of(third, T0 + 299_999) == first.id
    assert groups.group_of(later, T0 + 300_000) == later.id


def test_pages_and_tickets_are_not_mixed(groups, alert):
    page, ticket = alert(), alert("DiskHealth", "sda")
    assert groups.group_of(page, T0) == page.id
    assert groups.group_of(ticket, T0) == ticket.id


def test_a_group_is_for_ever(groups, alert):
    one = alert(group="g")
    assert groups.group_of(one, T0) == "g"
    groups.group_seconds = 0.0
    assert groups.group_of(one, T0 + 10**9) == "g"


def test_a_drill_is_alone(groups, alert):
    page, drill = alert(), alert(DRILL, "")
    groups.group_of(page, T0)
    assert groups.group_of(drill, T0) == drill.id
    assert groups.group_of(alert(resource="b"), T0) == page.id


def test_for_a_receiver_that_groups_by_itself_all_is_one_group_and_goes_at_once(alert):
    groups = Groups(0.0)
    for one in (alert(), alert("DiskHealth"), alert(DRILL)):
        assert groups.group_of(one, T0) == EVERYTHING
        assert groups.is_due(message(one, group=EVERYTHING), T0)
        groups.told(message(one, group=EVERYTHING), T0)


def test_a_clock_that_went_back_opens_another_group(groups, alert):
    first, second = alert(resource="a"), alert(resource="b")
    groups.group_of(first, T0)
    assert groups.group_of(second, T0 - 1) == second.id


@pytest.mark.parametrize(
    ("name", "what", "still_firing", "waits_seconds"),
    [
        ("UnitFailed", What.BEGAN, 2, 60),
        ("DiskHealth", What.BEGAN, 2, 300),
        ("UnitFailed", What.ENDED, 1, 300),
        ("UnitFailed", What.ENDED, 0, 0),  # all is over
        ("UnitFailed", What.AGAIN, 1, 0),
        ("DiskHealth", What.GRAVITY, 1, 0),
    ],
)
def test_how_long_news_of_a_group_wait(groups, alert, name, what, still_firing, *, waits_seconds):
    news = message(alert(name), what, still_firing=still_firing)
    assert groups.is_due(news, T0)  # the first is told at once
    groups.told(news, T0)
    assert groups.is_due(news, T0 + waits_seconds * 1000)
    assert waits_seconds == 0 or not groups.is_due(news, T0 + waits_seconds * 1000 - 1)
    assert groups.is_due(replace(news, sink="chat"), T0)
    assert groups.is_due(replace(news, group="other"), T0)


def test_a_shorter_group_time_is_for_pages_too(alert):
    groups = Groups(20.0)
    groups.told(message(alert()), T0)
    assert not groups.is_due(message(alert()), T0 + 19_999)
    assert groups.is_due(message(alert()), T0 + 20_000)


def test_when_a_group_was_told_is_known_after_a_restart(groups, alert):
    groups.restore(
        [
            alert(group="g", told=("ops",), last_told_ms=T0),
            alert(group="g", told=("ops",), last_told_ms=T0 + 10_000),
            alert(group="g", told=("ops",), last_told_ms=T0 + 5_000),
            alert(group="former", told=("ops",)),
        ]
    )
    assert not groups.is_due(message(alert()), T0 + 69_999)
    assert groups.is_due(message(alert()), T0 + 70_000)
    assert groups.is_due(message(alert(), sink="chat"), T0 + 10_000)
    assert groups.is_due(message(alert(), group="former"), T0 + 10_000)


def test_a_group_that_is_done_with_is_forgotten(groups, alert):
    for name in ("g", "other"):
        groups.told(message(alert(), group=name), T0)
    groups.forget({"g"})
    assert groups.is_due(message(alert(), group="g"), T0)
    assert not groups.is_due(message(alert(), group="other"), T0)
    assert list(groups._told_ms) == [("ops", "other")]


def test_what_fires_comes_before_what_is_over_and_the_gravest_first(alert):
    over = alert(state=State.RESOLVED, id="0")
    ticket, page, older = alert("DiskHealth", id="1"), alert(id="3"), alert(id="2", started_ms=1)
    news = [News(What.ENDED, over), News(What.BEGAN, ticket), News(What.AGAIN, page), News(What.BEGAN, older)]
    assert [one.occurrence.id for one in gravest_first(news)] == ["2", "3", "1", "0"]


def test_a_message_is_a_page_when_it_tells_of_one_that_fires(alert):
    page, ticket = alert(), alert("DiskHealth")
    assert Message("ops", "g", (News(What.BEGAN, ticket), News(What.AGAIN, page)), 2).is_page
    assert not Message("ops", "g", (News(What.BEGAN, ticket), News(What.ENDED, page)), 1).is_page
