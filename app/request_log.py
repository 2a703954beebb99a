"""Gives every request an id, counts and times it, and logs one line; unexpected exceptions are handled here.

The line has the route and not the URL, since URLs contain what visitors typed. Only the level debug logs that.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.engine import EngineClosed
from app.logs import request_id
from app.metrics import Metrics
from app.pages import respond

logger = logging.getLogger(__name__)

ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
PROBES = ("/healthz", "/readyz", "/metrics")  # machines ask these every few seconds


class Access:
    """ASGI middleware that logs requests."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        id = given if ID.fullmatch(given) else uuid.uuid4().hex
        request_id.set(id)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = id
            await send(message)

        began = time.monotonic()
        try:
            with self._metrics.in_progress.track_inprogress():
                await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:  # the server ends, and can wait no longer for this request
            if not status:
                await respond(Request(scope), EngineClosed())(scope, receive, send_with_id)
            raise
        except Exception as error:
            logger.exception("unforeseen")
            if status:
                raise  # half an answer must not look like a whole one: the server breaks the connection off
            await respond(Request(scope), error)(scope, receive, send_with_id)
        finally:
            self._note(scope, status or 499, time.monotonic() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # A mounted app has no route of its own, but the path that it is mounted at.
        mounted = scope["root_path"].removeprefix(scope.get("app_root_path", scope["root_path"]))
        route = getattr(scope.get("route"), "path", mounted or "none")
        self._metrics.answered(scope["method"], route, status, seconds)
        fields = {
            "method": scope["method"],
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
            "client": scope["client"][0] if scope.get("client") else None,
        }
        if logger.isEnabledFor(logging.DEBUG):
            fields["query"] = scope["query_string"].decode("latin-1")
        logger.log(
            logging.DEBUG if route in PROBES else logging.INFO,
            "%s %s %d, %.3f s", scope["method"], route, status, seconds,
            extra=fields,
        )  # fmt: skip
