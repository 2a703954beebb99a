"""Limits how much of the event loop, and so of the CPUs, one client may use while others wait for pictures.

`app.fair_queue` shares out the model. But pages, cached pictures and refusals also cost CPU time: a client that
requests them continuously keeps a core busy that the model needs. So the loop time of each client's requests is
measured, and once a client has used its share, its next requests wait. Nothing waits while nobody else has a picture in
progress. Requests for which a picture was made do not count, since they have been through the queue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, cast

from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app import clients
from app.errors import ApiError
from app.pages import respond
from app.request_log import PROBES

SHARE = 1 / 8  # of the loop's time
CREDIT = 0.25  # seconds of the loop that a client may take at once: several pages with all that is on them
DEBT = 0.125  # seconds more of what was taken before others came, that are remembered
BESIDES = 0.0005  # seconds a request, about, that are spent on it outside of the application
MOST_WAITING = 128  # requests a client; more are refused


class Account:
    """One client's usage: a leaky bucket that empties by SHARE per second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._even = 0.0  # when nothing will be left in the bucket
        self._usual = 0.001  # seconds of this client's requests
        self.waiting = 0
        self.next = asyncio.Lock()  # held by the first of those who wait

    @property
    def even(self) -> bool:
        return self._even <= self._clock()

    @property
    def delay(self) -> float:
        """Seconds until the next request may run."""
        return max(0.0, self._even - CREDIT / SHARE - self._clock())

    def book(self) -> float:
        """Books the usual cost of a request; it is corrected once the actual cost is known."""
        self._take(self._usual)
        return self._usual

    def settle(self, booked: float, spent: float, *, counts: bool) -> None:
        self._take((spent if counts else 0.0) - booked)
        self._usual += (spent - self._usual) / 8

    def _take(self, seconds: float) -> None:
        now = self._clock()
        self._even = min(max(self._even, now) + seconds / SHARE, now + (CREDIT + DEBT) / SHARE)


class LoopShare:
    """ASGI middleware that applies the limit."""

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._clock = clock
        self._accounts: dict[str, Account] = {}  # the one who has not asked for longest first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        client = clients.client(HTTPConnection(scope))
        account = self._accounts.pop(client, None) or Account(self._clock)
        self._accounts[client] = account
        self._forget()
        if account.waiting >= MOST_WAITING:
            refusal = ApiError(503, "queue_full", retry_after=1, headers={"Connection": "close"})
            unread = {**scope, "query_string": b""}
            await respond(Request(unread), refusal)(scope, receive, send)
            return
        await self._turn(scope, client, account)
        booked, state = account.book(), scope.setdefault("state", {})
        running = _Timed(cast("Coroutine[Any, Any, None]", self._app(scope, receive, send)))
        try:
            await running
        finally:
            account.settle(booked, running.seconds + BESIDES, counts=not state.get("made"))

    async def _turn(self, scope: Scope, client: str, account: Account) -> None:
        if not account.waiting and not account.delay:
            return
        account.waiting += 1
        try:
            async with account.next:
                while (delay := account.delay) and _others_wait(scope, client):
                    await asyncio.sleep(min(delay, 0.1))  # the others may be gone before
        finally:
            account.waiting -= 1

    def _forget(self) -> None:
        """Drops clients that owe nothing any more."""
        while (oldest := next(iter(self._accounts.values()))).even and not oldest.waiting and len(self._accounts) > 1:
            del self._accounts[next(iter(self._accounts))]


def _others_wait(scope: Scope, client: str) -> bool:
    pictures = getattr(scope["app"].state, "pictures", None)
    return pictures is not None and pictures.engine.has_others(client)


class _Timed(Awaitable[None]):
    """Runs a coroutine, and measures how long it occupies the thread, excluding time spent waiting."""

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self.seconds = 0.0

    def __await__(self) -> Generator[Any, Any, None]:
        fault: BaseException | None = None
        while True:
            began = time.thread_time()
            try:
                waited_for = self._coroutine.send(None) if fault is None else self._coroutine.throw(fault)
            except StopIteration:
                return
            finally:
                self.seconds += time.thread_time() - began
            try:
                yield waited_for
                fault = None
            except BaseException as error:  # of any kind: it is the coroutine's
                fault = error
