"""Pictures made of pictures: animated morphs, and the preview card of a shared link."""

from __future__ import annotations

import datetime
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from app import dependencies, featured, morph, permalinks, responses, share_card
from app.dependencies import Language, ServedPictures
from app.errors import ApiError
from app.pictures import MEDIA_TYPES
from app.request_parsing import Address, PictureAddress, check_picture, order_of, read_query
from app.routes.api import IMAGE, read_picture_address, takes
from app.routes.problems import NOT_HERE, PROBLEMS
from model.generators import PICTURE_SIZE
from model.languages import DEFAULT, LANGUAGES, OTHERS

router = APIRouter()

DAY = "public, max-age=86400"


def _card_parameters() -> list[dict[str, Any]]:
    """The parameters of a dish's address, all optional, and the language. FastAPI cannot express that a model's fields
    are either all given or all absent."""
    lang = {
        "type": "string",
        "enum": [*OTHERS, DEFAULT],
        "description": "Of the card's own words; by default the cookie's or Accept-Language's",
    }
    properties = Address.model_json_schema()["properties"] | {"lang": lang}
    return [
        {"in": "query", "name": name, "required": False, "description": schema["description"], "schema": schema}
        for name, schema in properties.items()
        if name != "size"
    ]


@router.get(
    "/card.jpg",
    summary="The card that is shown where a link is shared",
    response_class=Response,
    responses={
        200: {"description": "The card, 1200 by 630 pixels", "content": {share_card.MEDIA_TYPE: IMAGE}},
        304: {"description": "The card that If-None-Match names is still the one"},
        **NOT_HERE,
        **{status: PROBLEMS[status] for status in (400, 406, 422, 429, 500, 503)},
    },
    dependencies=[takes(share_card.MEDIA_TYPE)],
    openapi_extra={"parameters": _card_parameters()},
)
async def card(request: Request, pictures: ServedPictures, language: Language) -> Response:
    """For `og:image`: the dish of these fields with its name; without a name, some dishes of the day. It costs what the
    pictures on it cost."""
    if "name" in read_query(request, ("name",)):
        order = check_picture(request.scope["query_string"], pictures)
        dish = replace(order.dishes[0], size=PICTURE_SIZE)
        dishes = [dish]

        def compose(pngs: list[bytes]) -> bytes:
            return share_card.of_dish(dish, language, pngs[0])
    else:
        dishes = featured.menu(datetime.date.today(), language)[: share_card.FRONT_DISHES]

        def compose(pngs: list[bytes]) -> bytes:
            return share_card.of_front_page(dishes, language, pngs)

    key = ("card", share_card.DESIGN, language, *(dish.query() for dish in dishes))
    headers = {"ETag": pictures.etag(*key), "Cache-Control": DAY if len(dishes) == 1 else "public, max-age=3600"}
    if read_query(request, ("lang",)).get("lang") not in LANGUAGES:
        headers["Vary"] = "Accept-Language, Cookie"
    if unchanged := permalinks.unchanged(request, headers):
        return unchanged
    data = await dependencies.composed(request, key, dishes, compose)
    return Response(data, media_type=share_card.MEDIA_TYPE, headers=headers)


@router.get(
    "/morph.webp",
    summary="A morph as a moving picture",
    response_class=Response,
    responses={
        200: {
            "description": f"The morph, {PICTURE_SIZE} by {PICTURE_SIZE} pixels",
            "content": {MEDIA_TYPES["webp"]: IMAGE},
        },
        304: {"description": "The morph that If-None-Match names is still the one"},
        **NOT_HERE,
        **{status: PROBLEMS[status] for status in (400, 406, 422, 429, 500, 503)},
    },
    dependencies=[takes(MEDIA_TYPES["webp"]), Depends(read_picture_address)],
)
async def moving_morph(
    request: Request, pictures: ServedPictures, address: Annotated[PictureAddress, Query()]
) -> Response:
    """From the dish to what it morphs into and back in about three seconds, over and over. It is made of the 8 pictures
    that `POST /generate` draws on the way, and costs them."""
    order = order_of(address, pictures)
    dish = replace(order.dishes[0], t=0.0, size=PICTURE_SIZE)
    if not dish.morphs:
        raise ApiError(422, "no_target", field="to")
    key = ("morph", dish.query())
    headers = permalinks.headers(address, order, pictures.etag(*key))
    if unchanged := permalinks.unchanged(request, headers):
        return unchanged
    compose = partial(morph.compose, dish, pictures.version)
    data = await dependencies.composed(request, key, dish.steps(morph.FRAMES), compose)
    if address.download is not None:
        headers["Content-Disposition"] = "attachment"
    return responses.picture(request, order, dish, data, headers, "webp")
