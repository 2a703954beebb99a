"""HTTP caching of permanent addresses: how long a response may be kept, and whether a client's copy is still valid."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app import negotiation
from app.errors import ApiError
from app.request_parsing import Address, Order


def require(request: Request, media_type: str) -> None:
    """Raises ApiError 406 if the client does not accept this media type."""
    if negotiation.media_type(request.headers.get("accept"), (media_type,)) is None:
        raise ApiError(406, "not_acceptable", offers=media_type)


def headers(address: Address, order: Order, etag: str) -> dict[str, str]:
    """The caching headers of a response."""
    # Under an address without the model's version another model will draw another picture.
    age = "31536000, immutable" if address.model else "3600"
    found = {"ETag": etag, "Cache-Control": f"public, max-age={age}"}
    if order.notices:
        found["Vary"] = "Accept-Language, Cookie"
    return found


def unchanged(request: Request, headers: dict[str, str]) -> Response | None:
    """A 304 response if If-None-Match matches the entity tag in these headers, otherwise None."""
    tags = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return Response(status_code=304, headers=headers) if headers["ETag"] in tags or "*" in tags else None
