"""Log lines: JSON for machines, plain on a terminal, each with the id of the request that it belongs to."""

from __future__ import annotations

import contextvars
import logging
import logging.config
import sys

request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)


class _OfRequest(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


def configure(level: str) -> None:
    """Everything to stderr; `level` is that of our own modules, the others' is warning."""
    terminal = sys.stderr.isatty()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"of_request": {"()": _OfRequest}},
            "formatters": {
                "plain": {"format": "%(asctime)s %(levelname)s %(message)s", "datefmt": "%H:%M:%S"},
                "json": {
                    "()": "pythonjsonlogger.json.JsonFormatter",
                    "format": "{levelname}{name}{message}{request_id}",
                    "style": "{",
                    "rename_fields": {"levelname": "level", "name": "logger"},
                    "timestamp": "time",
                    "json_ensure_ascii": False,
                },
            },
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "stream": "ext://sys.stderr",
                    "filters": ["of_request"],
                    "formatter": "plain" if terminal else "json",
                }
            },
            "loggers": {"app": {"level": level.upper()}},
            "root": {"level": "WARNING", "handlers": ["stderr"]},
        }
    )
