"""Renders the HTML pages, with the pictures in them or, with JavaScript, streaming into them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from app import featured, negotiation, texts
from app.comparison import ACROSS, Across
from app.dish_editor import Counter
from app.errors import ApiError, from_exception
from app.pictures import Format, Novelty, Pictures
from app.request_parsing import DRAWN, MAX_MENU, MAX_PICTURES, PAGE_PICTURES, Order
from model.dishes import ENLARGED_SIZE, MAX_CHILD, MAX_DEPTH, MAX_MIXED, MAX_WEIGHT, Dish
from model.generators import PICTURE_SIZE, SKETCH_SIZE
from model.languages import DEFAULT, LANGUAGES, OTHERS, Language
from model.names import MAX_CODE_POINTS
from model.pipeline import MAX_SEED

ROOT = Path(__file__).resolve().parent.parent

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(ROOT / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    auto_reload=False,  # what a server has started with is what it serves, whatever is checked out under it
    trim_blocks=True,
    lstrip_blocks=True,
)
# What templates and, through the attributes of the root element, scripts know of the limits.
_LIMITS = {
    "DRAWN": DRAWN, "MAX_MENU": MAX_MENU, "MAX_NAME": MAX_CODE_POINTS, "MAX_SEED": MAX_SEED, "MAX_MIXED": MAX_MIXED,
    "MAX_WEIGHT": MAX_WEIGHT, "MAX_DEPTH": MAX_DEPTH, "MAX_CHILD": MAX_CHILD, "MAX_PICTURES": MAX_PICTURES,
    "PAGE_PICTURES": PAGE_PICTURES, "ENLARGED_SIZE": ENLARGED_SIZE, "PICTURE_SIZE": PICTURE_SIZE,
    "SKETCH_SIZE": SKETCH_SIZE,
}  # fmt: skip
_templates.globals.update(_LIMITS)


# Where a long name may break: before and after a longer run of katakana, and before a kanji that follows hiragana, as a
# reader would break it. Signs and amounts stay with their word.
_BREAKS = re.compile(r"(?<=[^ァ-ヺー\s])(?=[ァ-ヺー]{3})|(?<=[ァ-ヺー]{3})(?=[^ァ-ヺー\s])|(?<=[ぁ-ゖ])(?=[一-鿿])")
_AMOUNT = re.compile(r"([+−→]) ([0-9.]+ )?")


def _phrased(name: str) -> Markup:
    """A dish's name as HTML that breaks lines only between words."""
    whole = _AMOUNT.sub(lambda found: found[0].replace(" ", "\u00a0"), name)
    return Markup("<wbr>").join(_BREAKS.split(whole))


def _icon(name: str) -> Markup:
    return Markup('<svg class="icon" aria-hidden="true" focusable="false"><use href="#icon-{}"/></svg>').format(name)


_templates.filters["phrased"] = _phrased
_templates.globals["icon"] = _icon

PICTURE_PATH = "/dish.webp"  # what the pages show; what is saved is always the PNG with its recipe


def load_templates() -> None:
    """Loads every template up front, so that no request has to."""
    for name in _templates.list_templates():
        _templates.get_template(name)


def home_url(request: Request) -> str:
    """The URL of the page with the form."""
    return f"{_root(request)}/"


def dish_url(request: Request, dish: Dish, model: str = "", format: Format = "png") -> str:
    """The permanent URL of this picture, as a path on this server; with a model's version, it only serves that model's
    picture."""
    address = f"{_root(request)}/dish.{format}?{dish.query()}"
    return f"{address}&model={model}" if model else address


def _shown_url(request: Request, dish: Dish) -> str:
    """The URL of the picture as shown on pages."""
    return f"{_root(request)}{PICTURE_PATH}?{dish.query()}"


def counter_url(request: Request, dish: Dish, **more: int | str) -> str:
    """The URL of this dish's editor, which is its permalink for people."""
    path = f"{_root(request)}/dish?{dish.query(size=False)}"
    return path + "".join(f"&{key}={value}" for key, value in more.items())


def page_url(request: Request, dish: Dish, n: int = 1) -> str:
    """The URL of the page that shows this dish."""
    return _at(request, "/", [("name", dish.name), ("seed", dish.seed), ("n", n)])


def order_url(request: Request, order: Order, name: str) -> str:
    """The URL of an order's page with the name as the visitor wrote it, so that notices about changes to it are shown
    again. A seed that was asked for is kept in the form."""
    query: list[tuple[str, str | int]] = [
        ("name", name), ("seed", order.dishes[0].seed), ("n", len(order.dishes)), ("model", order.model)
    ]  # fmt: skip
    if order.numbered:
        query.append(("kept", 1))
    if language := request.query_params.get("lang"):
        query.append(("lang", language))
    return _at(request, "/", query)


def table_url(request: Request, **fields: str | int) -> str:
    """The URL of the table with these fields."""
    query: list[tuple[str, str | int]] = [
        one for one in request.query_params.multi_items() if one[0] not in fields
    ]
    return _at(request, "/table", [*query, *fields.items()])


def front_page(
    request: Request,
    *,
    n: int,
    seed: int | str = "",
    order: Order | None = None,
    typed: object = None,
    error: ApiError | None = None,
) -> Response:
    """The page with the order form for `n` pictures of `seed`, filled with the name as `typed`, and below it the
    order's pictures, or an error."""
    language = texts.of(request)
    kept = typed[:200] if isinstance(typed, str) and typed.isprintable() else ""
    return _page(
        request,
        "page.html",
        status=error.status if error else 200,
        headers=error.headers if error else None,
        order=order,
        name=kept or (order.name if order else ""),
        n=n,
        seed=seed,
        error=error.message_on_page(language) if error else None,
        menu=featured.menu(datetime.date.today(), language),
        script_texts=texts.FORM_TEXTS,
    )


def counter_page(
    request: Request,
    order: Order,
    counter: Counter,
    *,
    pantry: int,
    novelty: Novelty | None,
    shared: bool = False,
) -> Response:
    """The dish editor. Visitors that the dish was `shared` with see an order form of their own first."""
    return _page(
        request,
        "dish_editor.html",
        counter=counter,
        notices=order.notices,
        pantry=pantry,
        novelty=novelty,
        shared=shared,
        none_of_it=replace(counter.dish, to=None, to_seed=None, t=0.0),
        script_texts=texts.COUNTER_TEXTS,
    )


@dataclass(frozen=True)
class Table:
    """The values in a table's form."""

    typed: str = ""
    n: int = PAGE_PICTURES
    seed: str = ""
    by: Across = "plates"
    word: str = ""


def table_page(
    request: Request,
    asked: Table,
    *,
    rows: Sequence[Sequence[Dish]] = (),
    headings: Sequence[str] = (),
    most: int,
    error: ApiError | None = None,
) -> Response:
    """The page that compares names side by side."""
    return _page(
        request,
        "table.html",
        status=error.status if error else 200,
        asked=asked,
        rows=rows,
        headings=headings,
        most=most,
        across=ACROSS,
        error=error.message_on_page(texts.of(request)) if error else None,
    )


def omakase_page(request: Request, dish: Dish, jokes: Sequence[str]) -> Response:
    """The page with one made-up dish, and the names that come next."""
    response = _page(request, "omakase.html", dish=dish, jokes=jokes, script_texts=texts.OMAKASE_TEXTS)
    response.headers["Cache-Control"] = "no-store"
    return response


def menu_page(request: Request, menu: Sequence[Dish]) -> Response:
    """The page with a menu to print."""
    queries = [("dish", dish.query()) for dish in menu]
    address = f"{_root(request)}/menu.zip?{urlencode(queries, quote_via=quote)}"
    return _page(request, "menu.html", dishes=menu, zip=address)


def error_page(request: Request, error: ApiError, headers: Mapping[str, str]) -> Response:
    message = error.message_on_page(texts.of(request))
    return _page(request, "error.html", status=error.status, headers=headers, message=message)


def docs_page(request: Request) -> Response:
    """The API's documentation, from its OpenAPI description."""
    base = str(request.base_url).rstrip("/")
    return _page(request, "docs.html", schema=request.app.openapi(), base=base, limits=_LIMITS)


def respond(request: Request, exception: Exception) -> Response:
    """An error response as JSON, or as a page if a browser asks for one."""
    error = from_exception(exception)
    headers = {"Cache-Control": "no-store", **error.headers}
    if request.scope["path"].startswith(f"{_root(request)}/v1/"):
        status, body = error.as_openai(texts.of(request))
        return JSONResponse(body, status_code=status, headers=headers)
    if negotiation.wants_page(request.headers.get("accept")):
        return error_page(request, error, headers)
    return JSONResponse(error.body(texts.of(request)), status_code=error.status, headers=headers)


def _open_graph(request: Request, language: Language, dish: Dish | None) -> Markup:
    """Open Graph metadata (https://ogp.me): the picture of a dish, or the site's own card, for previews of shared
    links."""
    origin = _origin(request)
    title = texts.text(language, "title")
    address = counter_url(request, dish, model=_version(request), shared=1) if dish else home_url(request)
    properties = {
        "og:title": dish.title if dish else title,
        "og:type": "website",
        "og:site_name": title,
        "og:description": texts.text(language, "tagline").replace("\n", ""),
        "og:locale": LANGUAGES[language].locale,
        "og:url": origin + address,
        "og:image": origin + _card_url(request, language, dish),
        "og:image:type": "image/jpeg",
        "og:image:width": "1200",
        "og:image:height": "630",
        "og:image:alt": dish.title if dish else title,
    }
    tags = [Markup('<meta property="{}" content="{}">').format(*one) for one in properties.items()]
    return Markup("\n").join([*tags, Markup('<meta name="twitter:card" content="summary_large_image">')])


def _card_url(request: Request, language: Language, dish: Dish | None) -> str:
    query = f"{dish.query(size=False)}&" if dish else ""
    return f"{_root(request)}/card.jpg?{query}lang={language}"


def _origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


def _root(request: Request) -> str:
    """The path that this app is mounted at. Within /static, `root_path` is that of the files."""
    root: str = request.scope.get("app_root_path", request.scope.get("root_path", ""))
    return root


def _at(request: Request, path: str, query: Sequence[tuple[str, str | int]]) -> str:
    return f"{_root(request)}{path}?{urlencode(query, quote_via=quote)}"


def _page(
    request: Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    script_texts: Sequence[str] = (),
    **values: Any,
) -> Response:
    language = texts.of(request)
    pictures = _pictures(request)
    version = _version(request)
    made_by = request.query_params.get("model", "")
    html = _templates.get_template(template).render(
        language=language,
        languages={key: (LANGUAGES[key].own_name, _in_language(request, key)) for key in (*OTHERS, DEFAULT)},
        text=partial(texts.text, language),
        say=partial(texts.notice, language),
        root=_root(request),
        version=version,
        has_index=pictures is not None and pictures.has_index,
        # The model that a permalink was made by, where it is not this one.
        made_by=made_by if re.fullmatch("[0-9a-f]{12}", made_by) and made_by != version else None,
        script_texts={key: texts.text(language, key) for key in (*texts.PAGE_TEXTS, *script_texts)},
        origin=_origin(request),
        picture_path=PICTURE_PATH,
        dish_url=partial(_shown_url, request),
        save_url=lambda dish: f"{dish_url(request, dish)}&download=1",
        page_url=partial(page_url, request),
        at=partial(counter_url, request),
        og=partial(_open_graph, request, language),
        json=lambda value: jinja2.utils.htmlsafe_json_dumps(value, ensure_ascii=False),
        **values,
    )
    response = HTMLResponse(html, status_code=status)
    response.headers["Vary"] = "Accept, Accept-Language, Cookie"
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers.update(headers or {})
    if request.query_params.get("lang") in LANGUAGES:
        response.set_cookie(
            texts.COOKIE,
            language,
            max_age=365 * 86400,
            path=_root(request) or "/",
            httponly=True,
            samesite="lax",
        )
    return response


def _pictures(request: Request) -> Pictures | None:
    return getattr(request.app.state, "pictures", None) if "app" in request.scope else None


def _version(request: Request) -> str:
    pictures = _pictures(request)
    return pictures.version if pictures else ""


def _in_language(request: Request, language: str) -> str:
    """The URL of this page in another language. Submitted form data is not in the URL, so after a POST it leads to the
    order form."""
    if request.method != "GET":
        return f"{_root(request)}/?lang={language}"
    query = [(key, value) for key, value in request.query_params.multi_items() if key != "lang"]
    # Anything may have been asked for: an address that begins with two slashes would lead to another server.
    path = quote(request.scope["path"].removeprefix(_root(request)).lstrip("/"))
    return _at(request, f"/{path}", [*query, ("lang", language)])
