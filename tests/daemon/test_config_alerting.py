"""What the tables about alerts refuse, in words that say what would be right."""

import pytest

from daemon.config import load
from daemon.errors import ConfigError

SINK = '[[alerting.sinks]]\nname = "ops"\ntype = "webhook"\nurl = "http://a/"\n'

REFUSED = {
    "a sink that is given what it does not take": (
        '[[alerting.sinks]]\nname = "ops"\ntype = "journal"\nurl = "http://a/"\n',
        "url says nothing to a sink of type journal; leave it out",
    ),
    "slack in the clear": (
        '[[alerting.sinks]]\nname = "ops"\ntype = "slack"\nurl = "https://hooks.slack.com/x"\n',
        "url says nothing to a sink of type slack; leave it out",
    ),
    "slack without its file": ('[[alerting.sinks]]\nname = "ops"\ntype = "slack"\n', "give url_file"),
    "a webhook without a url": ('[[alerting.sinks]]\nname = "ops"\ntype = "webhook"\n', "give either url or url_file"),
    "a pager without its key": ('[[alerting.sinks]]\nname = "ops"\ntype = "pagerduty"\n', "give token_file"),
    "a route to nowhere": (
        SINK + '[[alerting.routes]]\nsinks = ["opps"]\n',
        'route 1: there is no sink "opps"; did you mean "ops"?',
    ),
    "an escalation to nobody": (
        SINK + '[alerting.escalation]\nafter_seconds = 60\nsinks = ["boss"]\n',
        'escalation: there is no sink "boss"',
    ),
    "alertmanager without one": (
        SINK.replace("[[alerting.sinks]]", '[alerting]\nauthority = "alertmanager"\n[[alerting.sinks]]'),
        'authority "alertmanager" needs a sink of type alertmanager',
    ),
    "an alertmanager that does not alert": (
        SINK.replace("webhook", "alertmanager"),
        'the sink "ops" is an Alertmanager: set authority = "alertmanager", or leave it out',
    ),
    "a window without a time": (
        '[[alerting.maintenance]]\nname = "nightly"\nstart = "24:00"\nend = "02:00"\n',
        "start",
    ),
    "a window in no zone": (
        '[[alerting.maintenance]]\nname = "n"\nstart = "22:00"\nend = "02:00"\ntime_zone = "Europe/Berln"\n',
        'there is no time zone "Europe/Berln"; give one like "Europe/Berlin"',
    ),
    "a heartbeat to no address": (
        '[alerting.heartbeat]\nurl = "ping"\n',
        'url must begin with "http://" or "https://"',
    ),
    "a link base with a path": (
        '[http]\nexternal_url = "https://a.example/presaged"\n',
        'give scheme and host alone, like "https://web1.example.org"',
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_and_says_what_would_be_right(tmp_path, case):
    text, words = REFUSED[case]
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    (problem,) = caught.value.problems
    assert words in problem
    assert problem.startswith(f"{file}:")


def test_everything_at_once_is_taken(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(
        """
[alerting]
authority = "prometheus"
[alerting.heartbeat]
url_file = "beat"
[alerting.escalation]
after_seconds = 900
sinks = ["boss"]
[[alerting.sinks]]
name = "ops"
type = "webhook"
url = "https://hook.example.org/x"
secret_file = "secret"
[[alerting.sinks]]
name = "boss"
type = "pagerduty"
token_file = "key"
[[alerting.sinks]]
name = "mail"
type = "apprise"
url_file = "mail"
[[alerting.sinks]]
name = "log"
type = "journal"
[[alerting.routes]]
sinks = ["ops", "mail"]
severities = ["critical"]
[[alerting.maintenance]]
name = "nightly"
start = "22:00"
end = "02:00"
time_zone = "Europe/Berlin"
resource = "/srv/*"
""",
        encoding="utf-8",
    )
    alerting = load(file, {}).config.alerting
    assert [sink.type for sink in alerting.sinks] == ["webhook", "pagerduty", "apprise", "journal"]
    assert (alerting.maintenance[0].name, alerting.maintenance[0].resource) == ("nightly", "/srv/*")
