"""Decides which of many waiting clients is served next, so that nobody's share depends on how much others ask for.

Deficit round robin (M. Shreedhar and G. Varghese, "Efficient Fair Queueing Using Deficit Round Robin", SIGCOMM 1995):
each client has its own line, and the lines take turns, each serving up to a quantum of items. All items cost the same
here, so the deficit is just the rest of a turn. As in FQ-CoDel (RFC 8290, section 4.2), a client that had no line is
served next, and an emptied line keeps its place until its turn comes round again, so that returning at once gains
nothing. Unlike there, a line is not served next twice before another line's turn has ended: a stream of new clients
cannot starve those already waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)  # a client
T = TypeVar("T", bound=Hashable)  # what it waits for


class FairQueue(Generic[C, T]):
    """Items in one line per client. Every operation takes amortized constant time per item and client."""

    def __init__(self, quantum: int) -> None:
        """`quantum`: number of items served from a line per turn."""
        self._quantum = quantum
        self._lines: dict[C, dict[T, None]] = {}  # dicts as ordered sets: an item leaves from any place
        self._turns: deque[C] = deque()  # every client of _lines once; the first one's turn is now, or next
        self._left: dict[C, int] = {}  # of each client's turn
        self._jumper: C | None = None  # who was let in front, until the end of that turn
        self._may_jump = True
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, client: C, item: T) -> None:
        """Appends an item to this client's line."""
        if client not in self._lines:
            self._lines[client] = {}
            self._left[client] = self._quantum
            if self._may_jump and self._turns:
                self._turns.appendleft(client)
                self._jumper, self._may_jump = client, False
            else:
                self._turns.append(client)
        self._size += item not in self._lines[client]
        self._lines[client][item] = None

    def has(self, client: C, item: T) -> bool:
        """Returns whether an item is in this client's line."""
        return item in self._lines.get(client, ())

    def discard(self, client: C, item: T) -> bool:
        """Removes an item from this client's line; False if it is not there."""
        line = self._lines.get(client, {})
        if item not in line:
            return False
        del line[item]
        self._size -= 1
        return True

    def pop(self) -> T:
        """Removes and returns the item to serve next. Raises IndexError if nothing is waiting."""
        if not self._size:
            raise IndexError("nothing waits")
        while not (line := self._lines[self._turns[0]]):
            self._forget(self._turns.popleft())
        client = self._turns[0]
        item = next(iter(line))
        del line[item]
        self._size -= 1
        self._left[client] -= 1
        if not (line and self._left[client]):
            self._end_turn()
        return item

    def lengths(self) -> Iterator[tuple[C, int]]:
        """The clients whose lines are not empty, with the number of items in each."""
        return ((client, len(line)) for client, line in self._lines.items() if line)

    def length(self, client: C) -> int:
        return len(self._lines.get(client, ()))

    def latest(self, client: C) -> Iterator[T]:
        """This client's items, last one first. The queue must not be modified while iterating."""
        return reversed(self._lines.get(client, {}))

    def _end_turn(self) -> None:
        client = self._turns[0]
        self._turns.rotate(-1)
        self._left[client] = self._quantum
        if client == self._jumper:
            self._jumper = None
        else:
            self._may_jump = True

    def _forget(self, client: C) -> None:
        del self._lines[client], self._left[client]
        if client == self._jumper:
            self._jumper = None
