"""`presage config`: check, show and default.

Enters: the configuration's files. Leaves: a verdict, the effective values with their origin, or the
file with every default. Secrets are never in a configuration, so all of it may be shown.
"""

import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.status import CONFIG_HELP
from daemon.cli.terminal import console, print_json
from daemon.config import SYSTEM_FILE, Config, Loaded, load, render_default, toml_value

ConfigOption = Annotated[Path | None, typer.Option("--config", metavar="FILE", help=CONFIG_HELP)]


def check(config: ConfigOption = None) -> None:
    """Validate the configuration.

    Names every problem at once, with file, line and remedy; exit code 2 when there is one.
    """
    loaded = load(config)
    sys.stdout.write("".join(f"{line}\n" for line in (*loaded.warnings, verdict(loaded))))


def show(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """Print the effective configuration as TOML.

    Defaults are included; behind what is not default stands the file that sets it.
    """
    loaded = load(config)
    if as_json:
        print_json(console(), loaded.config.model_dump(mode="json"))
    else:
        sys.stdout.write("\n".join(render_effective(loaded)) + "\n")


def default() -> None:
    """Print every key with its default and meaning."""
    sys.stdout.write(render_default())


def verdict(loaded: Loaded) -> str:
    """Return one line that says which files were read and that they are valid."""
    if not loaded.files:
        return f"defaults: ok (there is no {SYSTEM_FILE})"
    main, *above = loaded.files
    return f"{main}: ok" + (f", with {', '.join(map(str, above))} laid over it" if above else "")


def render_effective(loaded: Loaded) -> Iterator[str]:
    """Yield the lines of the effective configuration, defaults included."""
    yield f"# {verdict(loaded)}"
    yield f"# state in {loaded.state_directory}"
    tables = [(file, tomllib.loads(file.read_text(encoding="utf-8"))) for file in loaded.files]
    yield from _table(loaded.config.model_dump(mode="json"), Config().model_dump(mode="json"), (), tables)


def _table(
    values: Mapping[str, object],
    defaults: Mapping[str, object],
    path: tuple[str, ...],
    tables: list[tuple[Path, dict[str, object]]],
) -> Iterator[str]:
    """The plain keys of a table first, or they would belong to the last table within it."""
    inner = {}
    for key, value in values.items():
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            inner[key] = value
        else:
            origin = "" if value == defaults.get(key) else f"  # {_origin((*path, key), tables)}"
            yield f"{key} = {toml_value(value)}{origin}"
    for key, value in inner.items():
        name = ".".join((*path, key))
        if isinstance(value, dict):
            below = defaults.get(key)
            yield from ("", f"[{name}]")
            yield from _table(value, below if isinstance(below, dict) else {}, (*path, key), tables)
        else:
            for block in value:
                yield from ("", f"[[{name}]]  # {_origin((*path, key), tables)}")
                yield from (f"{field} = {toml_value(given)}" for field, given in block.items())


def _origin(path: tuple[str, ...], tables: list[tuple[Path, dict[str, object]]]) -> str:
    """The last file that sets the key: it is the one that counts."""
    for file, table in reversed(tables):
        value: object = table
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return str(file)
    return "not default"
