"""Before a start: everything it needs is looked at, every problem told at once, and nothing created.

Enters: the configuration. Leaves: the bound socket and the sinks, or a ConfigError.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from alerting.sinks.webhook import WebhookSink
from daemon import __version__
from daemon.config import Loaded, Sink
from daemon.errors import ConfigError
from daemon.server import bind


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was checked before anything was created: the bound socket, and the sinks with their secrets read."""

    listener: socket.socket
    sinks: tuple[WebhookSink, ...]


def prepare(loaded: Loaded) -> Prepared:
    """Check all that a start needs, and create nothing. Raises ConfigError with every problem at once."""
    problems = _directory_problems(loaded.state_directory)
    sinks: list[WebhookSink] = []
    for number, sink in enumerate(loaded.config.alerting.sinks):
        try:
            sinks.append(_build_sink(sink, loaded))
        except (OSError, ValueError) as error:
            reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            problems.append(f"alerting.sinks.{number} ({sink.name}): {reason}")
    listener = None
    try:
        listener = bind(loaded.config.http.listen)
    except ConfigError as error:
        problems += error.problems
    if listener is None or problems:
        if listener:
            listener.close()
        raise ConfigError(problems)
    return Prepared(listener, tuple(sinks))


def _directory_problems(directory: Path) -> list[str]:
    """Say why `directory` cannot be made or written, without touching it."""
    try:
        parent = next(path for path in (directory, *directory.parents) if path.exists())
        read_only = os.statvfs(parent).f_flag & os.ST_RDONLY
    except OSError as error:
        return [f"storage.directory: {directory}: {error.strerror}; give a folder of your own"]
    if not parent.is_dir():
        return [f"storage.directory: {parent} is a file; give a folder"]
    if read_only or _is_virtual(parent):
        return [f"storage.directory: {directory}: {parent} is on a file system that keeps nothing; give another folder"]
    if not os.access(parent, os.W_OK | os.X_OK):
        return [f"storage.directory: {directory}: no permission to write in {parent}; give a folder of your own"]
    return []


def _is_virtual(folder: Path) -> bool:
    return any(folder.is_relative_to(root) for root in ("/proc", "/sys"))


def _build_sink(sink: Sink, loaded: Loaded) -> WebhookSink:
    """Make a sink; secrets come from files, relative ones from systemd's credentials or beside the configuration."""
    base = Path(os.environ.get("CREDENTIALS_DIRECTORY") or (loaded.files[0].parent if loaded.files else "/"))
    return WebhookSink(
        sink.name,
        (base / sink.url_file).read_text(encoding="utf-8").strip() if sink.url_file else sink.url,
        user_agent=f"presaged/{__version__}",
        timeout_seconds=float(sink.timeout_seconds),
        bearer_token=(base / sink.token_file).read_text(encoding="utf-8").strip() if sink.token_file else None,
    )
