"""Logging: readable lines on a terminal, one JSON object a line elsewhere. Never a secret."""

import logging
import sys
from typing import TextIO

import structlog

from daemon.config import Loaded, Log

_log = structlog.get_logger()


def set_up(settings: Log, stream: TextIO = sys.stderr) -> None:
    """Send all of structlog to `stream`. May be called again: loggers are not cached, so a reload takes effect."""
    readable = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=not readable),
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if readable
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.level.upper())),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def warn_of_keys(loaded: Loaded) -> None:
    """Say which keys of the configuration will be refused one day."""
    for words in loaded.warnings:
        _log.warning("configuration_key_is_gone", words=words)
