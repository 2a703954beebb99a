"""Security headers on every response, and checks that every request passes before it reaches a route."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ApiError
from app.pages import respond
from app.request_parsing import check_count

MAX_BODY_BYTES = 64 * 1024

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; manifest-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": with that, browsers hide the origin of our own forms from us.
    "Referrer-Policy": "same-origin",
}


def from_elsewhere(headers: Headers, allowed: Sequence[str] = ()) -> bool:
    """Returns whether a browser sent this on behalf of another site that is not among the `allowed` origins.

    Clients other than browsers do not name a site.
    """
    origin = headers.get("origin")
    if "*" in allowed or origin in allowed:
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    if origin is None:
        return False
    scheme, _, host = origin.partition("://")
    return _without_default_port(scheme, host) != _without_default_port(scheme, headers.get("host", ""))


def _without_default_port(scheme: str, host: str) -> str:
    return host.lower().removesuffix({"http": ":80", "https": ":443"}.get(scheme.lower(), ":"))


class SecurityHeaders:
    """ASGI middleware that sets security headers on every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for key, value in HEADERS.items():
                    headers.setdefault(key, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Guard:
    """ASGI middleware that limits the size and duration of bodies and the number of query fields, and refuses forms
    from other sites."""

    def __init__(self, app: ASGIApp, origins: Sequence[str] = (), patience: float = 30) -> None:
        """`origins` may send forms too ("*" for all); a body has `patience` seconds to arrive in full."""
        self._app = app
        self._origins = origins
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        too_large = ApiError(413, "body_too_large", most=MAX_BODY_BYTES)
        length = headers.get("content-length", "0")
        refusal = None
        try:
            check_count(scope["query_string"])
        except ApiError as error:
            refusal, scope = error, {**scope, "query_string": b""}  # not even for the language
        if "transfer-encoding" in headers and "content-length" in headers:
            # Of which of the two a proxy before us believes a request may be smuggled in (RFC 9112, section 6.3).
            refusal = ApiError(400, "bad_request", headers={"Connection": "close"})
        elif length.isdigit() and (len(length) > 12 or int(length) > MAX_BODY_BYTES):
            refusal = too_large
        elif scope["method"] not in ("GET", "HEAD", "OPTIONS") and from_elsewhere(headers, self._origins):
            refusal = ApiError(403, "cross_site")
        if refusal is not None:
            await respond(Request(scope), refusal)(scope, receive, send)
            return

        received, complete = 0, False
        deadline = asyncio.get_running_loop().time() + self._patience

        async def limited_receive() -> Message:
            nonlocal received, complete
            if complete:  # what comes now is that the client leaves, at whatever time
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise ApiError(
                    408, "too_slow", headers={"Connection": "close"}, seconds=f"{self._patience:g}"
                ) from None
            complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise too_large
            return message

        await self._app(scope, limited_receive, send)
