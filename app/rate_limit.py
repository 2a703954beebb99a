"""Rate limit on the pictures that one client may order.

Uses the generic cell rate algorithm (ITU-T I.371), with one number per client. The library for it, `limits`, would
bring two more packages, one of them compiled, to replace these few lines.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from app.errors import ApiError

MINUTE = 60.0


class Allowance:
    """An allowance of pictures per minute for each client, at once or spread out. Not thread-safe: use it on the event
    loop only."""

    def __init__(
        self,
        a_minute: int,
        refused: Callable[[str, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`a_minute` 0 sets no limit; `refused` is called on every refusal, like `Watch.refused`."""
        self._a_minute = a_minute
        self._refused = refused
        self._clock = clock
        self._paid_until: dict[str, float] = {}  # the one who has not ordered for longest first

    def spend(self, client: str, pictures: int) -> None:
        """Spends from a client's allowance. Raises ApiError 429 if it is used up."""
        if not (self._a_minute and pictures):
            return
        now = self._clock()
        # An order larger than a whole minute's share would never be taken.
        cost = min(pictures, self._a_minute) * MINUTE / self._a_minute
        paid_until = max(self._paid_until.get(client, now), now) + cost
        over = paid_until - now - MINUTE
        if over > 1e-6:
            self._refused("too_many_pictures", pictures)
            raise ApiError(429, "too_many_pictures", retry_after=math.ceil(over), most=self._a_minute)
        self._paid_until.pop(client, None)
        self._paid_until[client] = paid_until
        self._forget(now)

    def _forget(self, now: float) -> None:
        """Drops clients that owe nothing any more; the others have ordered within the last minute."""
        while (oldest := next(iter(self._paid_until))) and self._paid_until[oldest] <= now:
            del self._paid_until[oldest]
