"""The API for programs: pictures, one or several, names, and the training data nearest to a dish. `POST /generate` and
`GET /surprise` answer browsers with a page, or redirect to one."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from app import dependencies, negotiation, pages, permalinks, responses
from app.dependencies import Language, ServedPictures
from app.engine import EngineClosed, QueueFull
from app.errors import ApiError, from_exception
from app.pictures import MEDIA_TYPES, Format, Pictures
from app.request_parsing import (
    MAX_MENU,
    MAX_PICTURES,
    PAGE_PICTURES,
    Address,
    Fields,
    PictureAddress,
    check,
    check_menu,
    draw_seed,
    order_of,
    read_address,
    read_body,
    read_query,
    seed_or_none,
)
from app.responses import NDJSON
from app.routes.problems import NOT_HERE, PROBLEMS
from model.dishes import Dish
from model.generators import PICTURE_SIZE
from model.nearest import Nearest
from model.words import surprise

router = APIRouter()

PNG, WEBP = MEDIA_TYPES["png"], MEDIA_TYPES["webp"]
HTML, JSON = "text/html", "application/json"


class Picture(BaseModel):
    seed: int
    size: int
    url: str
    path: str | None = None
    t: float | None = None
    png: str | None = None
    webp: str | None = None
    error: dict[str, Any] | None = None


class Served(BaseModel):
    """The JSON answer of `POST /generate`. A picture has `png` or `webp` (base64), or `error` where it alone failed."""

    name: str
    notices: list[str]
    model: str
    pictures: list[Picture]


class Near(BaseModel):
    """The JSON answer of `GET /nearest`. `exists` where the very name is among the training data."""

    class Side(BaseModel):
        class Name(BaseModel):
            name: str
            distance: float

        novelty: int
        names: list[Name]

    name: str
    exists: bool
    by_name: Side
    by_picture: Side | None


_order_schema = {"schema": Fields.model_json_schema()}
IMAGE = {"schema": {"type": "string", "format": "binary"}}


def takes(media_type: str) -> Any:
    """A dependency that raises ApiError 406 for clients that do not accept this media type."""

    def require(request: Request) -> None:
        permalinks.require(request, media_type)

    return Depends(require)


def _read_address(request: Request, pictures: ServedPictures) -> None:
    """Rejects what FastAPI would let pass: repeated fields, invalid UTF-8, and pictures by another model."""
    read_address(request.scope["query_string"], pictures)


def read_picture_address(request: Request, pictures: ServedPictures) -> None:
    read_address(request.scope["query_string"], pictures, PictureAddress)


def _read_menu(request: Request, pictures: ServedPictures) -> None:
    read_query(request, ("dish",))


@router.get(
    "/menu.zip",
    summary="Several pictures in one file",
    response_class=Response,
    responses={
        200: {"description": "The pictures", "content": {"application/zip": IMAGE}},
        **NOT_HERE,
        **{status: PROBLEMS[status] for status in (400, 422, 429, 500, 503)},
    },
    dependencies=[Depends(_read_menu)],
)
async def menu_zip(
    request: Request,
    pictures: ServedPictures,
    dish: Annotated[
        list[str],
        Query(
            min_length=1,
            max_length=MAX_MENU,
            description=f"The query of a picture's address, percent-encoded, once a picture: 1 to {MAX_MENU}",
        ),
    ],
) -> Response:
    dishes = check_menu(dish, pictures)
    made: list[bytes] = []
    # A few at a time, so that a menu never fills the kitchen by itself.
    for start in range(0, len(dishes), MAX_PICTURES):
        tickets = dependencies.order(request, dishes[start : start + MAX_PICTURES], further=start > 0)
        made += await responses.all_made(request, tickets)
    return responses.packed(dishes, made)


@router.get(
    "/nearest",
    summary="What of the training data a dish is nearest to",
    response_model=Near,
    responses={
        **NOT_HERE,
        **{status: PROBLEMS[status] for status in (400, 422, 429, 500, 503)},
    },
    dependencies=[Depends(_read_address)],
)
async def nearest(
    request: Request, pictures: ServedPictures, address: Annotated[Address, Query()]
) -> Response:
    """Names of the training photographs that are nearest by name and by colours and layout, with cosine distances
    (0: the same), and how new that is: the share of the training data that has a nearer neighbour, in percent."""
    dish = replace(order_of(address, pictures).dishes[0], size=PICTURE_SIZE)
    novelty = await dependencies.novelty(request, dish)

    def sides(near: Nearest) -> dict[str, object]:
        return {"novelty": near.novelty, "names": [{"name": n, "distance": d} for n, d in near.names]}

    return JSONResponse(
        {
            "name": dish.title,
            "exists": novelty.name.exists,
            "by_name": sides(novelty.name),
            "by_picture": sides(novelty.picture) if novelty.picture else None,
        }
    )


@router.get(
    "/surprise",
    summary="A name that nobody has written before",
    responses={
        200: {"content": {JSON: {"schema": {"type": "object", "properties": {"name": {"type": "string"}}}}}}
    },
)
async def surprise_me(request: Request, language: Language) -> Response:
    """Composes the name of a dish, in the language of `lang`, of the cookie or of Accept-Language.

    A browser is led to the page that shows it.
    """
    name = surprise(language, random.Random())
    headers = {"Cache-Control": "no-store", "Vary": "Accept, Accept-Language, Cookie"}
    if negotiation.wants_page(request.headers.get("accept")):
        # What the page's form holds, and no parameters of the API: anything else in them is passed over.
        seed = seed_or_none(request.query_params.get("seed"))
        dish = Dish(name, draw_seed() if seed is None else seed)
        n = request.query_params.get("n", "")
        many = int(n) if n in map(str, range(1, MAX_PICTURES + 1)) else PAGE_PICTURES
        return RedirectResponse(pages.page_url(request, dish, many), status_code=303, headers=headers)
    return JSONResponse({"name": name}, headers=headers)


@router.post(
    "/generate",
    summary="Pictures of a dish",
    responses={
        200: {
            "model": Served,
            "description": "The pictures, in the form that `Accept` asks for",
            "content": {
                PNG: IMAGE,
                WEBP: IMAGE,
                NDJSON: {"schema": {"type": "string", "description": "One JSON object a line, see /docs"}},
                HTML: {"schema": {"type": "string"}},
            },
        },
        303: {"description": "To the page with the pictures, for browsers' forms"},
        **PROBLEMS,
    },
    # FastAPI takes either a form or JSON at one address, and would read repeated keys, NaN and what is not UTF-8.
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": dict.fromkeys(
                ("multipart/form-data", "application/x-www-form-urlencoded", JSON), _order_schema
            ),
        }
    },
)
async def generate(request: Request) -> Response:
    """Takes a form or JSON. What comes back depends on `Accept`:

    - `image/png`: the picture itself. The default for one picture (`*/*`).
    - `image/webp`: the picture itself in an eighth of the bytes, lossy.
    - `application/x-ndjson`: a stream of lines, a sketch and then the picture. The default for several. A picture
      that is at hand, or is itself a sketch, comes without one.
    - `application/json`: everything at once, pictures as base64, in the `format` that the order asks for.
    - `text/html`: 303, to the page with the pictures, for browsers' forms.

    The headers `Cafeteria-Name`, `Cafeteria-Seed`, `Cafeteria-Model` and `Cafeteria-Notices` of a picture are
    percent-encoded UTF-8.
    """
    accept = request.headers.get("accept")
    if negotiation.media_type(accept, (PNG, JSON, NDJSON, HTML, WEBP)) == HTML:
        return await _generate_page(request)
    # Not a dependency, which would answer a browser's form without what it held.
    pictures = dependencies.of(request)
    order = check(await read_body(request), pictures, default_n=1)
    offers: tuple[str, ...] = (NDJSON, JSON, HTML)
    if len(order.dishes) == 1:
        # WebP comes last: browsers name it beside text/html where they want a page.
        offers = (MEDIA_TYPES[order.format], *offers) if order.format else (PNG, *offers, WEBP)
    kind = negotiation.media_type(accept, offers)
    if kind is None:
        raise ApiError(406, "not_acceptable", offers=", ".join(offers))
    if kind == HTML:
        return await _generate_page(request)
    format: Format = order.format or ("webp" if kind == WEBP else "png")
    tickets = dependencies.order(request, order.dishes, format=format, sketches=kind == NDJSON)
    if kind == NDJSON:
        return responses.Stream(request, order, tickets, format)
    made = await responses.made(request, tickets)
    failures = [result for result in made if isinstance(result, ApiError)]
    if len(failures) == len(made):
        raise failures[0]
    if isinstance(made[0], bytes) and kind in MEDIA_TYPES.values():
        return responses.picture(request, order, order.dishes[0], made[0], {"Cache-Control": "no-store"}, format)
    return JSONResponse(
        {
            "name": order.name,
            "notices": responses.notices(request, order),
            "model": order.model,
            "pictures": [
                responses.described(request, order, dish, format) | responses.result(request, result, format)
                for dish, result in zip(order.dishes, made, strict=True)
            ],
        },
        headers={"Cache-Control": "no-store"},
    )


async def _generate_page(request: Request) -> Response:
    fields: dict[str, Any] = {}
    try:
        fields = await read_body(request)
        order = check(fields, dependencies.of(request), default_n=PAGE_PICTURES)
        made = await responses.made(request, dependencies.order(request, order.dishes))
        failures = [result for result in made if isinstance(result, ApiError)]
        if len(failures) == len(made):
            raise failures[0]
    except (ApiError, QueueFull, EngineClosed) as error:
        return pages.front_page(
            request, n=PAGE_PICTURES, typed=fields.get("name"), error=from_exception(error)
        )
    # The pictures are in memory now, where their addresses find them. A number that was asked for stays.
    if fields.keys() <= {"name", "n", "seed"}:  # what the page's form sends: its page has an address, to go back to
        address = pages.order_url(request, order, str(fields["name"]))
        return RedirectResponse(address, status_code=303, headers={"Cache-Control": "no-store"})
    seed = order.dishes[0].seed if order.numbered else ""
    return pages.front_page(request, order=order, n=len(order.dishes), seed=seed)


def _described(summary: str, media_type: str) -> dict[str, Any]:
    """The OpenAPI description of a picture's address, with its errors."""
    return {
        "summary": summary,
        "response_class": Response,
        "responses": {
            200: {"description": "The picture", "content": {media_type: IMAGE}},
            304: {"description": "The picture that If-None-Match names is still the one"},
            **NOT_HERE,
            **{status: PROBLEMS[status] for status in (400, 406, 422, 429, 500, 503)},
        },
        "dependencies": [takes(media_type), Depends(read_picture_address)],
    }


@router.get("/dish.png", **_described("The picture of one name and seed, always the same", PNG))
async def dish_png(
    request: Request, pictures: ServedPictures, address: Annotated[PictureAddress, Query()]
) -> Response:
    """The permanent address of a picture. Its PNG carries name, seed and model version as text metadata."""
    return await _permalink(request, pictures, address, "png")


@router.get("/dish.webp", **_described("The same picture in an eighth of the bytes", WEBP))
async def dish_webp(
    request: Request, pictures: ServedPictures, address: Annotated[PictureAddress, Query()]
) -> Response:
    """As `/dish.png`, lossy (quality 85); the metadata is XMP."""
    return await _permalink(request, pictures, address, "webp")


async def _permalink(request: Request, pictures: Pictures, address: PictureAddress, format: Format) -> Response:
    order = order_of(address, pictures)
    dish = order.dishes[0]
    headers = permalinks.headers(address, order, pictures.etag(format, dish.query()))
    if unchanged := permalinks.unchanged(request, headers):
        return unchanged
    (made,) = await responses.all_made(request, dependencies.order(request, [dish], format=format))
    if address.download is not None:
        headers["Content-Disposition"] = "attachment"
    return responses.picture(request, order, dish, made, headers, format)
