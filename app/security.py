"""What every answer carries and every request has to pass, before any route sees it."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ApiError
from app.pages import respond

MAX_BODY_BYTES = 64 * 1024

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": with that, browsers hide the origin of our own forms from us.
    "Referrer-Policy": "same-origin",
}


def from_elsewhere(headers: Headers) -> bool:
    """A browser is sending this on behalf of another site. Clients that are no browsers say nothing of a site."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


class Guard:
    """ASGI middleware: security headers, the limit on bodies, and no forms from other sites."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for key, value in HEADERS.items():
                    headers.setdefault(key, value)
            await send(message)

        too_large = ApiError(413, "body_too_large", most=MAX_BODY_BYTES)
        received = 0

        async def limited_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise too_large
            return message

        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        refusal = None
        if length.isdigit() and (len(length) > 12 or int(length) > MAX_BODY_BYTES):
            refusal = too_large
        elif scope["method"] not in ("GET", "HEAD", "OPTIONS") and from_elsewhere(headers):
            refusal = ApiError(403, "cross_site")
        if refusal is not None:
            await respond(Request(scope), refusal)(scope, receive, send_with_headers)
        else:
            await self._app(scope, limited_receive, send_with_headers)
