"""How a page of the manual becomes a command of typer: loaded when it is asked for, its help written as a page.

Enters: pages. Leaves: commands and groups. A command's module is imported only when that command is used, so that
`presage --help` and completion answer at once.
"""

import os
import re
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from daemon.cli.manual import NAME, ROOT, Page, pages_below
from daemon.cli.terminal import on_terminal

_BESIDE = 72  # columns of an example and what it is for, else they stand below each other
_BOLD, _CYAN, _END = "\x1b[1m", "\x1b[36m", "\x1b[0m"


class Documented(TyperCommand):
    """A command whose help is coloured on a terminal."""

    def get_help(self, ctx: Any) -> str:  # noqa: ANN401 - typer keeps the type to itself
        """Return the help as it is printed."""
        return painted(super().get_help(ctx))


class Later(Documented):
    """A command of which only the page is known, until it is used."""

    def __init__(self, page: Page) -> None:
        super().__init__(page.name.rpartition(" ")[2], help=page.does, rich_markup_mode=None)
        self.page = page
        self._made: TyperCommand | TyperGroup | None = None

    @property
    def made(self) -> TyperCommand | TyperGroup:
        """The command itself, with its function and all it needs loaded."""
        if self._made is None:
            self._made = make(self.page)
        return self._made

    def make_context(self, *arguments: Any, **more: Any) -> Any:  # noqa: ANN401 - see above
        """Return the context of the command itself."""
        return self.made.make_context(*arguments, **more)


class Group(TyperGroup):
    """A group whose commands are those of the manual."""

    def __init__(self, **attrs: Any) -> None:  # noqa: ANN401 - see above
        super().__init__(**attrs)
        for page in pages_below("" if self.name == NAME else self.name or ""):
            self.add_command(Later(page))

    def get_help(self, ctx: Any) -> str:  # noqa: ANN401 - see above
        """Return the help as it is printed."""
        return painted(super().get_help(ctx))

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - see above
        """Write the commands under the headings of the manual."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if isinstance(command, Later):
                section = command.page.section if self.name == NAME else "Commands"
                rows.setdefault(section, []).append((name, command.page.does))
        for section, lines in rows.items():
            with formatter.section(section):
                formatter.write_dl(lines)


def make(page: Page) -> TyperCommand | TyperGroup:
    """Return the command of a page, its module loaded."""
    app = typer.Typer(
        cls=Group, name=page.word or NAME, rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False
    )
    module, _, name = page.runs.partition(":")
    function = getattr(import_module(f"daemon.cli.{module}"), name) if module else _overview
    if page.is_group:
        app.callback(invoke_without_command=True, help=_help(page), epilog=epilog(page))(function)
    else:
        app.command(page.word, cls=Documented, help=_help(page), epilog=epilog(page))(function)
    made = typer.main.get_command(app)
    assert isinstance(made, TyperCommand | TyperGroup)  # noqa: S101 - the two that typer makes
    return made


def _overview(context: typer.Context) -> None:
    """Show what there is below, where nothing of it is asked for."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _help(page: Page) -> str:
    return f"{page.does}\n\n{page.use}" if page.use else page.does


def epilog(page: Page) -> str:
    r"""Return the end of a help text: examples, exit codes, what is related; \b keeps lines as they are."""
    width = max(len(command) for command, _ in page.examples)
    beside = width + max(len(what) for _, what in page.examples) <= _BESIDE
    gap = "  " if beside else "\n      "
    lines = [f"  {command:<{width * beside}}{gap}{what}" for command, what in page.examples]
    parts = ["\n".join(["\b", "Examples:", *lines])]
    if not page.is_group or page.runs:
        parts.append("\n".join(["\b", "Exit codes:", "  0  done", f"  1  {page.fails}", "  2  bad usage or config"]))
    if page is ROOT:
        parts.append("Exit codes: 0 done, 1 failed, 2 bad usage or config. `presage COMMAND --help` tells more.")
    if page.also:
        parts.append("\n".join(["\b", "See also:", *(f"  {NAME} {name}" for name in page.also)]))
    return "\n\n".join(parts)


def painted(text: str) -> str:
    """Return help with its headings and commands in colour, where a terminal shows them."""
    if not on_terminal() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    text = re.sub(r"(?m)^( *)([A-Z][A-Za-z ]+:)", rf"\1{_BOLD}\2{_END}", text)
    text = re.sub(r"(?m)^(    )((?:sudo |NO_COLOR=1 )?presage .*?)(  +\S.*)?$", rf"\1{_CYAN}\2{_END}\3", text)
    return re.sub(r"(?m)^(  )(-{1,2}[a-z][\w-]*(?:, -{1,2}[\w-]+)?)", rf"\1{_CYAN}\2{_END}", text)
