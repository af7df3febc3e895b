"""The configuration: one typed model, read from TOML, all errors at once with place and remedy.

Discovery: `--config`, $PRESAGED_CONFIG, /etc/presaged/config.toml, defaults; beside the file found,
`NAME.local.toml` and then `conf.d/*.toml` are laid over it. Never the working directory. The file
`config.toml` of the repository is generated from this model (`render_default`), every key with its
default and comment. Secrets are never in it, only the names of files that hold them.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from daemon.config_alerting import Alerting, Privacy
from daemon.config_collectors import Application, check_applications
from daemon.config_removed import replace_removed
from daemon.config_section import Days, Seconds, Section
from daemon.errors import ConfigError, did_you_mean

_MOST_BYTES_PER_SECOND = 1e13

SYSTEM_FILE = Path("/etc/presaged/config.toml")

# `daemon.collectors.NAMES` again (a test compares them): `presage` reads the configuration without loading NumPy.
COLLECTOR_NAMES = (
    "cpu", "memory", "pressure", "disk", "filesystem", "network", "tcp", "kernel", "process", "temperature",
    "latency", "unit", "limits", "changes", "errors", "self", "application",
)  # fmt: skip


class Host(Section):
    """How this host is called in notifications."""

    name: str = Field("", description='Name in notifications; "" = the host name.', max_length=255)


class Sampling(Section):
    """How often the host is read."""

    interval_seconds: int = Field(
        30, ge=1, le=3600, description="Seconds between two samples. History of another interval is not comparable."
    )


class Latency(Section):
    """Connect times as a user of the network would see them."""

    targets: tuple[str, ...] = Field(
        (), description='"host:port" to connect to at each sample; the default gateway is always measured.'
    )

    @field_validator("targets", mode="after")
    @classmethod
    def _host_and_port(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        for target in targets:
            host, _, port = target.rpartition(":")
            if not host or not _is_port(port) or int(port) == 0:
                raise ValueError(f'{toml_value(target)} is not "host:port"')
        return targets


class Collectors(Section):
    """Which sources are read, and what of them is left out."""

    disable: tuple[str, ...] = Field((), description=f"Sources not to read, of: {', '.join(COLLECTOR_NAMES)}.")
    exclude_disks: tuple[str, ...] = Field((), description='Patterns of disks to leave out, like "sd?".')
    exclude_mounts: tuple[str, ...] = Field((), description='Patterns of mount points to leave out, like "/mnt/*".')
    exclude_interfaces: tuple[str, ...] = Field((), description='Patterns of interfaces to leave out, like "tun*".')
    latency: Latency = Latency()
    application: tuple[Application, ...] = Field((), description="Figures that applications tell.")

    _applications = field_validator("application", mode="after")(check_applications)

    @field_validator("disable", mode="after")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in COLLECTOR_NAMES:
                hint = did_you_mean(name, COLLECTOR_NAMES)
                raise ValueError("; ".join(filter(None, (f"there is no collector {toml_value(name)}", hint))))
        return names


class Retention(Section):
    """How long history is kept: counted in rows of each tier, so that a wrong clock deletes nothing."""

    raw_days: Days = Field(30, description="Every sample.")
    five_minutes_days: Days = Field(180, description="Mean, min, max, p95, last and count over 5 minutes.")
    hours_days: Days = Field(1095, description="The same over an hour.")
    days_days: Days = Field(3650, description="The same over a day.")


class Storage(Section):
    """Where state is kept."""

    directory: str = Field(
        "",
        description="Folder of databases and models; relative to this file. "
        '"" = $STATE_DIRECTORY (set by systemd), else /var/lib/presaged.',
    )
    retention: Retention = Retention()


class Anomaly(Section):
    """What is unusual on this host."""

    episodes_per_week: float = Field(
        7.0, gt=0, le=1000, description="Ceiling of recorded episodes a week. A ceiling, never a target."
    )
    learning_days: int = Field(
        7, ge=0, le=365, description="Until so many days have been seen, anomalies are records and are not sent."
    )
    notify: Literal["with_impact", "always", "never"] = Field(
        "with_impact",
        description='Send an anomaly "with_impact" (together with a sign of harm), "always", or "never".',
    )
    score_threshold: float = Field(0.8, gt=0, lt=1, description="Where the threshold stands on the shown score, 0..1.")
    network_after_samples: int = Field(
        2880, ge=60, le=10_000_000, description="Samples before the network is trained (2880 = a day at 30 s)."
    )
    threshold_interval_seconds: Seconds = Field(43_200, description="How often the threshold follows the last 7 days.")


class Capacity(Section):
    """When resources run out."""

    free_floor_ratio: float = Field(
        0.02, ge=0, le=0.5, description="A file system, memory or swap with a smaller share free counts as used up."
    )
    exclude: tuple[str, ...] = Field(
        (), description='Patterns of resources not to forecast, like "/mnt/*", "* inodes", "swap" or "eth1 *".'
    )
    link_bytes_per_second: dict[str, float] = Field(
        {}, description="Speed of interfaces that do not tell it or tell a wrong one, like { eth0 = 125000000 }."
    )

    @field_validator("link_bytes_per_second", mode="after")
    @classmethod
    def _positive(cls, speeds: dict[str, float]) -> dict[str, float]:
        for interface, speed in speeds.items():
            if not 0 < speed < _MOST_BYTES_PER_SECOND:
                raise ValueError(f"{toml_value(interface)} has no such speed; 1 Gbit/s is 125000000")
        return speeds


class Drift(Section):
    """From which share of drifted signals on `presage drift` warns. It is shown, and never sent by default."""

    warning: float = Field(0.1, gt=0, le=1, description="Share of the signals from which on it is a warning.")
    critical: float = Field(0.2, gt=0, le=1, description="Share of the signals from which on it is critical.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.critical < self.warning:
            raise ValueError("critical must not be below warning")
        return self


class Learning(Section):
    """When the host's own model is trained again."""

    interval_days: Days = Field(7, description="Days after which the model is trained again in any case.")
    drift: float = Field(0.15, gt=0, le=1, description="Share of drifted signals at which it is trained again.")
    degradation: float = Field(
        0.05,
        gt=0,
        le=1,
        description="Loss of performance (0 to 1) since it began to serve at which it is trained again.",
    )
    accuracy: float = Field(0.02, ge=0, le=1, description="Performance below which a model is told to be inaccurate.")
    latency: float = Field(
        0.01,
        gt=0,
        le=1,
        description="Share of the sampling interval that scoring one sample may take; above, it is slow.",
    )
    new_samples: int = Field(
        10_000, ge=1000, le=100_000_000, description="New samples after which it is trained again."
    )
    approval: Literal["rule", "hand"] = Field(
        "rule", description='"rule" = a challenger that passes serves; "hand" = it waits for `presage models promote`.'
    )
    memory_bytes: int = Field(
        2_000_000_000, ge=300_000_000, description="Most address space the training process may take."
    )


class Http(Section):
    """The listener of /metrics, /healthz, /readyz and the API."""

    listen: str = Field(
        "127.0.0.1:9736", description="Address and port. Beyond loopback, all but /healthz needs the token."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Names in the Host header to answer to, beside the address itself and localhost."
    )
    external_url: str = Field(
        "",
        description='How this is reached from afar, like "https://web1.example.org": notifications then have links.',
    )

    @field_validator("listen", mode="after")
    @classmethod
    def _address(cls, listen: str) -> str:
        split_address(listen)
        return listen

    @field_validator("external_url", mode="after")
    @classmethod
    def _base(cls, url: str) -> str:
        if url and not re.fullmatch(r"https?://[^/\s?#@]+", url.rstrip("/")):
            raise ValueError('give scheme and host alone, like "https://web1.example.org"')
        return url.rstrip("/")


class Metrics(Section):
    """What /metrics holds."""

    signals: int = Field(88, ge=0, le=10_000, description="Most signals exported as series; the rest stay inside.")
    resources: int = Field(
        5,
        ge=0,
        le=1000,
        description=(
            "Most resources exported with their forecasts, the most endangered; 18 series each. "
            "The use of memory and swap is always exported."
        ),
    )


class Log(Section):
    """What is written, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severity written.")
    format: Literal["auto", "json", "console"] = Field(
        "auto", description='"auto" = readable on a terminal, JSON otherwise.'
    )


class Compute(Section):
    """What computes the networks."""

    backend: Literal["auto", "compiled", "jit", "numpy"] = Field(
        "auto",
        description='"auto" = kernels from the wheel, else compiled here by Numba, else NumPy; all score the same.',
    )


class Config(Section):
    """The whole configuration of presaged."""

    config_version: Literal[1] = Field(1, description="Version of this file's keys.")
    host: Host = Host()
    sampling: Sampling = Sampling()
    collectors: Collectors = Collectors()
    storage: Storage = Storage()
    anomaly: Anomaly = Anomaly()
    capacity: Capacity = Capacity()
    drift: Drift = Drift()
    learning: Learning = Learning()
    alerting: Alerting = Alerting()
    http: Http = Http()
    privacy: Privacy = Privacy()
    metrics: Metrics = Metrics()
    log: Log = Log()
    compute: Compute = Compute()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where it came from; `state_directory` and `cache_directory` are absolute."""

    config: Config
    files: tuple[Path, ...]
    state_directory: Path
    cache_directory: Path
    warnings: tuple[str, ...] = ()  # one line each, of keys that will be refused one day


def split_address(listen: str) -> tuple[str, int]:
    """Return host and port of "host:port" or "[v6]:port". Raises ValueError with what would be right."""
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not _is_port(port):
        raise ValueError(f'{toml_value(listen)} is not "address:port", like "127.0.0.1:9736"')
    return host, int(port)


def _is_port(text: str) -> bool:
    """ASCII digits only: `int` refuses or translates what other scripts call digits."""
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and int(text) < 65_536  # noqa: PLR2004 - the range of ports


def discover(explicit: Path | None, environment: Mapping[str, str] | None = None) -> list[Path]:
    """Return the files that make up the configuration, in the order in which they are laid over each other.

    Raises ConfigError when a file that was asked for by name does not exist.
    """
    environment = os.environ if environment is None else environment
    named = explicit or (Path(environment["PRESAGED_CONFIG"]) if environment.get("PRESAGED_CONFIG") else None)
    if named is not None and not _is_file(named):
        origin = "--config" if explicit else "$PRESAGED_CONFIG"
        raise ConfigError([f"{named}: there is no such file (named by {origin})"])
    main = named or (SYSTEM_FILE if _is_file(SYSTEM_FILE) else None)
    if main is None:
        return []
    local = main.with_name(f"{main.stem}.local.toml")
    parts = sorted(part for part in (main.parent / "conf.d").glob("*.toml") if not part.name.startswith("."))
    return [main, *([local] if _is_file(local) else []), *parts]


def _is_file(path: Path) -> bool:
    """Like `Path.is_file`, but a folder that may not be entered is told, never skipped nor a traceback."""
    try:
        return path.is_file()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error


def load(explicit: Path | None = None, environment: Mapping[str, str] | None = None) -> Loaded:
    """Read and check the configuration. Raises ConfigError that names every problem at once."""
    environment = os.environ if environment is None else environment
    files = discover(explicit, environment)
    problems: list[str] = []
    tables: list[tuple[Path, dict[str, Any]]] = []
    for file in files:
        try:
            tables.append((file, tomllib.loads(file.read_text(encoding="utf-8"))))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            problems.append(f"{file}: this is not TOML: {error}")
        except RecursionError:
            problems.append(f"{file}: this is nested too deeply")
        except OSError as error:
            problems.append(f"{file}: cannot be read: {error.strerror}")
    merged: dict[str, Any] = {}
    warnings: list[str] = []
    for file, table in tables:
        told = replace_removed(table)
        warnings += [f"{_at(file, place)}: {_dotted(place)} {words}" for place, words in told.warnings]
        problems += [f"{_at(file, place)}: {_dotted(place)}: {words}" for place, words in told.problems]
        merged = _lay_over(merged, table)
    try:
        config = Config.model_validate(_tuples(merged))
    except ValidationError as error:
        problems += [_explain(item, tables) for item in error.errors()]
    if problems:
        raise ConfigError(problems)
    base = files[0].parent.resolve() if files else Path("/")
    state = _state_directory(config, base, environment)
    cache = (
        Path(environment["CACHE_DIRECTORY"].split(":")[0]) if environment.get("CACHE_DIRECTORY") else state / "cache"
    )
    return Loaded(config, tuple(files), state, cache, tuple(warnings))


def _state_directory(config: Config, base: Path, environment: Mapping[str, str]) -> Path:
    if config.storage.directory:
        return base / config.storage.directory
    if environment.get("STATE_DIRECTORY"):
        return Path(environment["STATE_DIRECTORY"].split(":")[0])
    return Path("/var/lib/presaged")


def _lay_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Tables merge key by key, everything else is replaced whole."""
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        out[key] = _lay_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out


def _tuples(value: Any) -> Any:  # noqa: ANN401 - TOML is untyped until the model has read it
    """TOML arrays as the tuples that a strict, frozen model wants."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _explain(item: Mapping[str, Any], tables: list[tuple[Path, dict[str, Any]]]) -> str:
    """One line: file and line, key, what is wrong, what would be right. Never the value of an unknown key."""
    path = [str(part) for part in item["loc"]]
    key = _dotted(item["loc"])
    where = _place(item["loc"], tables)
    match item["type"]:
        case "extra_forbidden":
            here = list(_fields(path[:-1]))
            remedy = did_you_mean(path[-1], here, f"known here: {', '.join(here)}", likeness=0.5)
            return f"{where}: {key}: unknown key; {remedy}"
        case "missing":
            return f"{where}: {key}: is missing and has no default"
        case "value_error":
            return f"{where}: {key}: {str(item['msg']).removeprefix('Value error, ')}"
        case _:
            message = str(item["msg"])
            message = message[0].lower() + message[1:]
            for theirs, ours in _WORDS:
                message = re.sub(theirs, ours, message)
            given = item["input"]
            shown = isinstance(given, int | float | str) and len(str(given)) < 60  # noqa: PLR2004 - one line
            return f"{where}: {key}: {message}{f', not {toml_value(given)}' if shown else ''}"


# From pydantic's words to those of TOML.
_WORDS = (
    ("^input should", "must"),
    ("a valid tuple", "an array"),
    (r"valid dictionary or (?:object to extract fields from|instance of \w+)", "table"),
    ("valid integer", "whole number"),
    ("valid (string|number|boolean)", r"\1"),
    ("'", '"'),
)


def _fields(path: list[str]) -> tuple[str, ...]:
    """Names of the keys of the table at `path`."""
    model: type[BaseModel] = Config
    for part in path:
        if part.isdigit():
            continue
        field = model.model_fields.get(part)
        inner = _section_of(field.annotation) if field else None
        if inner is None:
            return ()
        model = inner
    return tuple(model.model_fields)


def _section_of(annotation: Any) -> type[Section] | None:  # noqa: ANN401 - annotations are of any type
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if get_origin(annotation) is tuple:
        return _section_of(get_args(annotation)[0])
    return None


def _place(location: tuple[Any, ...], tables: list[tuple[Path, dict[str, Any]]]) -> str:
    """The last file that sets the key, or else the table around it, and the line where it can be found."""
    for end in range(len(location), 0, -1):
        for file, table in reversed(tables):
            value: Any = table
            for part in location[:end]:
                in_table = isinstance(value, dict) and part in value
                if not in_table and not (isinstance(value, list) and isinstance(part, int) and part < len(value)):
                    break
                value = value[part]
            else:
                return _at(file, location[:end])
    return str(tables[-1][0]) if tables else "defaults"


def _at(file: Path, location: tuple[Any, ...]) -> str:
    """The file, and the line of the key or of what is around it."""
    lines = (_line(file, location[:cut]) for cut in range(len(location), 0, -1))
    line = next((line for line in lines if line), None)
    return f"{file}:{line}" if line else str(file)


def _dotted(location: tuple[Any, ...]) -> str:
    return ".".join(part if part.isprintable() else toml_value(part) for part in map(str, location))


def _line(file: Path, location: tuple[Any, ...]) -> int | None:
    """The line of a key, of a table's header, or of the n-th block of an array of tables."""
    names = ".".join(part for part in location if isinstance(part, str))
    block = next((part for part in location if isinstance(part, int)), 0)
    table, blocks = "", dict[str, int]()
    for number, text in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
        if header := re.match(r"\s*(\[{1,2})\s*([^\[\]]+?)\s*\]", text):
            table = header[2]
            if header[1] == "[[":
                blocks[table] = blocks.get(table, -1) + 1
            if table == names and blocks.get(table, 0) == block:
                return number
        elif (
            (key := re.match(r'\s*"?([\w.-]+)"?\s*=', text))
            and f"{table}.{key[1]}".lstrip(".") == names
            and blocks.get(table, block) == block
        ):
            return number
    return None


def render_default() -> str:
    """Return config.toml: every key of the model, its default and its comment."""
    head = (
        "# presaged: every key with its default. Generated from daemon/config.py by `make config`; do not edit here.\n"
        "# Your own values go into /etc/presaged/config.toml or conf.d/*.toml beside it;\n"
        "# in a checkout into config.local.toml.\n"
    )
    return head + "\n".join(_render(Config, "")).rstrip() + "\n"


def _render(model: type[BaseModel], path: str) -> Iterator[str]:
    tables: list[tuple[str, type[Section], bool]] = []
    if path:
        yield ""
        yield f"# {(model.__doc__ or '').splitlines()[0]}"
        yield f"[{path}]"
    for name, field in model.model_fields.items():
        inner = _section_of(field.annotation)
        if inner is None:
            yield f"# {field.description}"
            yield f"{name} = {toml_value(field.default)}"
        else:
            tables.append((f"{path}.{name}".lstrip("."), inner, get_origin(field.annotation) is tuple))
    for name, inner, repeated in tables:
        if repeated:
            yield ""
            yield f"# {(inner.__doc__ or '').splitlines()[0]} One block for each."
            yield f"# [[{name}]]"
            for key, field in inner.model_fields.items():
                example = ("...",) if get_origin(field.annotation) is tuple else "..."
                value = toml_value(example if field.is_required() else field.default)
                yield f"# {key} = {value}  # {field.description}"
        else:
            yield from _render(inner, name)


def toml_value(value: object) -> str:
    """Return a text, number, truth value, or an array or table of them, as TOML writes it."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # all else JSON escapes alike
        case list() | tuple():
            return f"[{', '.join(toml_value(item) for item in value)}]"
        case dict():
            return f"{{{', '.join(f'{toml_value(key)} = {toml_value(item)}' for key, item in value.items())}}}"
        case _:
            return str(value)
