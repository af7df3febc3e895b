import pytest
from risky import Remembered, estimate, event

from daemon.risk.own_failures import HistoryReader, own_failures
from detectors.failure_history import FailureHistory, Past
from detectors.findings import FailureKind

NOW_MS = 1_772_344_800_000
HOUR_MS = 3_600_000
UNIT = FailureKind.UNIT_FAILED


def own(*failures):
    """`failures`: how many minutes ago, and of what."""
    events = [event(NOW_MS - round(60_000 * minutes), UNIT, resource) for minutes, resource in failures]
    return own_failures(events, 0, NOW_MS)


@pytest.mark.parametrize(
    ("failures", "text", "about"),
    [
        ([(4, "web.service")], "a failure 4 min ago (unit_failed web.service)", "web.service"),
        (
            [(110, "web.service"), (30, "web.service"), (4, "web.service")],
            "3 failures in the last 2 h, the newest 4 min ago (unit_failed web.service)",
            "web.service",
        ),
        (
            [(4, "db.service"), (110, "web.service"), (30, "web.service"), (50, "")],
            "3 failures in the last hour, the newest 4 min ago (unit_failed db.service)",
            "",
        ),
        ([(20 * 1440, "a"), (60 * 24, "a")], "2 failures in the last 28 d, the newest 1 d ago (unit_failed a)", "a"),
        (
            [(400 * 1440, "a"), (10, "b"), (9, "b")],
            "2 failures in the last hour, the newest 9 min ago (unit_failed b)",
            "b",
        ),
        ([(90 * 1440, "a"), (40 * 1440, "b")], "a failure 40 d ago (unit_failed b)", "b"),
        ([(0, "")], "a failure 0 s ago (unit_failed)", ""),
    ],
)
def test_failures_are_one_sentence(failures, text, about):
    found = own(*failures)
    assert (found.text, found.about) == (text, about)


def test_one_that_went_on_is_one_and_one_that_lies_ahead_is_none():
    events = [event(NOW_MS - HOUR_MS, FailureKind.IO_ERROR, "sda", times=700), event(NOW_MS + 1)]
    found = own_failures(events, 0, NOW_MS)
    assert found.text == "a failure 1 h ago (io_error sda)"
    assert len(found.events) == 1


def test_what_an_operator_marked_counts(clock):
    networks = Remembered()
    marked = own_failures([event(clock.time_ms - HOUR_MS, FailureKind.OPERATOR)], 0, clock.time_ms)
    assert HistoryReader(lambda: networks).past(marked, clock.now()) == networks.answer


def test_networks_are_asked_when_the_log_changes_or_a_minute_has_passed(clock):
    networks = Remembered()
    reader = HistoryReader(lambda: networks)
    events = [event(clock.time_ms - HOUR_MS)]

    def ask(seconds):
        now = clock.advance(seconds)
        return reader.past(own_failures(events, 5000, now.time_ms), now)

    assert ask(0) is ask(30) is ask(29) is networks.answer
    assert len(networks.asked) == 1
    networks.answer = Past(estimate(0.2), estimate(0.3))
    assert ask(1) is networks.answer
    events.append(event(clock.time_ms))
    ask(1)
    ask(1)
    assert len(networks.asked) == 3
    failed, since, at = networks.asked[-1]
    assert (failed, since) == ([one.time_ms / 1000 for one in events], 5.0)
    assert at == clock.time_ms / 1000 - 1


def test_what_cannot_be_read_is_told(clock):
    reader = HistoryReader(lambda: FailureHistory(problem="no such file"))
    assert reader.problem == ""
    assert reader.past(own_failures([event(clock.time_ms)], 0, clock.time_ms), clock.now()) is None
    assert reader.problem == "no such file"
