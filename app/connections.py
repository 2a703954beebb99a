"""Limits on the number of open connections and on unread response data. Clients that hold the most are cut first."""

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
        """True if no request is being handled."""

    @property
    def unread(self) -> int:
        """Bytes buffered in this process that the client has not read."""

    def cut(self) -> None:
        """Closes it at once."""


class Connections:
    """A server's open connections, oldest first. Not thread-safe: use it on the event loop only."""

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
        """Adds a connection. If there are too many, closes the longest-idle one of the client with the most, or this
        one."""
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
        """Notes that the connection is in use again, which makes it the most recently used."""
        if connection in self._all:
            del self._all[connection]
            self._all[connection] = None

    def writing_paused(self) -> None:
        """If too much is unread in total, closes the fullest connections of the client that leaves the most unread."""
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
    """Returns freed memory to the system, if the C library is glibc: large responses leave gaps in its heap, and it
    would keep several times what is in use."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library; none by that name on Windows
        ctypes.CDLL(None).malloc_trim(0)
