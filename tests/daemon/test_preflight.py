"""What a start looks at: sinks and the heartbeat with their secrets, and every problem told at once."""

import pytest

from alerting.sinks.alertmanager import AlertmanagerSink
from alerting.sinks.journal import JournalSink
from alerting.sinks.long_tail import AppriseSink
from alerting.sinks.pagerduty import PagerDutySink
from alerting.sinks.slack import SlackSink
from alerting.sinks.stdout import StdoutSink
from alerting.sinks.webhook import WebhookSink
from daemon.config import load
from daemon.errors import ConfigError
from daemon.preflight import prepare

EVERY_SINK = """
[[alerting.sinks]]
name = "hook"
type = "webhook"
url = "http://127.0.0.1/"
token_file = "token"
secret_file = "keys"
[[alerting.sinks]]
name = "team"
type = "slack"
url_file = "url"
[[alerting.sinks]]
name = "pager"
type = "pagerduty"
token_file = "token"
[[alerting.sinks]]
name = "mail"
type = "apprise"
url_file = "mail"
[[alerting.sinks]]
name = "journal"
type = "journal"
[[alerting.sinks]]
name = "out"
type = "stdout"
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Prepare with this configuration and these files beside it."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    opened = []

    def prepared(text, **files):
        for name, content in files.items():
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        head = f'[storage]\ndirectory = "{tmp_path}/state"\n[http]\nlisten = "127.0.0.1:0"\n'
        (tmp_path / "config.toml").write_text(head + text)
        opened.append(prepare(load(tmp_path / "config.toml", {})))
        return opened[-1]

    yield prepared
    for one in opened:
        one.listener.close()


@pytest.fixture
def problems(start):
    def told(text, **files):
        with pytest.raises(ConfigError) as caught:
            start(text, **files)
        return caught.value.problems

    return told


def test_every_type_of_sink_is_made_of_its_files(start):
    prepared = start(
        EVERY_SINK, token="t0ken\n", keys="old\nnew\n", url="https://hooks.example/T0\n", mail="mailto://a:b@c"
    )
    assert [(sink.name, type(sink), sink.takes_digests) for sink in prepared.sinks] == [
        ("hook", WebhookSink, True),
        ("team", SlackSink, True),
        ("pager", PagerDutySink, False),
        ("mail", AppriseSink, True),
        ("journal", JournalSink, True),
        ("out", StdoutSink, True),
    ]
    assert prepared.heartbeat is None


def test_an_alertmanager(start):
    text = '[alerting]\nauthority = "alertmanager"\n[[alerting.sinks]]\nname = "am"\ntype = "alertmanager"\n'
    (sink,) = start(f'{text}url = "http://127.0.0.1:9093"\n').sinks
    assert isinstance(sink, AlertmanagerSink)
    assert not sink.takes_digests


def test_secrets_come_from_systemds_credentials_where_there_are_any(start, tmp_path, monkeypatch):
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "hook").write_text("https://hooks.example/T0")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    text = '[[alerting.sinks]]\nname = "team"\ntype = "slack"\nurl_file = "hook"\n'
    assert len(start(text, hook="not a url").sinks) == 1


@pytest.mark.parametrize("key", ["url", "url_file"])
def test_the_heartbeat(start, key):
    value = {"url": "https://beats.example/x", "url_file": "beats"}[key]
    text = f'[alerting.heartbeat]\n{key} = "{value}"\ninterval_seconds = 30\n'
    assert start(text, beats="https://beats.example/x\n").heartbeat is not None


def test_every_problem_is_told_at_once_and_no_secret(problems, tmp_path):
    text = EVERY_SINK + '[alerting.heartbeat]\nurl_file = "beats"\n'
    said = problems(text, keys=" \n", url="hunter2 without a scheme", mail="hunter2", beats=b"\xff")
    assert said == [
        f"alerting.sinks.0 (hook): {tmp_path}/token: No such file or directory",
        f"alerting.sinks.0 (hook): {tmp_path}/keys: this file is empty; write the secret into it",
        "alerting.sinks.1 (team): sink team: the url must be one line without spaces",
        f"alerting.sinks.2 (pager): {tmp_path}/token: No such file or directory",
        'alerting.sinks.3 (mail): sink mail: the url must be one line like "mailto://..."',
        f"alerting.heartbeat: {tmp_path}/beats: this is not text in UTF-8",
    ]
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("content", ["one\ntwo\nthree\n", "whsec_hunter2!"])
def test_a_signing_secret_that_cannot_be_used(problems, content):
    text = '[[alerting.sinks]]\nname = "hook"\ntype = "webhook"\nurl = "http://127.0.0.1/"\nsecret_file = "keys"\n'
    (said,) = problems(text, keys=content)
    assert said.startswith("alerting.sinks.0 (hook): ")
    assert "hunter2" not in said
