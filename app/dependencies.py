"""Shared by the routes: orders pictures within the client's allowance, and finds how new a dish is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from app import clients, responses, texts
from app.engine import QueueFull, Ticket
from app.errors import ApiError
from app.pictures import Comparison, Format, Novelty, Pictures
from app.rate_limit import Allowance
from model import languages
from model.dishes import Dish

logger = logging.getLogger(__name__)

MAX_COMPOSED = 4  # pictures of pictures, at once


def of(request: Request) -> Pictures:
    """The pictures of this app. Raises ApiError 503 while no model is loaded."""
    pictures: Pictures | None = getattr(request.app.state, "pictures", None)
    if pictures is None:
        raise ApiError(503, "not_ready", retry_after=1)
    return pictures


ServedPictures = Annotated[Pictures, Depends(of)]
Language = Annotated[languages.Language, Depends(texts.of)]


def order(
    request: Request,
    items: Sequence[Dish | Comparison],
    *,
    format: Format = "png",
    sketches: bool = False,
    further: bool = False,
) -> list[Ticket]:
    """Orders items: one ticket each, in order; cached ones are free. Raises ApiError 429, QueueFull, EngineClosed."""
    allowance: Allowance = request.app.state.allowance
    client = clients.client(request)
    pay = partial(allowance.spend, client)
    tickets = of(request).order(items, pay, format=format, client=client, sketches=sketches, further=further)
    ordered = [item.query() for item in items if isinstance(item, Dish)]
    logger.debug("ordered", extra={"dishes": ordered})
    return tickets


async def composed(
    request: Request, key: Hashable, dishes: Sequence[Dish], compose: Callable[[list[bytes]], bytes]
) -> bytes:
    """Runs `compose` on these dishes' PNGs, in a thread of its own. The result is cached by `key`, and then free.

    Raises ApiError, QueueFull, EngineClosed."""
    pictures = of(request)
    if (known := pictures.recent.get(key)) is not None:
        return known
    made = await responses.all_made(request, order(request, dishes))
    composing: asyncio.Semaphore = request.app.state.composing
    if composing.locked():
        raise QueueFull(0)  # its pictures are in memory when the client comes back
    async with composing:
        data = await asyncio.to_thread(compose, made)
    pictures.recent.put(key, data)
    return data


async def novelty(request: Request, dish: Dish) -> Novelty:
    """The novelty of a dish. Costs two of the allowance: the picture and its comparison. Raises ApiError, QueueFull,
    EngineClosed."""
    if not of(request).has_index:
        raise ApiError(404, "no_index")
    (made,) = await responses.all_made(request, order(request, [dish]))
    comparison = Comparison(dish, texts.of(request), made)
    (found,) = await responses.all_made(request, order(request, [comparison], further=True))
    return Novelty.read(found)
