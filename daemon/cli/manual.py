"""The manual of `presage`: one page for each command, and the one place where their help is written.

Enters: nothing. Leaves: for each command where its function is, what it does, when to use it, examples, what exit
code 1 means, and what to look at next. It imports no command: `presage` loads only the one that is asked for.

Longer than a screen, for it is a table that is read from top to bottom.
"""

from collections.abc import Iterator
from dataclasses import dataclass

NAME = "presage"

LOOK, ANSWER, TELL, LEARN, SET_UP = (
    "Look",
    "Answer an alert",
    "Tell presaged what it cannot see",
    "Learn",
    "Set up and check",
)

_CANNOT_ASK = "the daemon cannot be asked, or refuses"


@dataclass(frozen=True, slots=True)
class Page:
    """What is written of one command.

    `name`: as it is typed behind `presage`. `runs`: module and function below `daemon.cli`, "" for a group that does
    nothing by itself. `does`: one sentence. `use`: when to use it, and what else to know. `fails`: what exit code 1 is.
    """

    name: str
    runs: str
    section: str
    does: str
    use: str
    examples: tuple[tuple[str, str], ...]
    also: tuple[str, ...]
    fails: str = _CANNOT_ASK
    is_group: bool = False

    @property
    def word(self) -> str:
        """The last word of the name: what its group knows it by."""
        return self.name.rpartition(" ")[2]


PAGES = (
    Page(
        "top",
        "top:watch_host",
        LOOK,
        "Watch this host live: what is wrong, who did it, and what comes.",
        "Leave it open in a terminal while you work. It reads only, until you press a key that answers an alert;"
        " it goes on by itself when presaged was restarted. q quits, ? names the other keys.",
        (("presage top", "until q or Ctrl-C"), ("NO_COLOR=1 presage top", "without colour")),
        ("status", "alerts", "explain"),
        "stdout or stdin is no terminal, or it is one that cannot be drawn on",
    ),
    Page(
        "status",
        "status:show_status",
        LOOK,
        "Show what the running daemon knows, on one screen.",
        "The first thing to type on a host: what is unusual now, what fires, what is still lacking. With --data it"
        " reads the stored history instead, and needs no running daemon.",
        (
            ("presage status", "on one screen"),
            ("presage status --watch", "again with each sample, until Ctrl-C"),
            ("presage status --data", "how complete the history is"),
            ("presage status --json | jq .anomaly.score", "for programs"),
        ),
        ("top", "alerts", "doctor"),
    ),
    Page(
        "alerts",
        "alerts:show_alerts",
        LOOK,
        "List alerts: those that are open, then those that were.",
        "Records, which nobody is told of, are left out once they are over. The first column is what the other"
        " commands take as ALERT.",
        (
            ("presage alerts", "what is open, then the newest that are over"),
            ("presage alerts --watch", "while you work on one"),
            ("presage alerts --all --json", "records too, for programs"),
        ),
        ("explain", "ack", "feedback", "silence add"),
    ),
    Page(
        "explain",
        "explain:explain",
        LOOK,
        "Show all about one alert: why it fired, who was told, what next.",
        "For the question behind every alert. It names the signals with their usual range, who takes most, what"
        " changed just before, and the alert most like it. Without ALERT it is the latest.",
        (("presage explain", "the alert that fired last"), ("presage explain 9XK2PQ", "by the end of its id")),
        ("alerts", "ack", "feedback"),
    ),
    Page(
        "forecast",
        "forecast:show_forecasts",
        LOOK,
        "Show when resources run out.",
        "Without RESOURCE all of them, the most endangered first; with one, its past, its bands and its limit as a"
        " picture. RESOURCE may be the beginning of a name, or any path on a file system.",
        (
            ("presage forecast", "all resources, the most endangered first"),
            ("presage forecast /var", "one with its past and its bands"),
            ("presage forecast memory --horizon hours", "what the next twelve hours bring"),
        ),
        ("status", "risk"),
    ),
    Page(
        "plot",
        "past:plot",
        LOOK,
        "Draw the past of a signal, or of the anomaly score.",
        "When `presage explain` names a signal: whether it rose slowly or at once, and whether it does so every day."
        " SIGNAL may be any part of a name that only one signal has. The line is the mean, the shade behind it goes"
        " from the least to the greatest value.",
        (
            ("presage plot", "the anomaly score of the last day, with its threshold"),
            ("presage plot cpu.busy --last 30d", "the last month"),
            ("presage plot disk.sda.busy --json", "for programs"),
        ),
        ("explain", "forecast", "top"),
    ),
    Page(
        "risk",
        "risk:show_risk",
        LOOK,
        "Show how likely this host fails within an hour and a day, and why.",
        "A failure is what `presage failures` records. Where there is too little evidence, it says what is lacking"
        " and no number.",
        (
            ("presage risk", "both probabilities, what raises them, and the evidence"),
            ("presage risk --json | jq .within_1h.probability", "for programs"),
        ),
        ("failures", "mark-failure", "forecast"),
    ),
    Page(
        "drift",
        "drift:show_drift",
        LOOK,
        "Show which signals no longer follow what was learned.",
        "For the question whether the models still fit this host. Checked every hour; never sent by default.",
        (
            ("presage drift", "which signals drifted, and how far"),
            ("presage drift --json | jq .score", "for programs"),
        ),
        ("models list", "train"),
    ),
    Page(
        "changes",
        "changes:show_changes",
        LOOK,
        "Show what was changed on this host, seen or told.",
        "Packages, units, boots, mounts, disks, interfaces, and what was marked: what happened just before an alert.",
        (
            ("presage changes", "the newest 30"),
            ("presage changes --limit 200", "farther back"),
            ("presage changes --json | jq '.changes[].text'", "for programs"),
        ),
        ("mark-change", "explain"),
    ),
    Page(
        "failures",
        "failures:show_failures",
        LOOK,
        "Show what of this host failed, seen or told.",
        "OOM kills, failed units, full or read-only file systems, unclean reboots, I/O and machine errors: what risk"
        " is learned from.",
        (
            ("presage failures", "the newest 30"),
            ("presage failures --json | jq '.failures[].detail'", "for programs"),
        ),
        ("mark-failure", "risk"),
    ),
    Page(
        "backtest",
        "backtest:backtest",
        LOOK,
        "Show what would have been sent.",
        "Replays the stored history as if presaged began with its first sample: the first week is learned from, and"
        " what comes after it is judged. It needs no running daemon and sends nothing.",
        (
            ("presage backtest", "all that is stored"),
            ("presage backtest --html month.html", "with plots"),
            ("presage backtest --compare other.toml", "what another configuration would send"),
        ),
        ("import", "feedback", "status"),
        "there is no history to replay",
    ),
    Page(
        "ack",
        "alerts:acknowledge",
        ANSWER,
        "Take an alert in hand: nobody else is called for it.",
        "When you begin to work on it: it is not told again. Who came first keeps it.",
        (("presage ack latest", "the alert that fired last"), ("presage ack 9XK2PQ", "by the end of its id")),
        ("explain", "feedback", "silence add"),
        "there is no such alert, it is over, or the daemon cannot be asked",
    ),
    Page(
        "feedback",
        "feedback:feedback",
        ANSWER,
        "Say whether an alert was real, false or expected.",
        "Without an alert, list what such words change now. false: anomalies must be a little stronger, for 28 days."
        " expected: what is like it raises no alarm for a while. real: its samples are never learned from.",
        (
            ("presage feedback 9XK2PQ false", "nothing was the matter"),
            ("presage feedback 9XK2PQ expected --every day", "again at this hour"),
            ("presage feedback 9XK2PQ undo", "the word before counts again"),
            ("presage feedback", "what verdicts change now"),
        ),
        ("explain", "silence add"),
        "there is no such alert, or the daemon cannot be asked",
    ),
    Page(
        "silence",
        "",
        ANSWER,
        "Keep alerts quiet for a while.",
        "What fires under a silence is kept and shown, and told when it still fires afterwards.",
        (("presage silence add --resource '/srv/*' --for 2h", "a disk is swapped"),),
        ("ack", "feedback"),
        is_group=True,
    ),
    Page(
        "silence add",
        "silences:add",
        ANSWER,
        "Keep alerts quiet for a while; they must match all that is given.",
        "Before work that will raise alerts, or while somebody already works on it. What happens in a silence is not"
        " learned from.",
        (
            ("presage silence add --resource '/srv/*' --for 2h", "a disk is swapped"),
            ("presage silence add --everything --for 30m", "nobody is told of anything"),
        ),
        ("silence list", "silence expire", "mark-change"),
    ),
    Page(
        "silence list",
        "silences:show",
        ANSWER,
        "List the silences that are not over.",
        "To see why nobody is told. The first column is what `presage silence expire` takes.",
        (("presage silence list", "with who, why and until when"), ("presage silence list --json", "for programs")),
        ("silence expire", "alerts"),
    ),
    Page(
        "silence expire",
        "silences:expire",
        ANSWER,
        "End a silence now.",
        "When the work is done earlier than thought: what still fires is told.",
        (("presage silence expire 9XK2PQ", "by the end of its id"),),
        ("silence list", "silence add"),
        "there is no such silence, it is over, or the daemon cannot be asked",
    ),
    Page(
        "mark-change",
        "changes:mark",
        TELL,
        "Tell presaged of a change you make.",
        "Before or after a deployment: for a while, anomalies are recorded and not sent, and what follows it is"
        " explained by it.",
        (("presage mark-change 'deploy 42'", "in one line"),),
        ("changes", "silence add"),
    ),
    Page(
        "mark-failure",
        "failures:mark",
        TELL,
        "Tell presaged of a failure that it cannot see.",
        "What no log tells: the risk of this host is learned from it.",
        (
            ("presage mark-failure --what 'the raid lost a disk'", "just now"),
            ("presage mark-failure --at 14:05 --what 'it hung'", "earlier today"),
        ),
        ("failures", "risk"),
    ),
    Page(
        "models",
        "",
        LEARN,
        "The models: which serves, and how another takes its place.",
        "",
        (("presage models list", "which serves, and how well"),),
        ("train", "drift"),
        is_group=True,
    ),
    Page(
        "models list",
        "models:show_models",
        LEARN,
        "Show all models, the newest first, and how well the one that serves does.",
        "A challenger serves only after a day in shadow, and only if it is better.",
        (("presage models list", "with why each is what it is"), ("presage models list --json", "for programs")),
        ("models show", "models rollback", "train"),
    ),
    Page(
        "models show",
        "models:show_one",
        LEARN,
        "Show where one model comes from, what it learned from, and what was measured of it.",
        "For the question why a model serves, or why it does not.",
        (("presage models show 4711", "by the end of its id"),),
        ("models list", "models diff"),
        "there is no such model, or the daemon cannot be asked",
    ),
    Page(
        "models diff",
        "models:diff",
        LEARN,
        "Show two models beside each other, line by line where they differ.",
        "Before you promote one by hand.",
        (("presage models diff 4711 9222", "what was measured of both"),),
        ("models show", "models promote"),
        "there is no such model, or the daemon cannot be asked",
    ),
    Page(
        "models promote",
        "models:promote",
        LEARN,
        "Let a model serve at once.",
        "When you know better than the trial in shadow. The one before scores beside it for a day, and can come back.",
        (("presage models promote 9222", "by the end of its id"),),
        ("models rollback", "models diff"),
        "there is no such model, it cannot serve, or the daemon cannot be asked",
    ),
    Page(
        "models rollback",
        "models:rollback",
        LEARN,
        "Let the model before serve again.",
        "When alerts became worse after a promotion. presaged does so by itself where only the champion alarms.",
        (("presage models rollback", "the one before serves again"),),
        ("models list", "models pin"),
        "there is no model before, or the daemon cannot be asked",
    ),
    Page(
        "models pin",
        "models:pin",
        LEARN,
        "Keep a model for good.",
        "Where it serves, no challenger takes its place but by hand.",
        (("presage models pin 4711", "it stays"), ("presage models pin 4711 --off", "it may leave again")),
        ("models list", "models promote"),
        "there is no such model, or the daemon cannot be asked",
    ),
    Page(
        "train",
        "train:train",
        LEARN,
        "Train a new model of this host.",
        "It serves after a day in shadow, if it is better. presaged trains by itself when the host has changed; this"
        " is for when you will not wait. The networks of capacity and failure are refined by what this host has lived"
        " through, and serve at once where that proves better; refused is no failure: what served before goes on.",
        (
            ("presage train --follow", "and tell how far it is, until it ends"),
            ("presage train --network capacity --follow", "another of the three networks"),
            ("presage train --cancel 3-1772344800000", "what runs is stopped, and nothing of it stays"),
        ),
        ("models list", "drift"),
        "the training cannot begin, or with --follow does not end well",
    ),
    Page(
        "import",
        "imports:import_history",
        SET_UP,
        "Import what others measured of this host before presaged did.",
        "Right after the installation: with a month of history presaged knows this host from its first hour. It may"
        " run beside the daemon, be interrupted, and be given again: nothing is written twice.",
        (
            ("presage import --prometheus http://prometheus:9090", "the last 30 days"),
            ("presage import --openmetrics month.om", "from a file"),
        ),
        ("backtest", "status"),
        "there is nothing to import, or the state folder cannot be written",
    ),
    Page(
        "doctor",
        "doctor:show_findings",
        SET_UP,
        "Check that presaged can work here, with a remedy for each finding.",
        "After the installation, and when something is odd. It changes nothing; the daemon need not run.",
        (
            ("presage doctor", "each finding with its remedy"),
            ("sudo presage doctor", "checks the databases of the service too"),
        ),
        ("config check", "status"),
        "there is a problem; warnings are none",
    ),
    Page(
        "drill",
        "sinks:drill",
        SET_UP,
        "Let a false alarm take the way of every alert, and tell who took it.",
        "To know that notifications arrive before you need one. It is marked as a drill, and takes two samples.",
        (("presage drill", "from finding to delivery"),),
        ("sinks test", "sinks"),
        "a sink has not taken it, nobody was told, or the daemon cannot be asked",
    ),
    Page(
        "sinks",
        "sinks:show",
        SET_UP,
        "List the sinks and what each did since the start.",
        "For the question whether notifications arrive.",
        (
            ("presage sinks", "what each did since the start"),
            ("presage sinks test team", "whether it takes a notification"),
        ),
        ("sinks test", "drill"),
        is_group=True,
    ),
    Page(
        "sinks test",
        "sinks:try_one",
        SET_UP,
        "Send a test notification to one sink.",
        "After you have configured it. The notification says that it is a test; what is told is whether the sink took"
        " it, and how long that took.",
        (("presage sinks test team", "sends one, marked as a test"),),
        ("drill", "sinks"),
        "it has not taken it, there is no such sink, or no daemon can be asked",
    ),
    Page(
        "support-bundle",
        "support_bundle:make",
        SET_UP,
        "Gather what a stranger needs to help, without secrets, in one file.",
        "When you ask for help. Addresses, tokens and other programs' words are masked, and nothing is sent: look into"
        " the file before you give it away. The daemon need not run.",
        (
            ("presage support-bundle", "into the folder you are in"),
            ("sudo presage support-bundle -o /tmp/b.tar.gz", "with the log"),
        ),
        ("doctor", "data export"),
        "the file cannot be written",
    ),
    Page(
        "data",
        "",
        SET_UP,
        "Take along or delete all that is stored of this host.",
        "",
        (("sudo presage data export", "both databases and the models"),),
        ("status", "support-bundle"),
        is_group=True,
    ),
    Page(
        "data export",
        "stored:export",
        SET_UP,
        "Write all that is stored of this host into one file.",
        "Before you move, or when somebody wants to know what is kept. The daemon may run; secrets are not among it.",
        (("sudo presage data export all.tar.gz", "both databases and the models"),),
        ("data purge", "support-bundle"),
        "there is nothing to export, or it cannot be read or written",
    ),
    Page(
        "data purge",
        "stored:purge",
        SET_UP,
        "Delete all that is stored of this host.",
        "For good: history, alerts, models, verdicts and the token. Stop presaged first; its next start begins anew.",
        (("sudo presage data purge", "asks before it deletes"), ("sudo presage data purge --yes", "does not ask")),
        ("data export",),
        "presaged is running, or something cannot be deleted",
    ),
    Page(
        "config",
        "",
        SET_UP,
        "Check and show the configuration.",
        "",
        (("presage config check", "before `systemctl reload presaged`"),),
        ("doctor",),
        is_group=True,
    ),
    Page(
        "config check",
        "configuration:check",
        SET_UP,
        "Validate the configuration.",
        "Names every problem at once, with file, line and remedy.",
        (("presage config check", "before `systemctl reload presaged`"),),
        ("config show", "doctor"),
        "never: a bad configuration is exit code 2",
    ),
    Page(
        "config show",
        "configuration:show",
        SET_UP,
        "Print the effective configuration as TOML.",
        "Defaults are included; behind what is not default stands the file that sets it.",
        (("presage config show | grep '#'", "what is not default"), ("presage config show --json", "for programs")),
        ("config check", "config default"),
        "never: a bad configuration is exit code 2",
    ),
    Page(
        "config default",
        "configuration:default",
        SET_UP,
        "Print every key with its default and meaning.",
        "A file to begin with; it is a valid configuration as it is.",
        (("presage config default > config.toml", "a file to begin with"),),
        ("config show", "config check"),
        "never",
    ),
)

ROOT = Page(
    "",
    "",
    "",
    "Ask presaged what it knows of this host, and check that it can work.",
    "",
    (
        ("presage top", "leave it open: what is wrong, who did it, what comes"),
        ("presage status", "what is unusual now, and what is still lacking"),
        ("presage explain latest", "why the latest alert fired, and who was told"),
        ("presage forecast", "when each resource is full"),
        ("presage backtest", "what would have been sent last month"),
        ("presage doctor", "what on this host keeps presaged from its work"),
    ),
    (),
    is_group=True,
)


def pages_below(group: str) -> Iterator[Page]:
    """Yield the pages of the commands in a group, "" being `presage` itself."""
    for page in PAGES:
        if page.name.rpartition(" ")[0] == group:
            yield page
