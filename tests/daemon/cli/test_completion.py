"""What the shell offers behind TAB: words of the running daemon, and nothing at all where there is none."""

import pytest
from crowded import MODELS, MOUNT, SIGNAL, Crowded

from daemon.cli import completion


class Context:
    """What typer hands over: what was typed before."""

    def __init__(self, config=None):
        self.params = {"config": config}


@pytest.fixture
def crowded(config, port):
    one = Crowded(port)
    yield one
    one.close()


def offered(name, config, incomplete=""):
    return dict(getattr(completion, name)(Context(config), incomplete))


@pytest.mark.usefixtures("crowded")
@pytest.mark.parametrize(
    ("name", "begun", "word", "what"),
    [
        ("alerts", "", "latest", "the alert that fired last"),
        ("alerts", "fv", "FVWYJC", f"ResourceExhaustionImminent {MOUNT}, firing"),
        ("resources", "/s", "/srv", "93 % used"),
        ("sinks", "on", "on-call-of-the-storage-team", "12345 sent"),
        ("models", "anomaly-2026030", MODELS[0], "shadow"),
        ("silences", "dc", "DCZSR5", f"on {MOUNT}"),
        ("signals", "disk.nvme", SIGNAL, "1.1 GiB/s"),
    ],
)
def test_words_of_the_daemon_are_offered_with_what_they_are(config, name, begun, word, what):
    found = offered(name, config, begun)
    assert found[word] == what
    assert all(one.casefold().startswith(begun) for one in found)


@pytest.mark.parametrize("name", ["alerts", "resources", "sinks", "models", "silences", "signals"])
def test_without_a_daemon_nothing_is_offered_and_nothing_is_said(config, name, capsys):
    if name != "alerts":
        assert offered(name, config) == {}
    assert offered(name, config, "nothing") == {}
    config.write_text("this is [no TOML")
    assert offered(name, config) == {}
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("crowded")
def test_in_bash_what_has_letters_of_its_own_is_escaped(config, monkeypatch):
    monkeypatch.setattr(completion, "_MOST", 3)
    monkeypatch.setattr(completion, "_resources", lambda _loaded: iter([("/ inodes", ""), ("/a$b", "")]))
    complete = completion._offered(completion._resources)
    assert [word for word, _ in complete(Context(config), "")] == ["/ inodes", "/a$b"]
    monkeypatch.setenv("_PRESAGE_COMPLETE", "complete_bash")
    assert [word for word, _ in complete(Context(config), "")] == ["/\\ inodes", "/a\\$b"]
