"""The routes that visitors open in a browser. `app.pages` renders the pages."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app import comparison, dependencies, dish_editor, featured, negotiation, pages, texts
from app.errors import ApiError
from app.request_parsing import (
    MAX_PICTURES,
    PAGE_PICTURES,
    RECIPE,
    check,
    check_menu,
    read_query,
    seed_or_none,
)
from model.dishes import MAX_MIXED, Dish
from model.names import EmptyName, InvalidName, normalize

router = APIRouter()

MAX_LINES = 64  # of the table's names, blank ones among them


@router.get("/", include_in_schema=False)
async def home(request: Request) -> Response:
    fields: dict[str, str] = {}
    try:
        fields = read_query(request, ("name", "n", "seed", "kept"))
        kept = bool(fields.pop("kept", ""))
        if not fields.get("name"):
            seed = seed_or_none(fields.get("seed"))
            return pages.front_page(request, n=PAGE_PICTURES, seed="" if seed is None else seed)
        order = check(fields, dependencies.of(request), default_n=PAGE_PICTURES)
    except ApiError as error:
        return pages.front_page(request, n=PAGE_PICTURES, typed=fields.get("name"), error=error)
    number = order.dishes[0].seed if kept else ""
    return pages.front_page(request, order=order, typed=fields["name"], n=len(order.dishes), seed=number)


@router.get("/dish", include_in_schema=False)
async def dish_at_the_counter(request: Request) -> Response:
    pictures = dependencies.of(request)
    keys = tuple(key for key in RECIPE if key != "size")
    recipe = read_query(request, keys)
    if not recipe.get("name") and negotiation.wants_page(request.headers.get("accept")):
        # An address that was cut short leads to where names are written.
        headers = {"Cache-Control": "no-store", "Vary": "Accept"}
        return RedirectResponse(pages.home_url(request), status_code=303, headers=headers)
    order = check(recipe, pictures, default_n=1, default_seed=0)
    dish = order.dishes[0]
    view = read_query(request, ("word", "how", "amount", "child", "pantry", "nearest", "shared"))
    if view.get("word"):
        # A word of the visitor's own: it becomes a part of the recipe, and so of the address.
        word = _word(view["word"])
        amount = view.get("amount", "")
        if re.fullmatch(r"-?[0-9](\.[0-9]{1,2})?", amount):
            changed = dish_editor.with_weight(dish, word, float(amount))
        else:
            changed = dish_editor.with_pinch(dish, word, dish_editor.PINCH if view.get("how") != "take" else -1.0)
        if changed is None and not dish_editor.has_place(dish, word):
            raise ApiError(422, "full_mix", field="mix", most=MAX_MIXED)
        if changed is None:
            raise ApiError(422, "no_room", field="mix", name=word)
        return RedirectResponse(pages.counter_url(request, changed), status_code=303)
    child, pantry = (_small(view.get(key), default) for key, default in (("child", 1), ("pantry", 0)))
    laid = dish_editor.lay(dish, texts.of(request), pictures.pieces, child=max(child, 1), pantry=pantry)
    novelty = await dependencies.novelty(request, dish) if view.get("nearest") and pictures.has_index else None
    return pages.counter_page(
        request, order, laid, pantry=pantry, novelty=novelty, shared=bool(view.get("shared"))
    )


@router.get("/table", include_in_schema=False)
async def table(request: Request) -> Response:
    """Names side by side, as a page whose cells are permalinks."""
    shown = pages.Table()
    try:
        view = read_query(request, ("names", "n", "seed", "by", "word"))
        by = next((one for one in comparison.ACROSS if one == view.get("by")), comparison.ACROSS[0])
        n = min(max(_small(view.get("n"), PAGE_PICTURES), 1), MAX_PICTURES)
        shown = pages.Table(view.get("names", ""), n, view.get("seed", "").strip(), by, view.get("word", ""))
        return _table(request, shown)
    except ApiError as error:
        return pages.table_page(request, shown, most=MAX_PICTURES, error=error)


def _table(request: Request, asked: pages.Table) -> Response:
    lines = asked.typed.splitlines()
    # Before they are looked at one by one.
    names = [] if len(lines) > MAX_LINES else [line for line in lines if not _blank(line)]
    if len(lines) > MAX_LINES or len(names) > MAX_PICTURES:
        raise ApiError(422, "too_many_names", field="names", most=MAX_PICTURES)
    if names and asked.by != "plates" and _blank(asked.word):
        raise ApiError(422, "invalid_by", field="word")
    word = _word(asked.word) if asked.word.strip() else ""
    pictures = dependencies.of(request)
    rows: list[Sequence[Dish]] = []
    seed = asked.seed
    for name in names:
        fields = {"name": name, "n": asked.n if asked.by == "plates" else 1, "seed": seed}
        dishes = check(fields, pictures, default_n=1).dishes
        seed = str(dishes[0].seed)
        row = dishes if asked.by == "plates" else comparison.row(dishes[0], asked.by, word, asked.n)
        if row is None:
            raise ApiError(422, "full_mix", field="mix", most=MAX_MIXED)
        rows.append(row)
    if rows and not asked.seed:
        # The number that was drawn is part of the address, so that a reload or another language shows the same.
        return RedirectResponse(pages.table_url(request, seed=rows[0][0].seed), status_code=303)
    headings = [comparison.heading(dish, asked.by, word) for dish in rows[0]] if rows else []
    return pages.table_page(request, asked, rows=rows, headings=headings, most=MAX_PICTURES)


@router.get("/omakase", include_in_schema=False)
async def omakase(request: Request) -> Response:
    """A dish that nobody has thought of, and then another: what was made up by hand comes first."""
    language = texts.of(request)
    view = read_query(request, ("name", "seed"))
    jokes = featured.jokes(language, random.Random())
    fields = {"name": view.get("name") or jokes.pop(), "seed": view.get("seed")}
    order = check(fields, dependencies.of(request), default_n=1)
    return pages.omakase_page(request, order.dishes[0], jokes)


@router.get("/menu", include_in_schema=False)
async def menu(request: Request) -> Response:
    """A sheet of dishes to print, each given by its own recipe."""
    queries = read_query(request, ("dish",)).get("dish", [])
    if not queries and negotiation.wants_page(request.headers.get("accept")):
        raise ApiError(422, "empty_menu", field="dish")
    return pages.menu_page(request, check_menu(queries, dependencies.of(request)))


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    return pages.docs_page(request)


def _word(text: str) -> str:
    try:
        return normalize(text).text
    except InvalidName as error:
        raise ApiError(422, error.code, field="word") from None


def _blank(line: str) -> bool:
    """Returns whether a line of names has nothing visible."""
    try:
        normalize(line)
    except InvalidName as error:
        return isinstance(error, EmptyName)
    return False


def _small(text: str | None, default: int) -> int:
    """Parses a number that only selects which part of a page to show; anything invalid gives the default."""
    return int(text) if text and re.fullmatch("[0-9]{1,4}", text) else default
