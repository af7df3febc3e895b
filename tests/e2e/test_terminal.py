"""`presage` in a real terminal that tmux keeps: nothing wraps badly, `top` draws, answers keys and leaves no trace.

The host is a crowded one: long mounts and units, letters that are two columns wide, alerts of all kinds.
"""

import os
import re
import shutil
import subprocess
import sys
import time

import pytest
from crowded import ALERTS, MOUNT, Crowded
from real import free_port, need, wait_for

PROGRAM = "import sys; from daemon.cli import main; sys.exit(main())"
LISTINGS = [
    "status",
    "alerts --all",
    "explain latest",
    "forecast",
    "forecast /srv",
    "plot",
    "plot nvme",
    "risk",
    "drift",
    "changes",
    "failures",
    "feedback",
    "silence list",
    "models list",
    "models show 9222",
    "models diff 9222 4711",
    "sinks",
    "ack latest",
    "feedback latest false",
    "silence add --resource /srv --for 2h",
    "models pin 4711",
    "explain nonsense",
    "--help",
    "silence add --help",
]
# One process for all of them: Python starts once, and each is typed as a person would.
EACH = """
import sys
from daemon.cli import main
for line in sys.stdin.read().splitlines():
    sys.argv = ["presage", *line.split()]
    print(f"== {line}", flush=True)
    code = main()
    print(f"-- {code}", flush=True)
print("over", flush=True)
"""


class Terminal:
    """A terminal of its own, in which a shell runs."""

    def __init__(self, folder, columns, rows, **environment):
        self.socket = folder / "tmux"
        kept = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "TMUX", "COLUMNS", "LINES"}}
        kept |= {"LC_ALL": "C.UTF-8", "PS1": "$ ", "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment}
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", rows, "sh", environment=kept)
        self._tmux("set", "-g", "history-limit", "20000")

    def _tmux(self, *arguments, environment=None):
        command = ["tmux", "-S", str(self.socket), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=20)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def type(self, text):
        self._tmux("send-keys", "-l", text)
        self._tmux("send-keys", "Enter")

    def press(self, *keys):
        self._tmux("send-keys", *keys)

    def resize(self, columns, rows):
        self._tmux("resize-window", "-x", columns, "-y", rows)

    def shown(self, *flags):
        return self._tmux("capture-pane", "-p", *flags)

    def wait(self, text, seconds=20):
        pattern = text if isinstance(text, re.Pattern) else re.compile(re.escape(text))
        try:
            wait_for(lambda: pattern.search(self.shown()), seconds, f"{pattern.pattern!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}, but\n{self.shown()}") from None
        return self.shown()

    def close(self):
        subprocess.run(["tmux", "-S", str(self.socket), "kill-server"], capture_output=True, check=False, timeout=20)


@pytest.fixture
def crowded():
    one = Crowded()
    yield one
    one.close()


@pytest.fixture
def terminal(tmp_path, tmp_path_factory):
    need("tmux", "tmux")
    opened = []
    short = tmp_path_factory.mktemp("t")  # the path of a socket has little room

    def open_one(columns=80, rows=24, **environment):
        opened.append(Terminal(short, columns, rows, PRESAGED_CONFIG=str(tmp_path / "config.toml"), **environment))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def configured(tmp_path):
    def write(port):
        (tmp_path / "config.toml").write_text(
            f'[http]\nlisten = "127.0.0.1:{port}"\n[storage]\ndirectory = "{tmp_path / "state"}"\n'
        )
        return tmp_path

    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "token").write_text("secret\n")
    return write


def presage(*arguments):
    return f"{sys.executable} -P -c '{PROGRAM}' {' '.join(arguments)}"


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_nothing_wraps_that_we_did_not_wrap(terminal, crowded, configured, columns):
    folder = configured(crowded.port)
    (folder / "each.py").write_text(EACH)
    (folder / "lines").write_text("\n".join(LISTINGS) + "\n")
    one = terminal(columns, 50)
    one.type(f"clear; {sys.executable} -P {folder}/each.py < {folder}/lines")
    one.wait(re.compile(r"^over$", re.MULTILINE), 60)
    whole, joined = one.shown("-S", "-"), one.shown("-S", "-", "-J")
    parts = re.split(r"^== (.*)\n", joined, flags=re.MULTILINE)
    shown = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(shown) == LISTINGS
    assert "Traceback" not in whole
    for name, text in shown.items():
        body, _, end = text.rpartition("-- ")
        code = end.split()[0]
        assert code == ("1" if "nonsense" in name else "0"), text
        if columns >= 80 or not any(word in name for word in ("forecast", "--help")):  # they have a least width
            too_wide = [line for line in body.splitlines() if wide(line.rstrip()) > columns]
            # what a program may be given as it stands is one line, however long
            assert not [line for line in too_wide if "`presage" not in line and not line.startswith("presage: ")], name
        assert body.strip(), name
    if columns == 80:
        assert "critical firing" in shown["alerts --all"]
        assert "97 % used" in shown["status"].replace("\n", " ")


def wide(line):
    """Columns of a line: letters of some scripts take two."""
    return sum(2 if "\u3000" <= letter <= "\u9fff" else 1 for letter in line)


def test_top_draws_follows_the_size_and_leaves_the_terminal_as_it_was(terminal, crowded, configured):
    configured(crowded.port)
    one = terminal(80, 24)
    one.type("PS1='$ '; clear; echo 'what was before'")
    one.wait("what was before")
    one.type(presage("top"))
    shown = one.wait("in 30 days")
    for part in ("is over 0.80", "critical ResourceExhaustionImminent", "FVWYJC", "12 % within 1 h", "q quit", MODEL):
        assert part in shown, part
    assert "what was before" not in shown
    one.resize(200, 50)
    shown = one.wait("nginx 1.24 -> 1.25")
    assert "s silence  ? help" in shown.rstrip().splitlines()[-1]
    assert max(wide(line) for line in shown.splitlines()) > 150
    one.resize(40, 12)
    wait_for(lambda: "critical" in one.shown() and "wrong now" in one.shown(), 10, "the small screen")
    one.resize(80, 24)
    one.wait("in 30 days")
    one.press("?")
    one.wait("any key: back")
    one.press("x")
    one.wait("q quit")
    one.press("C-z")
    one.wait("what was before")
    one.type("fg >/dev/null")
    one.wait("in 30 days")
    one.press("q")
    one.wait("what was before")
    one.type("echo $? back; stty -a | grep -o ' -\\?icanon\\| -\\?echo '")
    shown = one.wait("0 back")
    assert "what was before" in shown
    wait_for(lambda: re.search(r"^ icanon$", one.shown(), re.MULTILINE), 5, "the terminal is in its own mode again")
    assert re.search(r"^ echo *$", one.shown(), re.MULTILINE)


MODEL = "anomaly-20260228T060000Z-4711"


def test_keys_answer_an_alert(terminal, crowded, configured):
    configured(crowded.port)
    one = terminal(100, 30)
    one.type(presage("top"))
    one.wait("in 30 days")
    one.press("e")
    shown = one.wait("takes most")
    assert "40.5 times its usual" in shown.replace("\n           ", " ")
    one.press("Escape")
    one.wait("q quit")
    one.press("a")
    one.wait("FVWYJC (ResourceExhaustionImminent) is")
    one.press("f", "z")
    one.wait("nothing was said of it")
    one.press("f", "f")
    one.wait("is kept as false")
    one.press("s", "2")
    one.wait("quiet for 2 h")
    one.press("Down", "a")
    wait_for(lambda: len(crowded.told) == 4, 10, "the second alert is taken in hand")
    paths = [(method, path) for method, path, _ in crowded.told]
    assert paths == [
        ("POST", f"/api/v1/alerts/{ALERTS[0]}/ack"),
        ("POST", f"/api/v1/alerts/{ALERTS[0]}/feedback"),
        ("POST", "/api/v1/silences"),
        ("POST", f"/api/v1/alerts/{ALERTS[1]}/ack"),
    ]
    assert crowded.told[1][2]["verdict"] == "false"
    assert (crowded.told[2][2]["resource"], crowded.told[2][2]["for_seconds"]) == (MOUNT, 7200)
    one.press("p")
    one.wait("PAUSED")
    one.press("C-c")
    one.type("echo $? over")
    one.wait("0 over")


def test_it_goes_on_when_the_daemon_comes_back(terminal, configured):
    port = free_port()
    configured(port)
    host = Crowded(port)
    one = terminal(80, 24)
    try:
        one.type(presage("top"))
        one.wait("in 30 days")
        host.close()
        shown = one.wait("no answer")
        assert "ResourceExhaustionImminent" in shown
        host = Crowded(port)
        wait_for(lambda: "no answer" not in one.shown(), 15, "it is back")
        one.press("q")
    finally:
        host.close()


def test_beside_a_real_daemon_the_first_minute_says_what_it_waits_for(terminal, daemon):
    """From the first sample on; and a daemon that is killed and started again is followed."""
    host = daemon('[sampling]\ninterval_seconds = 1\n[compute]\nbackend = "numpy"\n')
    host.wait_samples(2)
    one = terminal(80, 24)
    one.type(presage("top"))
    one.wait(re.compile(r"learning: \d+ of 60 samples"))
    shown = one.wait("too little data")
    for part in ("nothing is wrong", "no score yet", "/ ", "no sink", "none yet"):
        assert part in shown, part
    host.process.kill()
    host.process.wait()
    one.wait("no answer")
    host.process = subprocess.Popen([sys.executable, "-P", "-m", "daemon", "--config", str(host.file)], stderr=host.log)
    wait_for(lambda: "no answer" not in one.shown(), 30, "it is back")
    one.press("q")
    one.type("echo $? over")
    one.wait("0 over")


def test_a_crash_and_a_signal_leave_the_terminal_usable(terminal, crowded, configured):
    folder = configured(crowded.port)
    (folder / "crash.py").write_text(
        "import sys\nfrom daemon.cli import main, top\ndrawn = []\ndraw = top.draw\n"
        "def broken(*arguments):\n    drawn.append(1)\n    assert len(drawn) < 3, 'a fault of ours'\n"
        "    return draw(*arguments)\ntop.draw = broken\nsys.argv = ['presage', 'top']\nsys.exit(main())\n"
    )
    one = terminal(80, 24)
    one.type("clear; echo 'what was before'")
    one.type(f"{sys.executable} -P {folder}/crash.py; stty -a | grep -o ' -\\?icanon'; echo $((40 + 2)) back")
    shown = one.wait("42 back")
    assert "a fault of ours" in shown
    assert re.search(r"^ icanon$", shown, re.MULTILINE)
    one.type("clear; " + presage("top") + f" & echo $! > {folder}/pid; fg >/dev/null; echo $((40 + 3)) back")
    one.wait("in 30 days")
    os.kill(int((folder / "pid").read_text()), 15)
    one.wait("43 back")
    assert "in 30 days" not in one.shown()


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"TERM": ""}])
def test_a_terminal_that_cannot_be_drawn_on_is_told_so(terminal, crowded, configured, variables):
    configured(crowded.port)
    one = terminal(120, 24)
    setting = " ".join(f"{name}={value}" for name, value in variables.items())
    one.type(f"clear; {setting} {presage('top')}; echo $? over")
    shown = one.wait("1 over")
    assert "cannot be drawn on here" in shown
    assert "presage status --watch" in shown
    one.type(f"clear; {setting} {presage('status', '--watch')}")
    wait_for(lambda: re.search(r"^-- \d\d:\d\d:\d\d", one.shown("-S", "-"), re.MULTILINE), 10, "status again and again")
    one.press("C-c")
    one.type("echo $? over")
    one.wait("0 over")


def test_without_colour_there_is_none(terminal, crowded, configured):
    configured(crowded.port)
    one = terminal(80, 24, NO_COLOR="1")
    one.type(presage("top"))
    one.wait("in 30 days")
    assert not re.search("\x1b\\[[0-9;]*3[1-7]", one.shown("-e"))
    one.press("q")


def test_watch_shows_the_newest_and_keeps_the_last(terminal, configured):
    port = free_port()
    configured(port)
    host = Crowded(port)
    one = terminal(80, 30)
    try:
        one.type("clear; " + presage("status", "--watch"))
        shown = one.wait("q or Ctrl-C ends")
        assert "64 CPUs" in shown
        host.close()
        one.wait("asking again")
        assert "64 CPUs" in one.shown()
        host = Crowded(port)
        one.wait("q or Ctrl-C ends")
        one.press("q")
        one.type("echo $? over")
        one.wait("0 over")
    finally:
        host.close()


def test_tab_offers_what_the_daemon_knows(terminal, crowded, configured):
    folder = configured(crowded.port)
    if not shutil.which("bash"):
        pytest.skip("there is no bash here")
    command = folder / "presage"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -P -c "{PROGRAM}" "$@"\n')
    command.chmod(0o755)
    one = terminal(80, 24)
    one.type(f"PATH={folder}:$PATH exec bash --norc --noprofile")
    one.type('PS1="> "; eval "$(_PRESAGE_COMPLETE=source_bash presage)"; clear; echo ready')
    one.wait("ready\n>")
    one.press("presage explain DC", "Tab")
    one.wait("presage explain DCZSR5")
    one.press("C-u", "presage models show anomaly-20260301", "Tab")
    one.wait("presage models show anomaly-20260301T060000Z-9222")
    crowded.server.shutdown()
    crowded.server.server_close()
    one.press("C-u", "presage explain DC", "Tab")
    time.sleep(1.5)
    last = [line for line in one.shown().splitlines() if line.strip()][-1]
    assert last == "> presage explain DC"
