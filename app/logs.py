"""Logging: JSON lines for machines, plain ones on a terminal, each with the id of its request."""

from __future__ import annotations

import contextvars
import logging
import sys

from pythonjsonlogger.json import JsonFormatter

request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)


def configure(level: str) -> None:
    """Sends all logs to stderr. `level` applies to our own modules; others log warnings and above."""
    handler = logging.StreamHandler()
    handler.addFilter(_with_id)
    if sys.stderr is not None and sys.stderr.isatty():
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    else:
        handler.setFormatter(
            JsonFormatter(
                "{levelname}{name}{message}{request_id}",
                style="{",
                rename_fields={"levelname": "level", "name": "logger"},
                timestamp="time",
                json_ensure_ascii=False,
            )
        )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("app").setLevel(level.upper())


def _with_id(record: logging.LogRecord) -> bool:
    record.request_id = request_id.get()
    return True
