"""Before a start: everything it needs is looked at, every problem told at once, and nothing created.

Enters: the configuration. Leaves: the bound socket, the sinks and the heartbeat, or a ConfigError. Secrets are read
here, from files, and never told.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alerting.heartbeat import Heartbeat
from alerting.sinks import base
from alerting.sinks.alertmanager import AlertmanagerSink
from alerting.sinks.journal import JournalSink
from alerting.sinks.long_tail import AppriseSink
from alerting.sinks.pagerduty import EVENTS_URL, PagerDutySink
from alerting.sinks.slack import SlackSink
from alerting.sinks.stdout import StdoutSink
from alerting.sinks.webhook import WebhookSink, signing_keys
from daemon import __version__
from daemon.config import Loaded
from daemon.config_alerting import Sink
from daemon.errors import ConfigError
from daemon.web.server import bind

_USER_AGENT = f"presaged/{__version__}"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was checked before anything was created: the bound socket, and what sends, with its secrets read."""

    listener: socket.socket
    sinks: tuple[base.Sink, ...]
    heartbeat: Heartbeat | None


def prepare(loaded: Loaded) -> Prepared:
    """Check all that a start needs, and create nothing. Raises ConfigError with every problem at once."""
    problems = _directory_problems(loaded.state_directory)
    host = loaded.config.host.name or socket.gethostname()
    secrets = _Secrets(loaded)
    sinks: list[base.Sink] = []
    for number, sink in enumerate(loaded.config.alerting.sinks):
        with _told(problems, f"alerting.sinks.{number} ({sink.name})"):
            sinks.append(_build_sink(sink, secrets, host))
    heartbeat = None
    with _told(problems, "alerting.heartbeat"):
        heartbeat = _build_heartbeat(loaded, secrets)
    listener = None
    try:
        listener = bind(loaded.config.http.listen)
    except ConfigError as error:
        problems += error.problems
    if listener is None or problems:
        if listener:
            listener.close()
        raise ConfigError(problems)
    return Prepared(listener, tuple(sinks), heartbeat)


@contextmanager
def _told(problems: list[str], place: str) -> Iterator[None]:
    """Turn what goes wrong inside into lines of `problems`."""
    try:
        yield
    except ConfigError as error:
        problems += [f"{place}: {problem}" for problem in error.problems]
    except ValueError as error:
        problems.append(f"{place}: {error}")


class _Secrets:
    """Reads secrets from files: relative ones from systemd's credentials, or beside the configuration."""

    def __init__(self, loaded: Loaded) -> None:
        folder = os.environ.get("CREDENTIALS_DIRECTORY") or (loaded.files[0].parent if loaded.files else "/")
        self._folder = Path(folder)

    def read(self, *names: str) -> list[str]:
        """Return what the files hold, "" for one without a name. Raises ConfigError with every problem at once."""
        texts, problems = [], []
        for name in names:
            path = self._folder / name
            try:
                text = path.read_text(encoding="utf-8").strip() if name else ""
            except OSError as error:
                problems.append(f"{path}: {error.strerror}")
            except UnicodeDecodeError:
                problems.append(f"{path}: this is not text in UTF-8")
            else:
                texts.append(text)
                if name and not text:
                    problems.append(f"{path}: this file is empty; write the secret into it")
        if problems:
            raise ConfigError(problems)
        return texts


def _build_heartbeat(loaded: Loaded, secrets: _Secrets) -> Heartbeat | None:
    settings = loaded.config.alerting.heartbeat
    (url,) = secrets.read(settings.url_file)
    if not (url or settings.url):
        return None
    return Heartbeat(url or settings.url, user_agent=_USER_AGENT, interval_seconds=float(settings.interval_seconds))


def _build_sink(sink: Sink, secrets: _Secrets, host: str) -> base.Sink:
    """Make a sink of its type. Raises ConfigError or ValueError when its secrets cannot be used."""
    url, token, keys = secrets.read(sink.url_file, sink.token_file, sink.secret_file)
    url, timeout = url or sink.url, float(sink.timeout_seconds)
    built: base.Sink
    match sink.type:
        case "webhook":
            built = WebhookSink(
                sink.name,
                url,
                user_agent=_USER_AGENT,
                timeout_seconds=timeout,
                bearer_token=token or None,
                signing_keys=signing_keys(keys) if keys else (),
            )
        case "slack":
            built = SlackSink(sink.name, url, user_agent=_USER_AGENT, timeout_seconds=timeout)
        case "alertmanager":
            built = AlertmanagerSink(
                sink.name,
                url,
                host=host,
                user_agent=_USER_AGENT,
                timeout_seconds=timeout,
                bearer_token=token or None,
            )
        case "pagerduty":
            built = PagerDutySink(
                sink.name, token, user_agent=_USER_AGENT, url=url or EVENTS_URL, timeout_seconds=timeout
            )
        case "apprise":
            built = AppriseSink(sink.name, url, timeout_seconds=timeout)
        case "journal":
            built = JournalSink(sink.name, timeout_seconds=timeout)
        case "stdout":
            built = StdoutSink(sink.name, timeout_seconds=timeout)
    return built


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
