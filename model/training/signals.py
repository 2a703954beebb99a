"""Handles signals to stop: the current step is finished and saved first."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT in a list, so that a loop can finish its step and save."""
    seen: list[int] = []

    def handle(number: int, _frame: object) -> None:
        if seen:
            sys.exit(128 + number)  # asked twice: now
        seen.append(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
