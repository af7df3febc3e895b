"""`presage`, the operator's command: its commands, its help, and its exit codes.

Exit codes: 0 done, 1 failed, 2 bad usage or configuration. What can go wrong in the field is one
sentence on stderr, never a traceback.
"""

import os
import sys
from typing import Annotated

import typer
from rich.text import Text

from daemon import __version__
from daemon.cli import (
    alerts,
    backtest,
    changes,
    configuration,
    doctor,
    drift,
    explain,
    failures,
    feedback,
    forecast,
    imports,
    models,
    risk,
    silences,
    sinks,
    status,
    train,
)
from daemon.cli.terminal import complain, on_terminal
from daemon.errors import ConfigError, PresagedError

_FAILED = 1
_MISUSED = 2


def _markup(text: str) -> str:
    """Help as rich draws it on a terminal, as plain words elsewhere."""
    return text if on_terminal() else Text.from_markup(text).plain


def _examples(*examples: tuple[str, str]) -> str:
    r"""The last words of a help text; \b keeps the lines as they are where rich does not draw."""
    width = max(len(command) for command, _ in examples)
    lines = [f"  [cyan]{command:<{width}}[/cyan]  [dim]{what}[/dim]" for command, what in examples]
    text = _markup("\n".join(["[bold]Examples[/bold]", *lines]))
    return text if on_terminal() else f"\b\n{text}"


app = typer.Typer(
    name="presage",
    rich_markup_mode="rich" if on_terminal() else None,
    pretty_exceptions_enable=False,
    help=_markup("Ask [bold]presaged[/bold] what it knows of this host, and check that it can work."),
    epilog=_examples(
        ("presage status", "what is unusual now, and what is still lacking"),
        ("presage explain latest", "why the latest alert fired, and who was told"),
        ("presage forecast", "when each resource is full"),
        ("presage risk", "how likely this host fails, and why"),
        ("presage backtest", "what would have been sent last month"),
        ("presage drill", "whether notifications arrive"),
        ("presage doctor", "what on this host keeps presaged from its work"),
        ("presage config check", "whether the configuration is valid"),
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"presage {__version__}\n")
        raise typer.Exit


@app.callback()
def _presage(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


app.command(
    "status",
    epilog=_examples(
        ("presage status", "on one screen"),
        ("presage status --data", "how complete the history is"),
        ("presage status --json | jq .anomaly.score", "for programs"),
    ),
)(status.show_status)
app.command(
    "doctor",
    epilog=_examples(
        ("presage doctor", "each finding with its remedy"),
        ("sudo presage doctor", "checks the databases of the service too"),
    ),
)(doctor.show_findings)

app.command(
    "forecast",
    epilog=_examples(
        ("presage forecast", "all resources, the most endangered first"),
        ("presage forecast /var", "one with its past and its bands"),
        ("presage forecast memory --horizon hours", "what the next twelve hours bring"),
    ),
)(forecast.show_forecasts)

app.command(
    "risk",
    epilog=_examples(
        ("presage risk", "both probabilities, what raises them, and the evidence"),
        ("presage risk --json | jq .within_1h.probability", "for programs"),
    ),
)(risk.show_risk)
app.command(
    "drift",
    epilog=_examples(
        ("presage drift", "which signals no longer follow what was learned"),
        ("presage drift --json | jq .score", "for programs"),
    ),
)(drift.show_drift)

app.command(
    "changes",
    epilog=_examples(
        ("presage changes", "the newest 30"),
        ("presage changes --json | jq '.changes[].text'", "for programs"),
    ),
)(changes.show_changes)
app.command(
    "mark-change",
    epilog=_examples(("presage mark-change 'deploy 42'", "before or after you do it")),
)(changes.mark)

app.command(
    "failures",
    epilog=_examples(
        ("presage failures", "the newest 30"),
        ("presage failures --json | jq '.failures[].detail'", "for programs"),
    ),
)(failures.show_failures)
app.command(
    "mark-failure",
    epilog=_examples(("presage mark-failure --at 14:05 --what 'the raid lost a disk'", "what no log tells")),
)(failures.mark)

app.command(
    "alerts",
    epilog=_examples(
        ("presage alerts", "what is open, then the newest that are over"),
        ("presage alerts --all --json", "records too, for programs"),
    ),
)(alerts.show_alerts)
app.command(
    "explain",
    epilog=_examples(
        ("presage explain latest", "the alert that fired last"),
        ("presage explain 9XK2PQ", "by the end of its id"),
    ),
)(explain.explain)
app.command("ack", epilog=_examples(("presage ack latest", "it is yours")))(alerts.acknowledge)
app.command(
    "feedback",
    epilog=_examples(
        ("presage feedback 9XK2PQ false", "nothing was the matter"),
        ("presage feedback 9XK2PQ expected --every day", "again at this hour"),
        ("presage feedback 9XK2PQ undo", "the word before counts again"),
        ("presage feedback", "what verdicts change now"),
    ),
)(feedback.feedback)
app.command("drill", epilog=_examples(("presage drill", "takes two samples")))(sinks.drill)

app.command(
    "import",
    epilog=_examples(
        ("presage import --prometheus http://prometheus:9090", "the last 30 days"),
        ("presage import --openmetrics month.om", "from a file"),
    ),
)(imports.import_history)
app.command(
    "backtest",
    epilog=_examples(
        ("presage backtest", "all that is stored"),
        ("presage backtest --html month.html", "with plots"),
        ("presage backtest --compare other.toml", "what another configuration would send"),
    ),
)(backtest.backtest)

app.command(
    "train",
    epilog=_examples(
        ("presage train --follow", "and tell how far it is, until it ends"),
        ("presage train --cancel 3-1772344800000", "what runs is stopped, and nothing of it stays"),
    ),
)(train.train)

_models = typer.Typer(help="The models of this host: which serves, and how another takes its place.")
_models.command("list", epilog=_examples(("presage models list --json", "for programs")))(models.show_models)
_models.command("show", epilog=_examples(("presage models show 4711", "by the end of its id")))(models.show_one)
_models.command("diff", epilog=_examples(("presage models diff 4711 9222", "what was measured of both")))(models.diff)
_models.command("promote", epilog=_examples(("presage models promote 9222", "it serves at once")))(models.promote)
_models.command("rollback", epilog=_examples(("presage models rollback", "the one before serves again")))(
    models.rollback
)
_models.command("pin", epilog=_examples(("presage models pin 4711 --off", "it may leave again")))(models.pin)
app.add_typer(_models, name="models")

_silence = typer.Typer(help="Keep alerts quiet for a while.")
_silence.command(
    "add",
    epilog=_examples(
        ("presage silence add --resource '/srv/*' --for 2h", "a disk is swapped"),
        ("presage silence add --everything --for 30m", "nobody is told of anything"),
    ),
)(silences.add)
_silence.command("list", epilog=_examples(("presage silence list --json", "for programs")))(silences.show)
_silence.command("expire", epilog=_examples(("presage silence expire 9XK2PQ", "by the end of its id")))(silences.expire)
app.add_typer(_silence, name="silence")

_sinks = typer.Typer(
    invoke_without_command=True,
    callback=sinks.show,
    epilog=_examples(
        ("presage sinks", "what each did since the start"),
        ("presage sinks test team", "whether it takes a notification"),
    ),
)
_sinks.command("test", epilog=_examples(("presage sinks test team", "sends one, marked as a test")))(sinks.try_one)
app.add_typer(_sinks, name="sinks")

_config = typer.Typer(help="Check and show the configuration.")
_config.command("check", epilog=_examples(("presage config check", "before `systemctl reload presaged`")))(
    configuration.check
)
_config.command("show", epilog=_examples(("presage config show | grep '#'", "what is not default")))(configuration.show)
_config.command("default", epilog=_examples(("presage config default > config.toml", "a file to begin with")))(
    configuration.default
)
app.add_typer(_config, name="config")


def main() -> int:
    """Run one command and return its exit code."""
    try:
        result = app(sys.argv[1:] or ["--help"], standalone_mode=False, prog_name="presage")
        sys.stdout.flush()
    except ConfigError as error:
        complain(str(error))
        return _MISUSED
    except PresagedError as error:
        complain(str(error))
        return _FAILED
    except typer.TyperException as error:
        if message := error.format_message():
            complain(f"{message.replace(chr(10), ' ')} (see `presage --help`)")
        return error.exit_code
    except typer.Abort:
        return 130  # as a shell says of SIGINT
    except BrokenPipeError:  # `| head`: there is nobody left to complain to, and none must be tried at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    return result if isinstance(result, int) else 0
