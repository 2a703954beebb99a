"""Who is served next where many clients wait, so that nobody's share depends on how much others ask for.

Deficit round robin (M. Shreedhar and G. Varghese, "Efficient Fair Queueing Using Deficit Round Robin", SIGCOMM 1995):
each client has a line of its own, and the lines take turns, in each of which as much is served as a quantum says.
Items cost the same here, so that the deficit is what is left of a turn. As in FQ-CoDel (RFC 8290, section 4.2), a
client who had no line is served next, and a line that has emptied keeps its place until its turn comes again, so that
coming back at once wins nothing. Unlike there, it is not served next twice before another line's turn has ended:
a crowd in which everybody is new cannot starve those who wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)  # a client
T = TypeVar("T", bound=Hashable)  # what it waits for


class FairQueue(Generic[C, T]):
    """Items in lines, one a client. Every operation takes constant time, once for each item and client that comes."""

    def __init__(self, quantum: int) -> None:
        """`quantum`: the items that a line is served in its turn."""
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
        """At the end of this client's line."""
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
        """Whether an item is in this client's line."""
        return item in self._lines.get(client, ())

    def discard(self, client: C, item: T) -> bool:
        """Take an item out of this client's line; False where it is not in it."""
        line = self._lines.get(client, {})
        if item not in line:
            return False
        del line[item]
        self._size -= 1
        return True

    def pop(self) -> T:
        """The item that is served next. IndexError where nothing waits."""
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
        """The clients whose lines are not empty, with how many items wait in each."""
        return ((client, len(line)) for client, line in self._lines.items() if line)

    def length(self, client: C) -> int:
        return len(self._lines.get(client, ()))

    def latest(self, client: C) -> Iterator[T]:
        """This client's items, the last one first. The queue must not be changed meanwhile."""
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
