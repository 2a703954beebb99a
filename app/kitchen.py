"""What a route orders from: the pictures of this app, within its client's allowance."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from starlette.requests import Request

from app.engine import Ticket
from app.errors import ApiError
from app.limits import Allowance
from app.pictures import Pictures
from model.dishes import Dish

logger = logging.getLogger(__name__)


def of(request: Request) -> Pictures:
    """ApiError 503 where there is no model yet."""
    pictures: Pictures | None = getattr(request.app.state, "pictures", None)
    if pictures is None:
        raise ApiError(503, "not_ready", retry_after=1)
    return pictures


def order(
    request: Request, dishes: Sequence[Dish], *, sketches: bool = False, further: bool = False
) -> list[Ticket]:
    """A ticket a dish, in order; pictures in memory are free. ApiError 429, QueueFull, EngineClosed."""
    allowance: Allowance = request.app.state.allowance
    pay = partial(allowance.spend, request.client.host if request.client else "")
    tickets = of(request).order(dishes, pay, sketches=sketches, further=further)
    logger.debug("ordered", extra={"dishes": [dish.query() for dish in dishes]})
    return tickets
