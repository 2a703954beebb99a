"""Uvicorn with time limits on slow clients, uniform errors for malformed requests, and graceful draining."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import re
import socket
import struct
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from app import descriptors
from app.connections import QUIET, Connections
from app.errors import ApiError
from app.settings import Settings

logger = logging.getLogger(__name__)

MAX_HEAD_BYTES = 2**14  # of a request: its first line and its headers
MAX_HEADERS = 100
ANSWERING = 1.0  # seconds, when the time to drain is over
BACKLOG = 100  # connections that wait to be taken: asyncio takes as many in one step of the loop
UNREAD = 2**18  # bytes of an answer that wait in the system for their reader, about, a connection
PIECE = 2**16  # bytes of an answer that a client has to take in, in its time


def config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Uvicorn's config. Logging is left alone, since the process has set it up."""

    class Protocol(_Protocol):
        patience = settings.patience
        open = Connections(min(settings.connections, descriptors.for_connections()))

    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="asyncio",  # and not uvloop, where that happens to be installed: it is faster at nothing here
        http=Protocol,
        backlog=BACKLOG,
        ws="none",
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        log_config=None,
        access_log=False,  # it would write down what visitors type; app.request_log leaves that out
        proxy_headers=False,  # uvicorn believes whoever is on this machine; app.application asks the settings
        server_header=False,
        timeout_graceful_shutdown=settings.drain,
    )


class Server(uvicorn.Server):
    """A server that on SIGTERM first refuses new orders for as long as accepted ones take, and then stops listening. A
    second SIGINT cuts that short."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(_note)
        await super().startup(sockets)
        if self.started and sockets is None:
            for server in self.servers:
                for listening in server.sockets:  # connections have it from there
                    # The system doubles it, and without it lets an unread answer grow to 4 MiB.
                    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD // 2)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        engine = self.config.app.state.pictures.engine  # type: ignore[union-attr]
        engine.refuse()
        now = asyncio.get_running_loop().time
        deadline = now() + (self.config.timeout_graceful_shutdown or 0)
        while engine.depth and not self.force_exit and now() < deadline:
            await asyncio.sleep(0.02)
        # Uvicorn waits once more, for the answers: in what is left of the time, or in the moment that it takes to tell
        # those whose pictures will not be made.
        if engine.depth:
            engine.abandon()
        left = 0.0 if self.force_exit else deadline - now()
        self.config.timeout_graceful_shutdown = max(ANSWERING, left)  # type: ignore[assignment]
        self.force_exit = False  # a further signal sets it again
        await super().shutdown(sockets)


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """asyncio's default exception handler, except that running out of descriptors logs a line instead of a traceback
    per connection."""
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
        global _noted
        if loop.time() - _noted >= QUIET:
            _noted = loop.time()
            logger.error("no connection can be taken: %s", error)
    else:
        loop.default_exception_handler(context)


_noted = -QUIET


class _Connection(h11.Connection):
    """Checks the size of a request's headers before they are parsed; h11 itself does so only while they are
    incomplete."""

    head_too_large = False

    def next_event(self) -> Any:
        if self.their_state is h11.IDLE:
            data = self.trailing_data[0]
            end = re.search(rb"\n\r?\n", data[:MAX_HEAD_BYTES])
            lines = data.count(b"\n", 0, end.end() if end else MAX_HEAD_BYTES)
            if (end is None and len(data) > MAX_HEAD_BYTES) or lines > MAX_HEADERS + 2:
                self.head_too_large = True
                raise h11.RemoteProtocolError("the head is too large", error_status_hint=431)
        return super().next_event()


class _Protocol(H11Protocol):
    """HTTP/1.1 with limits on how long a client may keep a connection waiting.

    Uvicorn waits indefinitely for the rest of a request's headers, and for a client to read its response. Request
    bodies have their own limit, in app.security.
    """

    patience: float
    open: Connections

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = _Connection(h11.SERVER, MAX_HEAD_BYTES)
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # by default 64 KiB may stay unread without a word
        self._time_the_head()
        self.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.open.remove(self)
        self._head_timer = _stopped(self._head_timer)
        self._read_timer = _stopped(self._read_timer)

    @property
    def peer(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def unread(self) -> int:
        return self.transport.get_write_buffer_size()

    def cut(self) -> None:
        # By a reset: what lies unread in the system's buffer would wait there for its reader, for minutes more.
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def handle_events(self) -> None:
        super().handle_events()
        self._time_the_head()
        if not self.idle:
            self.open.used(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.open.writing_paused()
        self._await_reading(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_timer = _stopped(self._read_timer)

    def _await_reading(self, unread: int) -> None:
        """Gives the client time to read a piece of what is unread, and then the next one."""

        def due() -> None:
            left = self.transport.get_write_buffer_size()
            if left <= unread - PIECE:
                self._await_reading(left)
            else:
                self.cut()

        self._read_timer = self.loop.call_later(self.patience, due)

    def send_400_response(self, msg: str) -> None:
        if self.conn.head_too_large:  # type: ignore[attr-defined]
            self._refuse(ApiError(431, "head_too_large", most=MAX_HEAD_BYTES, count=MAX_HEADERS))
        else:
            self._refuse(ApiError(400, "bad_request"))

    def _time_the_head(self) -> None:
        """Runs a timer while a request's headers are arriving, or an answered one's body is still to come."""
        idle = self.timeout_keep_alive_task is not None  # between two requests: uvicorn's own timer runs
        in_hand = self.cycle is not None and not self.cycle.response_complete
        if idle or in_hand or self.transport.is_closing():
            self._head_timer = _stopped(self._head_timer)
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.patience, self._too_slow)

    def _too_slow(self) -> None:
        if not self.conn.trailing_data[0]:  # browsers open connections in advance and send nothing
            self.transport.close()
            return
        self._refuse(ApiError(408, "too_slow", seconds=f"{self.patience:g}"))

    def _refuse(self, error: ApiError) -> None:
        """Sends the connection's last response, if one can still be sent."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(error.body("en"), ensure_ascii=False).encode()
            headers = [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
            ]
            for event in (
                h11.Response(status_code=error.status, headers=headers), h11.Data(data=body), h11.EndOfMessage()
            ):  # fmt: skip
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _stopped(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    if timer is not None:
        timer.cancel()
    return None
