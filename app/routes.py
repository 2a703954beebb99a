"""The addresses of the server, and what each answers."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from app import answers, counter, kitchen, metrics, negotiation, pages, texts
from app.answers import NDJSON
from app.engine import EngineClosed, QueueFull
from app.errors import ApiError, from_exception
from app.orders import (
    MAX_MENU,
    MAX_PICTURES,
    PAGE_PICTURES,
    RECIPE,
    Fields,
    check,
    check_menu,
    check_picture,
    draw_seed,
    read_body,
    read_query,
)
from app.pictures import Novelty
from model.dishes import MAX_MIXED, Dish
from model.names import EmptyName, NameError_, normalize
from model.nearest import Nearest
from model.pipeline import MAX_SEED
from model.words import surprise

router = APIRouter()

PNG, HTML, JSON = "image/png", "text/html", "application/json"
MAX_COMPARED = 8  # dishes with the training data, at once


class Picture(BaseModel):
    seed: int
    size: int
    url: str
    path: str | None = None
    t: float | None = None
    png: str | None = None
    error: dict[str, Any] | None = None


class Served(BaseModel):
    """The JSON answer of `POST /generate`. A picture has `png` (base64), or `error` where it alone failed."""

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


class Problem(BaseModel):
    """Every error. `field` names the field at fault, `retry_after` the seconds after which to come back."""

    class Details(BaseModel):
        code: str
        message: str
        field: str | None = None
        retry_after: int | None = None

    error: Details


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": texts.text("en", f"status.{status}")}
    for status in (400, 403, 406, 408, 413, 415, 422, 429, 500, 503)
}

NOT_HERE: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": texts.text("en", "status.404")}
}

_order_schema = {"schema": Fields.model_json_schema()}
_image = {"schema": {"type": "string", "format": "binary"}}


def _parameters(keys: Iterable[str]) -> list[dict[str, Any]]:
    """These fields of an order, and the model, as parameters of a picture's address."""
    properties = Fields.model_json_schema()["properties"] | {
        "model": {
            "type": "string",
            "pattern": "^[0-9a-f]{12}$",
            "description": "The version of the model that made the picture; 404 where this is another one.",
        }
    }
    return [
        {
            "in": "query",
            "name": key,
            "required": key == "name",
            "description": properties[key]["description"],
            "schema": {k: v for k, v in properties[key].items() if k not in ("description", "title")},
        }
        for key in (*keys, "model")
    ]


# Pages


@router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
async def home(request: Request) -> Response:
    fields: dict[str, str] = {}
    try:
        fields = read_query(request, ("name", "n", "seed", "kept"))
        kept = bool(fields.pop("kept", ""))
        if not fields.get("name"):
            seed = _seed(fields.get("seed"))
            return pages.front_page(request, n=PAGE_PICTURES, seed="" if seed is None else seed)
        order = check(fields, kitchen.of(request), default_n=PAGE_PICTURES)
    except ApiError as error:
        return pages.front_page(request, n=PAGE_PICTURES, typed=fields.get("name"), error=error)
    return pages.front_page(request, order=order, n=len(order.dishes), seed=order.dishes[0].seed if kept else "")


@router.api_route("/dish", methods=["GET", "HEAD"], include_in_schema=False)
async def dish_at_the_counter(request: Request) -> Response:
    pictures = kitchen.of(request)
    keys = tuple(key for key in RECIPE if key != "size")
    recipe = read_query(request, keys)
    if not recipe.get("name") and negotiation.wants_page(request.headers.get("accept")):
        # An address that was cut short leads to where names are written.
        headers = {"Cache-Control": "no-store", "Vary": "Accept"}
        return RedirectResponse(pages.home_url(request), status_code=303, headers=headers)
    order = check(recipe, pictures, default_n=1, default_seed=0)
    dish = order.dishes[0]
    view = read_query(request, ("word", "how", "amount", "child", "pantry", "nearest"))
    if view.get("word"):
        # A word of the visitor's own: it becomes a part of the recipe, and so of the address.
        try:
            word = normalize(view["word"]).text
        except NameError_ as error:
            raise ApiError(422, error.code, field="word") from None
        amount = view.get("amount", "")
        if re.fullmatch(r"-?[0-9](\.[0-9]{1,2})?", amount):
            changed = counter.with_weight(dish, word, float(amount))
        else:
            changed = counter.with_pinch(dish, word, counter.PINCH if view.get("how") != "take" else -1.0)
        if changed is None and not counter.has_place(dish, word):
            raise ApiError(422, "full_mix", field="mix", most=MAX_MIXED)
        if changed is None:
            raise ApiError(422, "no_room", field="mix", name=word)
        return RedirectResponse(pages.counter_url(request, changed), status_code=303)
    child, pantry = (_small(view.get(key), default) for key, default in (("child", 1), ("pantry", 0)))
    laid = counter.lay(dish, texts.of(request), pictures.pieces, child=max(child, 1), pantry=pantry)
    novelty = await _novelty(request, dish) if view.get("nearest") and pictures.has_index else None
    return pages.counter_page(request, order, laid, pantry=pantry, novelty=novelty)


@router.get("/table", include_in_schema=False)
async def table(request: Request) -> Response:
    """Names by seeds, as a page whose cells are permalinks."""
    typed, n = "", PAGE_PICTURES
    seed: object = ""
    try:
        view = read_query(request, ("names", "n", "seed"))
        typed, n = view.get("names", ""), min(max(_small(view.get("n"), 4), 1), MAX_PICTURES)
        seed = view.get("seed", "")
        names = [line for line in typed.splitlines() if not _blank(line)]
        if len(names) > MAX_PICTURES:
            raise ApiError(422, "too_many_names", field="names", most=MAX_PICTURES)
        fields = {"n": n, "seed": seed}
        pictures = kitchen.of(request)
        rows = []
        for name in names:
            order = check({**fields, "name": name}, pictures, default_n=n)
            seed = fields["seed"] = order.dishes[0].seed
            rows.append(order.dishes)
    except ApiError as error:
        return pages.table_page(request, typed=typed, n=n, seed=seed, most=MAX_PICTURES, error=error)
    return pages.table_page(request, typed=typed, rows=rows, n=n, seed=seed, most=MAX_PICTURES)


@router.get("/menu", include_in_schema=False)
async def menu(request: Request) -> Response:
    """A sheet of dishes to print, each given by its own recipe."""
    queries = read_query(request, ("dish",)).get("dish", [])
    if not queries and negotiation.wants_page(request.headers.get("accept")):
        raise ApiError(422, "empty_menu", field="dish")
    return pages.menu_page(request, check_menu(queries, kitchen.of(request)))


@router.get(
    "/menu.zip",
    summary="Several pictures in one file",
    response_class=Response,
    responses={
        200: {"description": "The pictures", "content": {"application/zip": _image}},
        **NOT_HERE,
        **{status: PROBLEMS[status] for status in (400, 422, 429, 500, 503)},
    },
    openapi_extra={
        "parameters": [
            {
                "in": "query",
                "name": "dish",
                "required": True,
                "description": f"The query of a picture's address, percent-encoded, once a picture: 1 to {MAX_MENU}",
                "schema": {"type": "array", "items": {"type": "string"}, "maxItems": MAX_MENU},
            }
        ]
    },
)
async def menu_zip(request: Request) -> Response:
    pictures = kitchen.of(request)
    dishes = check_menu(read_query(request, ("dish",)).get("dish", []), pictures)
    made: list[bytes] = []
    # A few at a time, so that a menu never fills the kitchen by itself.
    for start in range(0, len(dishes), MAX_PICTURES):
        tickets = kitchen.order(request, dishes[start : start + MAX_PICTURES], further=start > 0)
        for result in await answers.made(request, tickets):
            if isinstance(result, ApiError):
                raise result
            made.append(result)
    return answers.packed(dishes, made)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    return pages.docs_page(request)


@router.get(
    "/nearest",
    summary="What of the training data a dish is nearest to",
    response_model=Near,
    responses={
        **NOT_HERE,
        **{status: PROBLEMS[status] for status in (400, 422, 429, 500, 503)},
    },
    openapi_extra={"parameters": _parameters([key for key in RECIPE if key != "size"])},
)
async def nearest(request: Request) -> Response:
    """Names of the training photographs that are nearest by name and by colours and layout, with cosine distances
    (0: the same), and how new that is: the share of the training data that has a nearer neighbour, in percent."""
    dish = replace(check_picture(request.scope["query_string"], kitchen.of(request)).dishes[0], size=256)
    novelty = await _novelty(request, dish)

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


async def _novelty(request: Request, dish: Dish) -> Novelty:
    """ApiError, QueueFull, EngineClosed."""
    pictures = kitchen.of(request)
    (made,) = await answers.made(request, kitchen.order(request, [dish]))
    if isinstance(made, ApiError):
        raise made
    comparing: asyncio.Semaphore = request.app.state.comparing
    if comparing.locked():
        raise QueueFull(0)  # its picture is in memory when the client comes back
    async with comparing:
        novelty = await asyncio.to_thread(pictures.novelty, dish, made, japanese=texts.of(request) == "ja")
    if novelty is None:
        raise ApiError(404, "no_index")
    return novelty


@router.get(
    "/surprise",
    summary="A name that nobody has written before",
    responses={
        200: {"content": {JSON: {"schema": {"type": "object", "properties": {"name": {"type": "string"}}}}}}
    },
)
async def surprise_me(request: Request) -> Response:
    """Composes the name of a dish, in the language of `lang`, of the cookie or of Accept-Language.

    A browser is led to the page that shows it.
    """
    name = surprise(texts.of(request), random.Random())
    headers = {"Cache-Control": "no-store", "Vary": "Accept, Accept-Language, Cookie"}
    if negotiation.wants_page(request.headers.get("accept")):
        seed = _seed(request.query_params.get("seed"))
        dish = Dish(name, draw_seed() if seed is None else seed)
        n = request.query_params.get("n", "")
        many = int(n) if n in map(str, range(1, MAX_PICTURES + 1)) else PAGE_PICTURES
        return RedirectResponse(pages.page_url(request, dish, many), status_code=303, headers=headers)
    return JSONResponse({"name": name}, headers=headers)


# Pictures


@router.post(
    "/generate",
    summary="Pictures of a dish",
    responses={
        200: {
            "model": Served,
            "description": "The pictures, in the form that `Accept` asks for",
            "content": {
                PNG: _image,
                NDJSON: {"schema": {"type": "string", "description": "One JSON object a line, see /docs"}},
                HTML: {"schema": {"type": "string"}},
            },
        },
        303: {"description": "To the page with the pictures, for browsers' forms"},
        **PROBLEMS,
    },
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
    - `application/x-ndjson`: a stream of lines, a sketch and then the picture. The default for several. A picture
      that is at hand, or is itself a sketch, comes without one.
    - `application/json`: everything at once, pictures as base64.
    - `text/html`: 303, to the page with the pictures, for browsers' forms.

    The headers `Cafeteria-Name`, `Cafeteria-Seed`, `Cafeteria-Model` and `Cafeteria-Notices` of a PNG are
    percent-encoded UTF-8.
    """
    accept = request.headers.get("accept")
    if negotiation.media_type(accept, (PNG, JSON, NDJSON, HTML)) == HTML:
        return await _generate_page(request)
    pictures = kitchen.of(request)
    order = check(await read_body(request), pictures, default_n=1)
    offers = (PNG, NDJSON, JSON, HTML) if len(order.dishes) == 1 else (NDJSON, JSON, HTML)
    kind = negotiation.media_type(accept, offers)
    if kind is None:
        raise ApiError(406, "not_acceptable", offers=", ".join(offers))
    if kind == HTML:
        return await _generate_page(request)
    tickets = kitchen.order(request, order.dishes, sketches=kind == NDJSON)
    if kind == NDJSON:
        return answers.Stream(request, order, tickets)
    made = await answers.made(request, tickets)
    failures = [result for result in made if isinstance(result, ApiError)]
    if len(failures) == len(made):
        raise failures[0]
    if isinstance(made[0], bytes) and kind == PNG:
        return answers.png(request, order, order.dishes[0], made[0], {"Cache-Control": "no-store"})
    return JSONResponse(
        {
            "name": order.name,
            "notices": answers.notices(request, order),
            "model": order.model,
            "pictures": [
                answers.described(request, order, dish) | answers.result(request, result)
                for dish, result in zip(order.dishes, made, strict=True)
            ],
        },
        headers={"Cache-Control": "no-store"},
    )


async def _generate_page(request: Request) -> Response:
    fields: dict[str, Any] = {}
    try:
        fields = await read_body(request)
        order = check(fields, kitchen.of(request), default_n=PAGE_PICTURES)
        made = await answers.made(request, kitchen.order(request, order.dishes))
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


@router.get(  # only described here: the route of both methods, which would be described twice, comes first
    "/dish.png",
    summary="The picture of one name and seed, always the same",
    response_class=Response,
    responses={
        200: {"description": "The picture", "content": {PNG: _image}},
        304: {"description": "The picture that If-None-Match names is still the one"},
        **NOT_HERE,
        **{status: PROBLEMS[status] for status in (400, 406, 422, 429, 500, 503)},
    },
    openapi_extra={
        "parameters": [
            *_parameters(RECIPE),
            {
                "in": "query",
                "name": "download",
                "schema": {"type": "string"},
                "description": "If present, the picture comes as a file to save",
            },
        ]
    },
)
@router.api_route("/dish.png", methods=["GET", "HEAD"], include_in_schema=False)
async def dish_png(request: Request) -> Response:
    """The permanent address of a picture. Its PNG carries name, seed and model version as text metadata."""
    if negotiation.media_type(request.headers.get("accept"), (PNG,)) is None:
        raise ApiError(406, "not_acceptable", offers=PNG)
    pictures = kitchen.of(request)
    order = check_picture(request.scope["query_string"], pictures)
    dish = order.dishes[0]
    asked = read_query(request, ("model", "download"))
    # Under an address without the model's version another model will draw another picture.
    age = "31536000, immutable" if asked.get("model") else "3600"
    headers = {"ETag": pictures.etag(dish), "Cache-Control": f"public, max-age={age}"}
    if order.notices:
        headers["Vary"] = "Accept-Language, Cookie"
    tags = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if headers["ETag"] in tags or "*" in tags:
        return Response(status_code=304, headers=headers)
    (made,) = await answers.made(request, kitchen.order(request, [dish]))
    if isinstance(made, ApiError):
        raise made
    if "download" in asked:
        headers["Content-Disposition"] = "attachment"
    return answers.png(request, order, dish, made, headers)


# Health


@router.get("/healthz", summary="Whether the process lives")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Whether pictures can be ordered", responses={503: PROBLEMS[503]})
async def readyz(request: Request) -> dict[str, str]:
    pictures = kitchen.of(request)
    if not pictures.engine.ready:
        raise ApiError(503, "not_ready", retry_after=1)
    return {"status": "ready", "model": pictures.version, "device": pictures.device}


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def figures(request: Request) -> Response:
    return Response(request.app.state.metrics.text(), media_type=metrics.CONTENT_TYPE)


def _blank(line: str) -> bool:
    """Whether nothing can be seen on a line of names."""
    try:
        normalize(line)
    except NameError_ as error:
        return isinstance(error, EmptyName)
    return False


def _seed(text: str | None) -> int | None:
    """A seed that a page's form is filled with, if it is one."""
    return int(text) if text and re.fullmatch("[0-9]{1,10}", text) and int(text) <= MAX_SEED else None


def _small(text: str | None, default: int) -> int:
    """A number that only says which part of a page is shown: anything else is the default."""
    return int(text) if text and re.fullmatch("[0-9]{1,4}", text) else default
