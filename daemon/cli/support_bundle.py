"""`presage support-bundle`: what a stranger needs to help, in one file, without secrets.

Enters: the configuration, and what the daemon and the journal tell. Leaves: one tar.gz, readable by its maker alone,
whose README says what is in it. Other programs' words, addresses and whatever looks like a token are masked, whatever
`[privacy] log_text` says; then every secret that this host has in a file is looked for in all of it. Nothing is sent.
"""

import io
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from alerting.redact import mask, redacted
from daemon import __version__
from daemon.cli.archive import private_archive
from daemon.cli.configuration import ConfigOption, render_effective
from daemon.cli.doctor import examine
from daemon.cli.terminal import say
from daemon.cli.wire import fetch
from daemon.config import Loaded, load
from daemon.errors import ConfigError, DaemonError, PresagedError

Members = Mapping[str, str]

_LOG_LINES = 2000
_LOG_SECONDS = 20.0
_LEAST_SECRET = 8  # letters: a shorter one is a word that stands everywhere
_ASKED = {"status.json": "/api/v1/status", "failures.json": "/api/v1/failures?limit=100", "metrics.txt": "/metrics"}
_PACKAGES = ("aiohttp", "apscheduler", "numba", "numpy", "pydantic", "safetensors", "scipy", "structlog")
_SECRETS_OF_THE_STATE = ("token", "links.key", "machine")
_URLS = ("url", "external_url", "targets", "listen", "allowed_hosts")
_ABOUT = {
    "config.toml": "the effective configuration; addresses and URLs are masked",
    "doctor.json": "what `presage doctor` found",
    "status.json": "what `presage status --json` shows",
    "failures.json": "failures of the host, at most 100",
    "metrics.txt": "what Prometheus scrapes",
    "log.txt": f"presaged's own log of late, at most {_LOG_LINES} lines",
    "versions.json": "versions of programs, packages and database schemas, and sizes of files",
}


def make(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it (default: here).")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Gather what a stranger needs to help, without secrets, in one file.

    Nothing is sent. Look into it before you give it away.
    """
    file = output or Path(f"presaged-support-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.tar.gz")
    members = gather(config)
    try:
        _write(file, members)
    except OSError as error:
        raise DaemonError(f"{file}: {error.strerror}") from error
    for name, text in members.items():
        say(f"{name:14} {len(text) / 1000:8.1f} kB  {_ABOUT.get(name, 'what this is')}")
    say(f"{file}: look into it before you give it away; nothing was sent")


def gather(config: Path | None) -> Members:
    """Return the texts by name; what cannot be had says why in its place."""
    try:
        loaded = load(config)
    except ConfigError as error:  # then that is what help is needed with
        parts: dict[str, Callable[[], str]] = {"config.toml": partial(str, error)}
        secrets: list[str] = []
    else:
        parts = {
            "config.toml": lambda: "\n".join(_masked_config(loaded)) + "\n",
            **{name: partial(fetch, loaded, path) for name, path in _ASKED.items()},
            "versions.json": lambda: json.dumps(_versions(loaded), indent=1),
        }
        secrets = _secrets(loaded)
    parts["doctor.json"] = lambda: json.dumps([asdict(one) for one in examine(config)], indent=1)
    parts["log.txt"] = _log
    members = {}
    for name, told in parts.items():
        try:
            text = told()
        except (PresagedError, OSError, subprocess.SubprocessError) as error:
            text = f"not to be had: {error}\n"
        members[name] = mask(_masked(name, text), secrets)
    return {"README": _readme(members), **members}


def _masked(name: str, text: str) -> str:
    if name.endswith(".json"):
        with suppress(ValueError):
            return json.dumps(_without_secrets(json.loads(text)), indent=1) + "\n"
    return "".join(redacted(line) for line in text.splitlines(keepends=True))


def _without_secrets(value: object) -> object:
    """Mask the texts of a JSON value and leave its numbers: a file of masks helps nobody."""
    match value:
        case str():
            return redacted(value)
        case list():
            return [_without_secrets(one) for one in value]
        case dict():
            return {redacted(str(key)): _without_secrets(one) for key, one in value.items()}
    return value


def _masked_config(loaded: Loaded) -> Iterator[str]:
    """Yield the effective configuration; what holds an address is there or not, and no more."""
    for line in render_effective(loaded):
        key, is_set, value = line.partition(" = ")
        told, origin, file = value.partition("  # ")
        hidden = is_set and key.strip() in _URLS and told not in ('""', "[]")
        yield f'{key} = "<address>"{origin}{file}' if hidden else line


def _secrets(loaded: Loaded) -> list[str]:
    """Return every secret that stands in a file of ours or in one that the configuration names, the longest first."""
    base = Path(os.environ.get("CREDENTIALS_DIRECTORY") or (loaded.files[0].parent if loaded.files else "/"))
    alerting = loaded.config.alerting
    named = [alerting.heartbeat.url_file]
    for sink in alerting.sinks:
        named += [sink.url_file, sink.token_file, sink.secret_file]
    paths = [base / name for name in named if name] + [loaded.state_directory / name for name in _SECRETS_OF_THE_STATE]
    found: set[str] = set()
    for path in paths:
        with suppress(OSError, UnicodeDecodeError):
            text = path.read_text(encoding="utf-8")
            found.update(piece for piece in (text.strip(), *text.split()) if len(piece) >= _LEAST_SECRET)
    return sorted(found, key=len, reverse=True)


def _log() -> str:
    if shutil.which("journalctl") is None:
        return "this host has no journalctl\n"
    command = ["journalctl", "-u", "presaged", "-n", str(_LOG_LINES), "-o", "short-iso", "--no-pager", "--no-hostname"]
    done = subprocess.run(  # noqa: S603 - words of our own
        command, capture_output=True, timeout=_LOG_SECONDS, check=False, stdin=subprocess.DEVNULL
    )
    return (done.stdout or done.stderr).decode("utf-8", "replace")


def _versions(loaded: Loaded) -> dict[str, object]:
    packages = {}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    folder = loaded.state_directory
    sizes = {}
    with suppress(OSError):
        sizes = {
            str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
        }
    return {
        "presaged": __version__,
        "python": sys.version.split()[0],
        "kernel": platform.release(),
        "machine": platform.machine(),
        "packages": packages,
        "schemas": {name: _schema(folder / name) for name in ("history.db", "state.db")},
        "bytes": sizes,
    }


def _schema(path: Path) -> object:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2)) as database:
            return database.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        return f"not to be had: {error}"


def _readme(members: Members) -> str:
    lines = [f"{name}: {_ABOUT[name]}" for name in members]
    left_out = "Left out: samples, models, alerts and notifications, secrets, other programs' log lines."
    return "\n".join((f"Support bundle of presaged {__version__}", "", *lines, "", left_out, ""))


def _write(file: Path, members: Members) -> None:
    folder = file.name.removesuffix(".gz").removesuffix(".tar")
    with private_archive(file) as archive:
        for name, text in members.items():
            content = text.encode("utf-8", "replace")
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size, member.mtime, member.mode = len(content), int(time.time()), 0o600
            archive.addfile(member, io.BytesIO(content))
