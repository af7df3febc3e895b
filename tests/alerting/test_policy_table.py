"""docs/alerting.md tells of every alert what the policy table says."""

from pathlib import Path

from alerting.policy import RULES
from alerting.render import duration

DOCUMENT = Path(__file__).parents[2] / "docs" / "alerting.md"
WORDS = {"always": "yes", "judged": "by [anomaly] notify", "never": "no: a record"}


def row(rule):
    about = rule.about or "the host"
    if rule.timing is None:
        times = "`for_seconds`", "`keep_firing_seconds`"
    else:
        times = tuple(
            duration(seconds) if seconds else "at once"
            for seconds in (rule.timing.for_seconds, rule.timing.keep_firing_seconds)
        )
    return f"| {rule.alertname} | {rule.severity} | {about} | {WORDS[rule.sent]} | {times[0]} | {times[1]} |"


def test_the_documentation_holds_the_table():
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    head = lines.index("| alert | severity | about | sent | fires after | is over after |")
    assert lines[head + 2 : head + 2 + len(RULES)] == [row(rule) for rule in RULES.values()]
    assert lines[head + 2 + len(RULES)] == ""
