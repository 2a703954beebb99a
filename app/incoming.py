"""Normalizes incoming requests for the routes: HEAD becomes GET without a body, an absolute target becomes a path, and
the host comes from a trusted proxy's headers."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]+)(/.*)?", re.DOTALL)
_HOST = re.compile(rb"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")


class HeadAndAbsoluteTargets:
    """ASGI middleware that supports HEAD wherever there is GET (RFC 9110, section 9.3.2), and targets in absolute form,
    whose host takes precedence over the header (RFC 9112, section 3.2.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if target := _ABSOLUTE.fullmatch(scope["raw_path"]):
            scope["raw_path"] = target[2] or b"/"
            scope["path"] = unquote(scope["raw_path"].decode("ascii"))
            _set_header(scope, b"host", target[1])
        if scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        # In place, since the routes leave in this scope what is logged after the answer.
        scope["method"] = "GET"
        try:
            await self._app(scope, receive, send_head)
        finally:
            scope["method"] = "HEAD"


class ForwardedHeaders(ProxyHeadersMiddleware):
    """Uvicorn's middleware for X-Forwarded-For and X-Forwarded-Proto, plus X-Forwarded-Host.

    With several hosts or protocols, one per proxy on the way, the first is the one that the client asked for.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        client = scope.get("client")
        if scope["type"] == "http" and (client[0] if client else None) in self.trusted_hosts:
            if proto := _first(scope, b"x-forwarded-proto"):
                _set_header(scope, b"x-forwarded-proto", proto.lower())
            if _HOST.fullmatch(host := _first(scope, b"x-forwarded-host")):
                _set_header(scope, b"host", host)
        await super().__call__(scope, receive, send)


def _first(scope: Scope, name: bytes) -> bytes:
    """The first entry of a comma-separated header."""
    values: list[bytes] = [value for key, value in scope["headers"] if key == name]
    return b",".join(values).partition(b",")[0].strip()


def _set_header(scope: Scope, name: bytes, value: bytes) -> None:
    scope["headers"] = [*((key, old) for key, old in scope["headers"] if key != name), (name, value)]
