"""`presage models`: which models there are, what each is to the host, and who serves.

Enters: the daemon's answers. Leaves: a table, labelled rows, or JSON; an order leaves one line that says what is now.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from daemon.cli import completion
from daemon.cli.client import fetch_model, fetch_models, order_model, roll_back
from daemon.cli.configuration import ConfigOption
from daemon.cli.terminal import console, print_json, print_rows, print_table, printable, say
from daemon.cli.watching import SELDOM, WatchOption, shown
from daemon.config import load
from daemon.models.answers import ModelAnswer, ModelMetricsAnswer, ModelsAnswer, differences

_MODEL_HELP = "The model's id, or the end of it."
_LABEL = 11
_STYLES = {"champion": "bold green", "predecessor": "cyan", "shadow": "yellow", "challenger": "yellow"}

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL_HELP, autocompletion=completion.models)]
JsonOption = Annotated[bool, typer.Option("--json", help="The daemon's answer as JSON.")]


def show_models(config: ConfigOption = None, watch: WatchOption = False, as_json: JsonOption = False) -> None:
    """Show all models, the newest first, and how well the one that serves does."""
    loaded = load(config)

    def show(out: Console) -> None:
        answer, body = fetch_models(loaded)
        if as_json:
            print_json(out, json.loads(body))
            return
        if not answer.models:
            out.print(f"none yet: the first is trained after {loaded.config.anomaly.network_after_samples} samples")
            return
        print_table(
            out,
            ("model", "state", "trained", "trigger", "why"),
            [
                (
                    Text(one.id),
                    Text(_state(one), _STYLES.get(one.state, "")),
                    Text(_local(one.trained_at)),
                    Text(printable(one.trigger)),
                    Text(printable(_why(one))),
                )
                for one in answer.models
            ],
        )
        for line in _measures(answer):
            out.print(line, soft_wrap=not out.is_terminal)

    shown(show, watch=watch, seconds=SELDOM)


def show_one(model: ModelArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show where one model comes from, what it has learned from, and what was measured of it."""
    told, measured = fetch_model(load(config), model)
    if as_json:
        print_json(console(), {**told.model_dump(), "metrics": measured.metrics})
    else:
        print_rows(console(), rows(told, measured), _LABEL)


def diff(
    model: ModelArgument,
    other: Annotated[
        str, typer.Argument(metavar="OTHER", help="The model beside it.", autocompletion=completion.models)
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show two models beside each other, line by line where they differ."""
    loaded = load(config)
    (told, measured), (another, others) = (fetch_model(loaded, name) for name in (model, other))
    found = {one.name: (one.model, one.other) for one in differences(told, measured.metrics, another, others.metrics)}
    if as_json:
        print_json(console(), {name: list(values) for name, values in found.items()})
        return
    out = console()
    if out.is_terminal:
        values = [
            (Text(name, "bold"), Text(printable(one or "-")), Text(printable(two or "-")))
            for name, (one, two) in found.items()
        ]
        print_table(out, ("", model, other), values)
        return
    width = max((len(name) for name in found), default=_LABEL)
    for name, (one, two) in found.items():
        out.print(printable(f"{name:<{width}}  {one or '-'}  |  {two or '-'}"), soft_wrap=True)


def promote(model: ModelArgument, config: ConfigOption = None) -> None:
    """Let a model serve at once; the one before scores beside it for a day, and can come back."""
    told = order_model(load(config), model, "promote")
    say(f"{told.id} serves now; `presage models rollback` undoes it")


def rollback(config: ConfigOption = None) -> None:
    """Let the model before serve again."""
    told = roll_back(load(config))
    say(f"{told.id} serves again")


def pin(
    model: ModelArgument,
    config: ConfigOption = None,
    off: Annotated[bool, typer.Option("--off", help="It may leave again.")] = False,
) -> None:
    """Keep a model for good; where it serves, no challenger takes its place but by hand."""
    told = order_model(load(config), model, "pin", undo=off)
    say(f"{told.id} is {'pinned' if told.pinned else 'no longer pinned'}")


def rows(told: ModelAnswer, measured: ModelMetricsAnswer) -> Iterator[tuple[str, Text]]:
    """Yield every row of one model."""
    yield "model", Text(f"{told.id} ({told.network})")
    yield (
        "state",
        Text(_state(told), _STYLES.get(told.state, "")).append(
            printable(f": {_why(told)}" if _why(told) else ""), "default"
        ),
    )
    if told.problem:
        return
    if told.health:
        yield "health", Text(", ".join(told.health))
    yield "trained", Text(f"{_local(told.trained_at)}, {told.trigger or 'no trigger is known'}")
    yield "parent", Text(told.parent or "none")
    span = f", {_local(told.data_from)} to {_local(told.data_to)}" if told.data_from else ""
    yield "data", Text(f"{told.samples} samples{span}")
    left_out = ", ".join(f"{reason} {count}" for reason, count in told.exclusions.items() if count)
    yield "left out", Text(printable(left_out) or "nothing")
    for place, (name, value) in enumerate(sorted(measured.metrics.items())):
        yield "" if place else "measured", Text(f"{printable(name)} {value:.4g}")


def _measures(answer: ModelsAnswer) -> Iterator[str]:
    if answer.health:
        yield f"health {', '.join(answer.health)}"
    if answer.performance is not None:
        first = "" if answer.baseline is None else f", {answer.baseline:.3f} when it began to serve"
        yield f"performance {answer.performance:.3f} of injected faults{first}"
    if answer.retention is not None:
        yield f"retention {answer.retention:.3f}"
    if answer.latency_seconds is not None:
        yield f"latency {1000 * answer.latency_seconds:.2g} ms a sample"


def _state(one: ModelAnswer) -> str:
    return f"{one.state}, pinned" if one.pinned else one.state


def _why(one: ModelAnswer) -> str:
    return one.problem or one.reason


def _local(at: str | None) -> str:
    return "-" if at is None else datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M")
