"""What the shell offers behind TAB for values that only the running daemon knows: alerts, resources, sinks, models.

Enters: the beginning of a word. Leaves: words with what each is. It is silent and quick: no daemon, a slow one or a
bad configuration offers nothing, and nothing is ever printed.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import typer

from daemon.cli.terminal import printable
from daemon.config import Loaded, load
from daemon.errors import PresagedError

Offer = tuple[str, str]
_SECONDS = 1.0  # a person waits at the prompt
_SHORT = 6  # letters of an id that are shown
_MOST, _MOST_SIGNALS = 50, 1000
LATEST = "latest"


def _offered(offers: Callable[[Loaded], Iterator[Offer]]) -> Callable[[typer.Context, str], list[Offer]]:
    """Return what typer asks at a TAB."""

    def complete(context: typer.Context, incomplete: str) -> list[Offer]:
        try:
            given = context.params.get("config")
            loaded = load(given if isinstance(given, Path) else None)
            found = [one for one in offers(loaded) if one[0].casefold().startswith(incomplete.casefold())]
        except (PresagedError, OSError):
            return []
        return [(_inserted(word), printable(what)) for word, what in found[:_MOST] if word.isprintable()]

    return complete


def _inserted(word: str) -> str:
    """Return a word as the shell puts it on the line: bash alone does not quote what it is given."""
    in_bash = os.environ.get("_PRESAGE_COMPLETE", "").endswith("bash")
    return re.sub(r"([^\w@%+=:,./-])", r"\\\1", word) if in_bash else word


def _alerts(loaded: Loaded) -> Iterator[Offer]:
    from daemon.cli.client import fetch_alerts  # noqa: PLC0415 - completion loads what it offers only

    yield LATEST, "the alert that fired last"
    for one in fetch_alerts(loaded, _MOST, seconds=_SECONDS).alerts:
        yield one.occurrence[-_SHORT:], f"{one.alertname} {one.resource}".strip() + f", {one.state}"


def _resources(loaded: Loaded) -> Iterator[Offer]:
    from daemon.cli.client import fetch_forecasts  # noqa: PLC0415 - see above

    for one in fetch_forecasts(loaded, seconds=_SECONDS)[0].forecasts:
        yield one.resource, f"{one.used_ratio * 100:.0f} % used"


def _sinks(loaded: Loaded) -> Iterator[Offer]:
    from daemon.cli.client import fetch_status  # noqa: PLC0415 - see above

    for one in fetch_status(loaded, seconds=_SECONDS)[0].sinks:
        yield one.name, f"{one.sent} sent"


def _models(loaded: Loaded) -> Iterator[Offer]:
    from daemon.cli.client import fetch_models  # noqa: PLC0415 - see above

    for one in fetch_models(loaded, seconds=_SECONDS)[0].models:
        yield one.id, one.state


def _silences(loaded: Loaded) -> Iterator[Offer]:
    from daemon.cli.client import fetch_silences  # noqa: PLC0415 - see above

    for one in fetch_silences(loaded, seconds=_SECONDS)[0].silences:
        yield one.id[-_SHORT:], one.takes


def _signals(loaded: Loaded) -> Iterator[Offer]:
    from alerting.render import amount  # noqa: PLC0415 - see above
    from daemon.cli.client import fetch_signals  # noqa: PLC0415 - see above
    from daemon.cli.explain import unit_of  # noqa: PLC0415 - see above

    for one in fetch_signals(loaded, _MOST_SIGNALS, seconds=_SECONDS).signals:
        yield one.name, "missing" if one.value is None else amount(one.value, unit_of(one.unit))


alerts, resources, sinks, models, silences, signals = map(
    _offered, (_alerts, _resources, _sinks, _models, _silences, _signals)
)
