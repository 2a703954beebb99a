"""How many connections are open, and how much of what was sent lies unread: bounded, and whoever has most gives way."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import time
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger(__name__)

QUIET = 60.0  # seconds between two lines in the log
MOST_UNREAD = 128 * 2**20  # bytes, of all connections


class Connection(Protocol):
    @property
    def peer(self) -> str: ...
    @property
    def idle(self) -> bool:
        """No request is in hand."""

    @property
    def unread(self) -> int:
        """Bytes that wait in this process for their reader."""

    def cut(self) -> None:
        """Ends it at once."""


class Connections:
    """All of a server's, the oldest first. Used from the event loop alone."""

    def __init__(
        self, most: float, most_unread: int = MOST_UNREAD, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._most_unread = most_unread
        self._clock = clock
        self._all: dict[Connection, None] = {}
        self._said = -QUIET
        self._unsaid = 0

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: Connection) -> None:
        """Cuts this connection or, of the client with the most of them, the one that has been idle for longest, where
        there are too many."""
        self._all[connection] = None
        if len(self._all) <= self._most:
            return
        counts: dict[str, int] = {}
        for each in self._all:
            counts[each.peer] = counts.get(each.peer, 0) + 1
        most = max(counts, key=counts.__getitem__)
        given_up = next((each for each in self._all if each.peer == most and each.idle), connection)
        self._cut(given_up, f"more than {self._most:g} connections")

    def remove(self, connection: Connection) -> None:
        self._all.pop(connection, None)

    def used(self, connection: Connection) -> None:
        """It has been idle and is no more: of those it is the youngest now."""
        if connection in self._all:
            del self._all[connection]
            self._all[connection] = None

    def writing_paused(self) -> None:
        """Cuts the fullest connections of whoever leaves most unread, where all together leave too much."""
        unread = {each: each.unread for each in self._all}
        while sum(unread.values()) > self._most_unread:
            counts: dict[str, int] = {}
            for each, size in unread.items():
                counts[each.peer] = counts.get(each.peer, 0) + size
            most = max(counts, key=counts.__getitem__)
            fullest = max((each for each in unread if each.peer == most), key=unread.__getitem__)
            del unread[fullest]
            self._cut(fullest, f"more than {self._most_unread:,} bytes that nobody reads")
            _give_back()

    def _cut(self, connection: Connection, why: str) -> None:
        self.remove(connection)
        self._unsaid += 1
        now = self._clock()
        if now - self._said >= QUIET:
            logger.warning("%s: cut %d, the last of %s", why, self._unsaid, connection.peer)
            self._said, self._unsaid = now, 0
        connection.cut()


def _give_back() -> None:
    """What has been freed, to the system, where the C library is glibc: large answers that come and go leave gaps in
    its heap, of which it would keep several times what is in use."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library; none by that name on Windows
        ctypes.CDLL(None).malloc_trim(0)
