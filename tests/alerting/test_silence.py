import pytest

from alerting.policy import Severity
from alerting.silence import Match, Silence, silence_of

T0 = 1_772_344_800_000


def silence(match, starts=T0, ends=T0 + 1000, number="s"):
    return Silence(number, match, starts, ends, "ana", "")


@pytest.mark.parametrize(
    ("match", "takes"),
    [
        (Match(), True),
        (Match("FilesystemReadOnly"), True),
        (Match("Filesystem*"), True),
        (Match("filesystemreadonly"), False),
        (Match("*Failed"), False),
        (Match(resource="/srv/db"), True),
        (Match(resource="/srv/*"), True),
        (Match(resource="/srv"), False),
        (Match(resource="/???/db"), True),
        (Match(resource="/[st]rv/db"), True),
        (Match(severity="critical"), True),
        (Match(severity="warning"), False),
        (Match(network="host"), True),
        (Match(network="capacity"), False),
        (Match("Filesystem*", "/srv/*", "critical", "host"), True),
        (Match("Filesystem*", "/var/*", "critical", "host"), False),
    ],
)
def test_which_alerts_are_meant(alert, match, takes):
    one = alert("FilesystemReadOnly", "/srv/db", severity=Severity.PAGE)
    assert match.takes(one) is takes
    assert (silence_of(one, [silence(match)], T0) is not None) is takes


def test_a_pattern_is_not_stopped_by_brackets_that_are_none(alert):
    assert not Match(resource="[").takes(alert(resource="a"))
    assert Match(resource="[").takes(alert(resource="["))


def test_it_begins_and_ends_by_itself(alert):
    one, quiet = alert(), silence(Match())
    assert [silence_of(one, [quiet], T0 + ms) is quiet for ms in (-1, 0, 999, 1000)] == [False, True, True, False]


def test_the_first_that_fits_is_named(alert):
    silences = [silence(Match("Other"), number="a"), silence(Match(), number="b"), silence(Match(), number="c")]
    assert silence_of(alert(), silences, T0).id == "b"
    assert silence_of(alert(), [], T0) is None


def test_a_match_in_words():
    assert str(Match()) == "every alert"
    assert str(Match("Unit*", "app.service", "critical", "host")) == (
        "Unit* on app.service of severity critical of network host"
    )
    assert str(Match(resource="/srv")) == "on /srv"
