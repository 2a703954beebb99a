"""How many pictures one client may have made.

The generic cell rate algorithm (ITU-T I.371) with one number a client. The library for it, `limits`, would bring two
more packages, one of them compiled, for what these lines do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from app.errors import ApiError

MINUTE = 60.0


class Allowance:
    """So many pictures a minute for each client, all at once or spread out. Used from the event loop alone."""

    def __init__(
        self,
        a_minute: int,
        refused: Callable[[str, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`a_minute` 0 sets no limit; `refused` hears of every refusal, as `Watch.refused` does."""
        self._a_minute = a_minute
        self._refused = refused
        self._clock = clock
        self._paid_until: dict[str, float] = {}  # the one who has not ordered for longest first

    def spend(self, client: str, pictures: int) -> None:
        """ApiError 429 where this client has had its share."""
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
        """Clients who owe nothing any more. Whoever owes something has ordered within the last minute."""
        while (oldest := next(iter(self._paid_until))) and self._paid_until[oldest] <= now:
            del self._paid_until[oldest]
