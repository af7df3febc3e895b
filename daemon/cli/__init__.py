"""`presage`, the operator's command: where it begins, and its exit codes.

Exit codes: 0 done, 1 failed, 2 bad usage or configuration. What can go wrong in the field is one
sentence on stderr, never a traceback. What there is to ask is in `daemon.cli.manual`.
"""

import os
import sys
from typing import Annotated

import typer

from daemon import __version__
from daemon.cli.manual import NAME, ROOT
from daemon.cli.pages import Group, epilog
from daemon.cli.terminal import complain
from daemon.errors import ConfigError, PresagedError

_FAILED = 1
_MISUSED = 2

app = typer.Typer(
    name=NAME,
    cls=Group,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=ROOT.does,
    epilog=epilog(ROOT),
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


def main() -> int:
    """Run one command and return its exit code."""
    try:
        result = app(sys.argv[1:] or ["--help"], standalone_mode=False, prog_name=NAME)
        sys.stdout.flush()
    except ConfigError as error:
        complain(error.problems[0] if len(error.problems) == 1 else str(error))
        return _MISUSED
    except PresagedError as error:
        complain(str(error))
        return _FAILED
    except typer.TyperException as error:
        if message := error.format_message():
            context = getattr(error, "ctx", None)
            asked = NAME if context is None else context.command_path
            complain(f"{message.replace(chr(10), ' ')} (see `{asked} --help`)")
        return error.exit_code
    except typer.Abort:
        return 130  # as a shell says of SIGINT
    except BrokenPipeError:  # `| head`: there is nobody left to complain to, and none must be tried at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    return result if isinstance(result, int) else 0
