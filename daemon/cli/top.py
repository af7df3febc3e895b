"""`presage top`: the host live on one screen that people leave open, with keys that answer an alert.

Enters: the daemon's answers and keys. Leaves: pictures, and what an operator decides: taken in hand, judged, silenced.
It reads only until such a key is pressed, goes on when the daemon comes back, and leaves the terminal as it was.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from rich.text import Text

from daemon.cli import client
from daemon.cli.alerts import SHORT, login_name
from daemon.cli.configuration import ConfigOption
from daemon.cli.explain import rows as explained
from daemon.cli.screen import Screen
from daemon.cli.terminal import is_ascii
from daemon.cli.top_blocks import View, open_alerts, paragraphs
from daemon.cli.top_facts import Watcher
from daemon.cli.top_view import draw
from daemon.config import Loaded, load
from daemon.errors import DaemonError
from daemon.web.api import AlertAnswer

_REDRAW_SECONDS = 1.0  # ages grow
_EXPLAIN_LABEL = 10
_WORDS = {"r": "real", "f": "false", "x": "expected", "u": "undo"}
_SPANS = {
    "1": ("1 h", 3_600),
    "2": ("2 h", 7_200),
    "8": ("8 h", 28_800),
    "d": ("1 day", 86_400),
    "w": ("1 week", 604_800),
}
_ASK_VERDICT = "r real  f false  x expected  u undo  other keys: nothing.  What was {name}?"
_ASK_SPAN = "1, 2 or 8 hours  d day  w week  other keys: nothing.  Silence {name}?"
_HELP = (
    ("q, Ctrl-C", "quit; the terminal is as before"),
    ("p, space", "pause: what is shown stands still until p again"),
    ("up, down, tab", "pick an alert; k and j do the same"),
    ("e, enter", "explain it: why it fired, who was told, what next"),
    ("a", "take it in hand: nobody else is called for it"),
    ("f", "say what it was: real, false or expected"),
    ("s", "keep what is like it quiet for a while"),
    ("r", "ask again at once"),
    ("Ctrl-L", "draw the screen anew"),
    ("", ""),
    ("score", "how unusual this host is now; red at or above its threshold. The line is the worst of the last hour"),
    ("unusual", "what the score is made of, the most surprising first"),
    ("resources", "the most endangered first, with the chance that they are full soon"),
)


def watch_host(config: ConfigOption = None) -> None:
    """Draw until q or Ctrl-C."""
    loaded = load(config)
    client.fetch_status(loaded)  # what is wrong from the beginning is told before the screen is taken
    with Screen("presage status --watch") as screen:
        watcher = Watcher(loaded, screen.wake)
        watcher.start()
        try:
            Top(loaded, screen, watcher).run()
        except KeyboardInterrupt:  # the usual way to end it
            return
        finally:
            watcher.stop()


class Top:
    """The state of the screen, and what each key does."""

    def __init__(self, loaded: Loaded, screen: Screen, watcher: Watcher) -> None:
        self._loaded = loaded
        self._screen = screen
        self._watcher = watcher
        self._view = View(plain=is_ascii(screen.out))
        self._facts = watcher.facts
        self._answering: Callable[[str], str] | None = None
        self._over = False
        self._keys: dict[str, Callable[[], None]] = {
            "q": self._quit,
            "p": self._pause,
            " ": self._pause,
            "down": lambda: self._pick(1),
            "j": lambda: self._pick(1),
            "up": lambda: self._pick(-1),
            "k": lambda: self._pick(-1),
            "e": self._explain,
            "enter": self._explain,
            "a": self._acknowledge,
            "f": self._ask_verdict,
            "s": self._ask_span,
            "r": watcher.ask_now,
            "?": self._help,
            "h": self._help,
            "redraw": screen.redraw,
        }

    def run(self) -> None:
        """Draw and follow keys until q."""
        while not self._over:
            if self._watcher.fault is not None:
                raise self._watcher.fault
            self._draw()
            key = self._screen.key(_REDRAW_SECONDS)
            if key:
                self._press(key)

    def _draw(self) -> None:
        if not self._view.paused:
            self._facts = self._watcher.facts
        alerts = open_alerts(self._facts)
        if self._view.picked not in {one.occurrence for one in alerts}:
            self._view = replace(self._view, picked=alerts[0].occurrence if alerts else "")
        self._screen.draw(draw(self._facts, self._view, *self._screen.size, datetime.now(UTC)))

    def _press(self, key: str) -> None:
        answering, self._answering = self._answering, None
        self._view = replace(self._view, said="", asked="")
        if answering is not None:
            self._do(lambda: answering(key))
        elif key in self._keys:
            self._keys[key]()

    def _do(self, work: Callable[[], str]) -> None:
        """Do what may fail, and say how it went."""
        try:
            said = work()
        except DaemonError as error:
            said = f"not done: {error}"
        self._view = replace(self._view, said=said)
        self._watcher.ask_now()

    def _quit(self) -> None:
        self._over = True

    def _pause(self) -> None:
        self._view = replace(self._view, paused=not self._view.paused)

    def _pick(self, step: int) -> None:
        alerts = [one.occurrence for one in open_alerts(self._facts)]
        if alerts:
            place = alerts.index(self._view.picked) if self._view.picked in alerts else 0
            self._view = replace(self._view, picked=alerts[(place + step) % len(alerts)])

    @property
    def _alert(self) -> AlertAnswer | None:
        """The alert that is picked; without one, say so."""
        for one in open_alerts(self._facts):
            if one.occurrence == self._view.picked:
                return one
        self._view = replace(self._view, said="nothing is wrong: there is no alert to answer")
        return None

    def _acknowledge(self) -> None:
        if (alert := self._alert) is not None:
            author = login_name()

            def take() -> str:
                taken = client.acknowledge(self._loaded, alert.occurrence, author)
                mine = taken.acknowledged_by == author
                return f"{_name(alert)} is {'yours' if mine else f'in the hands of {taken.acknowledged_by} already'}"

            self._do(take)

    def _ask_verdict(self) -> None:
        if (alert := self._alert) is not None:
            self._view = replace(self._view, asked=_ASK_VERDICT.format(name=_name(alert)))
            self._answering = lambda key: self._judge(alert, key)

    def _judge(self, alert: AlertAnswer, key: str) -> str:
        word = _WORDS.get(key)
        if word is None:
            return "nothing was said of it"
        if word == "undo":
            client.undo_feedback(self._loaded, alert.occurrence, login_name())
            return f"the newest word on {_name(alert)} is taken back"
        answer = client.give_feedback(self._loaded, alert.occurrence, word, login_name(), comment="", every="")
        return "; ".join([f"{_name(alert)} is kept as {word}", *answer.changed])

    def _ask_span(self) -> None:
        if (alert := self._alert) is not None:
            self._view = replace(self._view, asked=_ASK_SPAN.format(name=_name(alert)))
            self._answering = lambda key: self._silence(alert, key)

    def _silence(self, alert: AlertAnswer, key: str) -> str:
        if key not in _SPANS:
            return "nothing is silenced"
        words, seconds = _SPANS[key]
        wanted = {"alertname": alert.alertname, "resource": alert.resource, "for_seconds": seconds}
        silence = client.add_silence(self._loaded, {**wanted, "author": login_name(), "comment": "from presage top"})
        return f"quiet for {words}; `presage silence expire {silence.id[-SHORT:]}` ends it: {silence.takes}"

    def _explain(self) -> None:
        if (alert := self._alert) is None:
            return
        try:
            detail = client.fetch_alert(self._loaded, alert.occurrence)[0]
        except DaemonError as error:
            self._view = replace(self._view, said=str(error))
            return
        self._read(
            lambda columns: paragraphs(
                explained(detail, datetime.now(UTC), columns - _EXPLAIN_LABEL - 1), _EXPLAIN_LABEL, columns
            )
        )

    def _help(self) -> None:
        self._read(lambda columns: paragraphs(((key, Text(what)) for key, what in _HELP), 14, columns))

    def _read(self, lines_of: Callable[[int], list[Text]]) -> None:
        """Show a text alone, until a key that does not move in it."""
        top = 0
        while True:
            columns, rows = self._screen.size
            lines = lines_of(columns)
            room = max(1, rows - 1)
            top = min(max(0, top), max(0, len(lines) - room))
            shown = lines[top : top + room]
            more = f"  {top + room} of {len(lines)} lines, up/down moves" if len(lines) > room else ""
            foot = Text(f"any key: back{more}", "reverse")
            self._screen.draw([*shown, *[Text("")] * (room - len(shown)), foot])
            key = self._screen.key(_REDRAW_SECONDS)
            moves = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -room, "page down": room, " ": room}
            if key in moves and len(lines) > room:
                top += moves[key]
            elif key:
                return


def _name(alert: AlertAnswer) -> str:
    return f"{alert.occurrence[-SHORT:]} ({alert.alertname})"
