"""A runbook for every alert that can reach a person, with the same four answers, and no command that is not there."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from alerting.policy import RULES
from daemon.cli import app
from mixin.rules import OWN

FOLDER = Path(__file__).parents[2] / "docs" / "runbooks"
NAMES = sorted([*RULES, *(own.alertname for own in OWN)])
SECTIONS = ["Is it real?", "Check with", "Do", "Mark as"]
FIRST = {"critical": "**Page", "warning": "**Warning", "info": "**Record"}
COMMANDS = typer.main.get_command(app)


def text_of(name):
    return (FOLDER / f"{name}.md").read_text()


def commands(text):
    """Return the words of every `presage ...` in the text."""
    return [shlex.split(one)[1:] for one in re.findall(r"`(presage(?: [^`]+)?)`", text.replace("\n  ", " "))]


def test_there_is_one_for_each_name_and_none_beside():
    assert sorted(path.stem for path in FOLDER.iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_is_real_what_to_check_what_to_do_and_how_to_mark_it(name):
    text = text_of(name)
    title, _, rest = text.partition("\n")
    assert title == f"# {name}"
    severity = RULES[name].severity if name in RULES else next(one.severity for one in OWN if one.alertname == name)
    assert rest.strip().startswith(FIRST[severity.value])
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    for part in re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]:
        assert re.search(r"^(-|\d\.) \S", part, re.MULTILINE), "a part without a point"
    assert max(map(len, text.splitlines())) <= 130
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (FOLDER / target).exists(), target


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_option_in_it_is_there(name):
    for words in commands(text_of(name)):
        command = COMMANDS
        while words and getattr(command, "commands", None) and words[0] in command.commands:
            command = command.commands[words.pop(0)].made  # the command itself is read as late as this
        assert command is not COMMANDS, f"presage {' '.join(words)}"
        known = {option for parameter in command.params for option in parameter.opts}
        for word in words:
            assert not word.startswith("-") or word in known, f"{command.name} has no {word}"
        takes = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
        given = [
            word for place, word in enumerate(words) if not word.startswith("-") and not is_value(words, place, command)
        ]
        assert len(given) <= len(takes), f"{command.name} takes no {given}"


def is_value(words, place, command):
    """Tell whether a word belongs to the option before it."""
    before = words[place - 1] if place else ""
    return any(before in one.opts and not getattr(one, "is_flag", False) for one in command.params)


def test_what_the_table_calls_a_page_is_said_to_be_one_in_the_documentation():
    listed = (FOLDER.parent / "alerting.md").read_text()
    for rule in RULES.values():
        assert f"{rule.alertname} | {rule.severity.value} |" in listed or f"[{rule.alertname}]" in listed
