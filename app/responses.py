"""Turns tickets into responses: waits for pictures while checking that the client is still connected."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import time
import zipfile
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app import texts
from app.engine import Ticket
from app.errors import ApiError, from_exception
from app.pages import dish_url
from app.pictures import MEDIA_TYPES, Format
from app.request_parsing import Order
from model.dishes import Dish

NDJSON = "application/x-ndjson"


class ClientGone(Exception):
    """The client has disconnected."""


async def made(request: Request, tickets: Sequence[Ticket]) -> list[bytes | ApiError]:
    """Each ticket's file, or its error. Raises ClientGone."""
    results = await _gathered(request, tickets, return_exceptions=True)
    return [result if isinstance(result, bytes) else from_exception(result) for result in results]


async def all_made(request: Request, tickets: Sequence[Ticket]) -> list[bytes]:
    """Each ticket's file. Raises ClientGone, or the first ApiError, in which case the rest is cancelled."""
    return await _gathered(request, tickets, return_exceptions=False)


async def _gathered(request: Request, tickets: Sequence[Ticket], *, return_exceptions: bool) -> list[Any]:
    work = asyncio.gather(
        *(asyncio.wrap_future(t.picture) for t in tickets), return_exceptions=return_exceptions
    )
    # A gathering that is cancelled holds that as an exception, and asyncio complains of one that nobody has read.
    work.add_done_callback(lambda done: done.cancelled() or done.exception())
    gone = asyncio.create_task(_disconnected(request))
    waiting: tuple[asyncio.Future[Any], ...] = (work, gone)
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            gone.result()  # raises where it is the rest of the body that went wrong
            raise ClientGone
        try:
            results = work.result()
        except Exception as error:
            raise from_exception(error) from None
        if any(isinstance(result, bytes) and not t.at_hand for t, result in zip(tickets, results, strict=True)):
            request.state.made = True  # app.loop_share asks
        return results
    finally:
        gone.cancel()
        work.cancel()
        for ticket in tickets:
            ticket.cancel()


def notices(request: Request, order: Order) -> list[str]:
    """The order's notices in the visitor's language."""
    return [texts.notice(texts.of(request), notice) for notice in order.notices]


def picture(
    request: Request, order: Order, dish: Dish, data: bytes, headers: dict[str, str], format: Format = "png"
) -> Response:
    """The response with one picture. Header values are percent-encoded, since HTTP headers cannot hold Japanese."""
    disposition = headers.pop("Content-Disposition", "inline")
    names = f"filename=\"dish-{dish.seed}.{format}\"; filename*=UTF-8''{quote(file_name(dish, format), safe='')}"
    return Response(
        data,
        media_type=MEDIA_TYPES[format],
        headers={
            "Content-Disposition": f"{disposition}; {names}",
            "Cafeteria-Name": quote(dish.name),
            "Cafeteria-Seed": str(dish.seed),
            "Cafeteria-Model": order.model,
            **({"Cafeteria-Notices": quote(" ".join(notices(request, order)))} if order.notices else {}),
            **headers,
        },
    )


def file_name(dish: Dish, format: Format = "png", prefix: str = "") -> str:
    """A file name for the picture, without characters that some file systems refuse, and at most 255 bytes of UTF-8."""
    whole = dish.title.removesuffix(" 0%")  # of a morph that has not begun, or of all of it
    title = whole if len(whole) <= 50 else f"{whole[:49]}…"
    number = f"-{dish.number}.{format}"
    room = 255 - len(prefix) - len(number)
    if len(title.encode()) > room:
        title = title.encode()[: room - len("…".encode())].decode(errors="ignore").removesuffix("…") + "…"
    return prefix + re.sub(r'[\\/:*?"<>|]', "-", title + number)


def packed(dishes: Sequence[Dish], made: Sequence[bytes]) -> Response:
    """Packs pictures into a zip file, in order, uncompressed since PNGs already are."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for k, (dish, data) in enumerate(zip(dishes, made, strict=True), 1):
            archive.writestr(zipfile.ZipInfo(file_name(dish, prefix=f"{k:02} ")), data)
    headers = {"Content-Disposition": 'attachment; filename="menu.zip"', "Cache-Control": "no-store"}
    return Response(file.getvalue(), media_type="application/zip", headers=headers)


def described(request: Request, order: Order, dish: Dish, format: Format = "png") -> dict[str, Any]:
    """The JSON fields that identify a picture within its order, with its address."""
    url = dish_url(request, dish, order.model, format)
    details: dict[str, Any] = {"seed": dish.seed, "size": dish.size, "url": url}
    if dish.path:
        details["path"] = ".".join(map(str, dish.path))
    if dish.to is not None or dish.to_seed is not None:
        details["t"] = dish.t
    return details


def result(request: Request, value: bytes | ApiError, format: Format = "png") -> dict[str, Any]:
    """A picture in JSON: `png` or `webp`, or `error` if this one failed."""
    if isinstance(value, ApiError):
        return value.body(texts.of(request))
    return {format: base64.b64encode(value).decode("ascii")}


class Stream(StreamingResponse):
    """Streams lines of JSON as the pictures are made: each one's sketch, then the picture that replaces it.

    When the client disconnects, the remaining work is cancelled.
    """

    def __init__(self, request: Request, order: Order, tickets: Sequence[Ticket], format: Format = "png") -> None:
        self._tickets = tickets
        super().__init__(
            _lines(request, order, tickets, format),
            media_type=NDJSON,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},  # nginx would hold the sketches back
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            for ticket in self._tickets:
                ticket.cancel()


async def _lines(request: Request, order: Order, tickets: Sequence[Ticket], format: Format) -> AsyncIterator[str]:
    began = time.monotonic()
    yield _line(
        event="order",
        name=order.name,
        notices=notices(request, order),
        model=order.model,
        ahead=max(ticket.ahead for ticket in tickets),
        pictures=[described(request, order, dish, format) for dish in order.dishes],
    )
    waiting: dict[asyncio.Future[Any], tuple[str, int]] = {}
    for index, ticket in enumerate(tickets):
        waiting[asyncio.wrap_future(ticket.sketch)] = ("sketch", index)
        waiting[asyncio.wrap_future(ticket.picture)] = ("picture", index)
    while waiting:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        # Sketches first, so that a picture is never covered by its own sketch; then in order.
        for event, index, future in sorted(
            ((*waiting.pop(f), f) for f in done), key=lambda d: (d[0] != "sketch", d[1])
        ):
            fault = future.exception()
            value = from_exception(fault) if fault else future.result()
            if event == "sketch":
                if isinstance(value, bytes):
                    yield _line(event=event, index=index, **result(request, value, format))
            else:
                shown = described(request, order, order.dishes[index], format)
                event = "error" if isinstance(value, ApiError) else event
                if isinstance(value, bytes) and not tickets[index].at_hand:
                    request.state.made = True  # app.loop_share asks
                yield _line(event=event, index=index, **shown, **result(request, value, format))
    yield _line(event="done", seconds=round(time.monotonic() - began, 3))


def _line(**fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False) + "\n"


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
