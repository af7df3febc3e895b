"""Every command that there is, found by walking `presage`: its help is a page, and whatever is wrong is one line."""

import re
import sys
from enum import Enum
from pathlib import Path

import pytest

from daemon import cli
from daemon.cli import pages
from daemon.cli.manual import PAGES
from daemon.cli.pages import Group, Later, make

# How each command is used rightly; one that is not here fails the tests below.
USES = {
    "top": (),
    "status": (),
    "alerts": (),
    "explain": ("9XK2PQ",),
    "forecast": (),
    "plot": (),
    "risk": (),
    "drift": (),
    "changes": (),
    "failures": (),
    "backtest": (),
    "ack": ("9XK2PQ",),
    "feedback": ("9XK2PQ", "false"),
    "silence add": ("--everything", "--for", "2h"),
    "silence list": (),
    "silence expire": ("9XK2PQ",),
    "mark-change": ("deploy 42",),
    "mark-failure": ("--what", "it hung"),
    "models list": (),
    "models show": ("4711",),
    "models diff": ("4711", "9222"),
    "models promote": ("4711",),
    "models rollback": (),
    "models pin": ("4711",),
    "train": ("--follow",),
    "import": ("--csv", "FILE"),
    "doctor": (),
    "drill": (),
    "sinks": (),
    "sinks test": ("team",),
    "support-bundle": (),
    "data export": (),
    "data purge": ("--yes",),
    "config check": (),
    "config show": (),
    "config default": (),
}
WITHOUT_A_DAEMON = {
    "backtest",
    "import",
    "doctor",
    "support-bundle",
    "data export",
    "data purge",
    "config check",
    "config show",
    "config default",
}
ASKING = sorted(set(USES) - WITHOUT_A_DAEMON)
LISTINGS = {
    "status",
    "alerts",
    "forecast",
    "risk",
    "drift",
    "changes",
    "failures",
    "plot",
    "silence list",
    "models list",
}


def commands(group=None, before=()):
    """Yield the name and the real command of everything that can be typed."""
    group = group or cli.typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        assert isinstance(command, Later)
        words = (*before, name)
        if command.page.runs:
            yield " ".join(words), command.made
        if isinstance(command.made, Group):
            yield from commands(command.made, words)


COMMANDS = dict(commands())
everywhere = pytest.mark.parametrize("name", sorted(COMMANDS))


@pytest.fixture
def typed(monkeypatch, capsys, config):
    """Type a command in this process, and return its exit code and what it printed."""

    def run(name, *arguments, configured=True):
        more = ("--config", str(config)) if configured else ()
        given = [str(config) if one == "FILE" else one for one in arguments]
        monkeypatch.setattr(sys, "argv", ["presage", *name.split(), *given, *more])
        code = cli.main()
        out, error = capsys.readouterr()
        return code, out, error

    return run


def is_one_line(error):
    return error.startswith("presage: ") and error.endswith("\n") and error[:-1].isprintable() and len(error) <= 400


def test_the_manual_and_the_commands_are_the_same():
    written = {page.name for page in PAGES if page.runs}
    assert written == set(COMMANDS) == set(USES)
    words = {page.name for page in PAGES}
    assert all(name in words for page in PAGES for name in page.also)


@everywhere
def test_help_is_a_page_of_80_columns(typed, name):
    code, out, error = typed(name, "--help", configured=False)
    assert (code, error) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert out.isascii()
    for part in (f"Usage: presage {name}", "Options:", "Examples:", f"presage {name}", "Exit codes:", "See also:"):
        assert part in out


@everywhere
def test_on_a_terminal_the_help_says_the_same_in_colour(typed, monkeypatch, name):
    plain = typed(name, "--help", configured=False)[1]
    monkeypatch.setattr(pages, "on_terminal", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = pages.painted(plain)
    assert re.sub(r"\x1b\[\d*m", "", shown) == plain
    assert "\x1b[1mExamples:\x1b[0m" in shown
    assert "\x1b[36m-h, --help\x1b[0m" in shown
    assert f"\x1b[36mpresage {name}" in shown.replace("sudo ", "").replace("NO_COLOR=1 ", "")
    monkeypatch.setenv("NO_COLOR", "1")
    assert pages.painted(plain) == plain


@everywhere
@pytest.mark.parametrize("wrong", [("--nonsense",), ("a", "b", "c", "d", "e")])
def test_bad_usage_is_one_line_and_2(typed, name, wrong):
    code, out, error = typed(name, *USES[name], *wrong, configured=False)
    assert (code, out) == (2, "")
    assert is_one_line(error)
    group = name if COMMANDS[name].name == name.split()[-1] else ""
    assert f"(see `presage {group}" in error


def wrong_values(name):
    """Yield arguments of which one is no value of its kind: no number, no choice, no file."""
    for parameter in COMMANDS[name].params:
        kind = parameter.type_descriptor.annotation
        choice = isinstance(kind, type) and issubclass(kind, Enum)
        must_exist = kind is Path and (parameter.name == "config" or parameter.type_descriptor.parameter_info.exists)
        if parameter.param_type_name == "option" and (kind in {int, float} or choice or must_exist):
            yield (*USES[name], parameter.opts[0], "no such thing")
    if name == "feedback":
        yield ("9XK2PQ", "no such thing")


@everywhere
def test_a_value_that_cannot_be_is_one_line_and_2(typed, name):
    for given in wrong_values(name):
        if name in {"doctor", "support-bundle"}:  # there it is a finding like the others
            continue
        code, out, error = typed(name, *given, configured=False)
        assert (code, out) == (2, ""), given
        assert is_one_line(error), given


@pytest.mark.parametrize("name", ASKING)
def test_without_a_daemon_it_is_one_line_and_1(typed, name):
    code, out, error = typed(name, *USES[name])
    assert (code, out) == (1, "")
    assert error.startswith("presage: nothing runs on 127.0.0.1:")
    assert "make run" in error
    assert is_one_line(error)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"<html>\x1b[31m\x00", "is not this presaged"),
        (200, b"{}", "is not this presaged"),
        (200, b'{"detail": [1, 2', "is not this presaged"),
        (401, b"who are you", "does not let us in"),
        (403, b"", "is not presaged (HTTP status 403)"),
        (404, b"not here; there is /metrics", "older than this presage"),
        (405, b"405: Method Not Allowed", "older than this presage"),
        (500, b"\x1b]0;evil\x07", "is not presaged (HTTP status 500)"),
        (503, b"state.db:\n disk \x1b[31mfull", "refused: state.db: disk  [31mfull"),
    ],
)
def test_whatever_answers_it_is_one_line_and_1(typed, foreign, status, body, message):
    foreign(status, body)
    for name in ASKING:
        code, out, error = typed(name, *USES[name])
        assert (code, out) == (1, ""), name
        assert message in error, name
        assert is_one_line(error), name


@pytest.mark.parametrize("name", sorted(LISTINGS | {"sinks", "explain", "doctor", "config show", "backtest"}))
def test_every_listing_has_json(name):
    assert any("--json" in parameter.opts for parameter in COMMANDS[name].params)


def test_a_page_is_made_anew_for_each_walk():
    (page,) = (page for page in PAGES if page.name == "risk")
    assert make(page).help.startswith(page.does)


def test_the_page_of_the_documentation_has_every_command():
    text = (Path(__file__).parents[3] / "docs" / "commands.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert not page.runs or f"| `presage {page.name}` | {page.does} |" in text
