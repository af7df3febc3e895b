import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from alerting.digest import is_due

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture(autouse=True)
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def ms(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp() * 1000)


def fired(alert, text):
    return alert("AnomalyWithImpact", "", fired_ms=ms(text))


@pytest.mark.parametrize(
    ("at", "morning"),
    [
        ("2026-03-04T03:00:00", "2026-03-04T08:00:00"),
        ("2026-03-04T07:59:59", "2026-03-04T08:00:00"),
        ("2026-03-04T08:00:00", "2026-03-05T08:00:00"),
        ("2026-03-04T23:59:59", "2026-03-05T08:00:00"),
        ("2026-03-28T20:00:00", "2026-03-29T08:00:00"),  # the clocks go forward in between
        ("2026-10-24T20:00:00", "2026-10-25T08:00:00"),  # and back
        ("2026-12-31T20:00:00", "2027-01-01T08:00:00"),
    ],
)
def test_it_comes_at_eight_by_the_clock_on_the_wall(alert, at, morning):
    kept = [fired(alert, at)]
    assert not is_due(kept, ms(at))
    assert not is_due(kept, ms(morning) - 1)
    assert is_due(kept, ms(morning))
    assert is_due(kept, ms(morning) + 86_400_000 * 3)  # the host was off in the morning


def test_the_first_that_was_kept_decides(alert):
    kept = [fired(alert, "2026-03-04T09:00:00"), fired(alert, "2026-03-04T07:00:00")]
    assert is_due(kept, ms("2026-03-04T08:00:00"))
    assert not is_due(kept[:1], ms("2026-03-04T08:00:00"))


def test_with_nothing_to_tell_it_does_not_come(alert):
    assert not is_due([], ms("2026-03-04T08:00:00"))
