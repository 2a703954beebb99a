"""Parses and validates what a request asks for, from a JSON body, a form or a query, before it costs anything."""

from __future__ import annotations

import io
import json
import re
import secrets
from codecs import BOM_UTF8
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from python_multipart import parse_form
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field as FormField
from python_multipart.multipart import File
from starlette.requests import Request

from app import texts, weighed_names
from app.errors import ApiError
from app.pictures import ENCODERS, Format, Pictures
from model.dishes import ENLARGED_SIZE, MAX_CHILD, MAX_DEPTH, MAX_MIXED, MAX_WEIGHT, Dish
from model.generators import PICTURE_SIZE, SKETCH_SIZE
from model.languages import LISTED
from model.names import InvalidName, normalize
from model.pipeline import MAX_SEED

MAX_PICTURES = 8
PAGE_PICTURES = 4
MAX_MENU = 24
MAX_FIELDS = 64  # of a query or a form
DRAWN = 1_000_000  # seeds drawn at random are below this: people read them to each other, and a million will do
MODEL = "[0-9a-f]{12}"  # a model's version


def _whole(value: object) -> object:
    """Normalizes a whole number: forms have numbers as text, and JSON null means that the field was left out. 1.0 and
    booleans are rejected, unlike in Python."""
    if isinstance(value, str):
        value = value.strip()
        if value == "":
            return None
        return int(value) if value.isascii() and value.isdigit() and len(value) <= 10 else value
    return value if value is None or type(value) is int else str(value)


Whole = BeforeValidator(_whole)


@dataclass(frozen=True)
class _Decimal:
    """A JSON number with a point or an exponent, kept as written: as floats, the paths 3.1 and 3.10 would be equal."""

    written: str

    def __str__(self) -> str:
        return self.written


def _text(value: object) -> object:
    """Normalizes text: an empty form field counts as left out, and JSON numbers are accepted as text."""
    if type(value) in (int, _Decimal):
        value = str(value)
    return None if value == "" else value


def _list(value: object) -> object:
    """Normalizes a list: a form has a single `mix` as text and several as a list. Empty entries are dropped."""
    values = value if isinstance(value, list) else [value]
    return [v for v in values if v not in ("", None)]


def one_of(offered: Sequence[Any]) -> tuple[AfterValidator, WithJsonSchema]:
    """Annotates a field like `Literal[*offered]`, for values that are only known at run time."""

    def check(value: Any) -> Any:
        if value not in offered:
            raise ValueError(f"it is none of {offered}")
        return value

    kind = "string" if isinstance(offered[0], str) else "integer"
    return AfterValidator(check), WithJsonSchema({"enum": list(offered), "type": kind})


Size = Annotated[int, *one_of((SKETCH_SIZE, PICTURE_SIZE, ENLARGED_SIZE))]
Text = Annotated[str | None, BeforeValidator(_text)]
REPEATED = ("mix", "dish")  # the fields that may be given more than once


class Recipe(BaseModel):
    """The fields that one picture depends on, which are also its address's query."""

    model_config = ConfigDict(strict=True)

    name: str = Field(
        description=f"The dish's name, in {LISTED}. It is normalised (NFKC) and cut at 80 characters. "
        "Weights in it, as in `ramen -egg (spicy:1.4)`, are read as `mix`.",
        examples=["ピリ辛サーモン丼", "smoky beetroot ramen"],
    )
    seed: Annotated[int, Whole, Field(ge=0, le=MAX_SEED)] | Annotated[None, Whole] = Field(
        None,
        description="The first picture's seed; the others count on from it. Drawn at random by default. "
        "The same name and seed make the same picture again.",
    )
    size: Annotated[Size | None, Whole] = Field(
        None,
        description=f"Side length in pixels: {PICTURE_SIZE} (default), {SKETCH_SIZE} for the first stage's sketch "
        f"alone, or {ENLARGED_SIZE} for the picture enlarged (Lanczos).",
    )
    path: Text = Field(
        None,
        description="The way to a variation of the seed's picture, as 3.1: the first variation of the third. "
        f"At most {MAX_DEPTH} numbers from 1 to {MAX_CHILD}. With it, further pictures count on in its last number.",
    )
    off: Text = Field(None, description="Word pieces of the name that are not read, counted from 0, as 0,2.")
    mix: Annotated[list[str], BeforeValidator(_list)] = Field(
        [],
        description="Further names, each as weight:name, such as 0.5:tomato or -1:egg; the name's own weight is 1. "
        f"At most {MAX_MIXED}, with weights from -{MAX_WEIGHT:g} to {MAX_WEIGHT:g}.",
    )
    to: Text = Field(
        None,
        description="A name to morph into. Without t, the pictures (n of them, at least 2) are the steps on the way.",
    )
    to_seed: Annotated[int, Whole, Field(ge=0, le=MAX_SEED)] | Annotated[None, Whole] = Field(
        None, description="A seed to morph into, along with the name or by itself."
    )
    t: Text = Field(None, description="How far the morph has got: 0 to 1.")


class Address(Recipe):
    """The query of a picture's address. Other fields are ignored, since shared links pick up tracking parameters."""

    model: str | None = Field(
        None,
        description="The version of the model that made the picture; 404 where this is another one.",
        pattern=f"^({MODEL})?$",
    )


class PictureAddress(Address):
    """An address that may also say what to do with the picture."""

    download: str | None = Field(None, description="If present, the picture comes as a file to save.")


class Fields(Recipe):
    """The fields of `POST /generate`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    n: Annotated[int, Whole, Field(ge=1, le=MAX_PICTURES)] | Annotated[None, Whole] = Field(
        None,
        description=f"How many pictures, 1 to {MAX_PICTURES}: 1 by default, {PAGE_PICTURES} on the page.",
    )
    format: Annotated[Format | None, BeforeValidator(_text)] = Field(
        None,
        description="What the pictures in JSON and in a stream are: png (default), or webp, an eighth of its bytes. "
        "One picture by itself comes as Accept says.",
    )


RECIPE = tuple(Recipe.model_fields)


@dataclass(frozen=True)
class Order:
    """A validated order: the dish's name normalized, with notices about changes to it, and whether a seed was given.
    `format` is None if none was given."""

    name: str
    notices: tuple[str, ...]
    model: str
    dishes: tuple[Dish, ...]
    numbered: bool
    format: Format | None = None


async def read_body(request: Request) -> dict[str, Any]:
    """Reads the fields of a request's body. Raises ApiError 400, 415, 422."""
    content_type = request.headers.get("content-type", "")
    body = (await request.body()).removeprefix(BOM_UTF8)
    match content_type.partition(";")[0].strip().lower():
        case "application/json":
            return _json(body)
        case "application/x-www-form-urlencoded":
            return _once(_pairs(body))
        case "multipart/form-data":
            return _once(_parts(body, content_type))
    raise ApiError(415, "unsupported_media_type")


def read_query(request: Request, keys: Sequence[str]) -> dict[str, Any]:
    """Reads those fields of the query that are in `keys`. Raises ApiError if one is repeated or not UTF-8."""
    return _fields(request.scope["query_string"], keys)


def check(
    fields: dict[str, Any], pictures: Pictures, *, default_n: int, default_seed: int | None = None
) -> Order:
    """Validates fields. Raises ApiError 422, which names the field and its valid values. If no seed is given, one is
    drawn at random."""
    if not fields.keys() <= Fields.model_fields.keys():
        # The field's own name is not repeated: it may be anything, of any length.
        raise ApiError(422, "unknown_field")
    try:
        valid = Fields.model_validate(fields)
    except ValidationError as error:
        raise fault(error.errors()) from None
    order = order_of(valid, pictures, n=valid.n or default_n, default_seed=default_seed)
    return replace(order, format=valid.format)


def order_of(recipe: Recipe, pictures: Pictures, *, n: int = 1, default_seed: int | None = 0) -> Order:
    """The order of `n` pictures starting with this recipe. Errors and seed are as in `check`."""
    written, notices = _name(recipe.name, "name", pictures)
    weighed = weighed_names.parse(written)
    name, _ = _name(weighed.name, "name", pictures)
    to = None
    if recipe.to is not None:
        to, more = _name(recipe.to, "to", pictures)
        notices = tuple(dict.fromkeys((*notices, *more)))
    first = recipe.seed if recipe.seed is not None else default_seed
    if first is None:
        first = draw_seed()
    t = _t(recipe.t)
    dish = Dish(
        name,
        first,
        recipe.size or PICTURE_SIZE,
        path=_path(recipe.path),
        off=_off(recipe.off, name, pictures),
        mix=_mix([*(f"{weight:g}:{other}" for weight, other in weighed.mix), *recipe.mix], pictures),
        to=to,
        to_seed=recipe.to_seed,
    )
    if dish.morphs and t:
        dish = replace(dish, t=t)
    if weighed.mix:
        notices = (*notices, texts.read_as(replace(dish, to=None, to_seed=None).title))
    strip = dish.morphs and t is None
    dishes = tuple(_several(dish, n, strip))
    return Order(name, notices, pictures.version, dishes, numbered=recipe.seed is not None)


def draw_seed() -> int:
    """Draws a random seed."""
    return secrets.randbelow(DRAWN)


def seed_or_none(text: str | None) -> int | None:
    """Parses the seed of a page's form; None if it is not valid."""
    return int(text) if text and re.fullmatch("[0-9]{1,10}", text) and int(text) <= MAX_SEED else None


def read_address(query: bytes, pictures: Pictures, kind: type[Address] = Address) -> dict[str, Any]:
    """Reads the fields of a picture's address. Raises ApiError 422 if one is repeated, 400 if it is not UTF-8, or 404
    if another model made the picture."""
    fields = _fields(query, tuple(kind.model_fields))
    if (model := fields.get("model", "")) not in ("", pictures.version):
        if not re.fullmatch(MODEL, model):
            raise ApiError(422, "invalid_model", field="model")
        raise ApiError(404, "other_model", field="model", model=model, version=pictures.version)
    return fields


def check_picture(query: bytes, pictures: Pictures) -> Order:
    """The picture that an address with this query names. Raises ApiError like `read_address` and `check`."""
    fields = read_address(query, pictures)
    try:
        address = Address.model_validate(fields)
    except ValidationError as error:
        raise fault(error.errors()) from None
    return order_of(address, pictures)


def check_menu(queries: Sequence[str], pictures: Pictures) -> list[Dish]:
    """The dishes of a menu, each given by its own query. Raises ApiError like `check_picture`."""
    if not 1 <= len(queries) <= MAX_MENU:
        raise ApiError(422, "invalid_menu", field="dish", most=MAX_MENU)
    return [replace(check_picture(query.encode(), pictures).dishes[0], size=PICTURE_SIZE) for query in queries]


def _several(dish: Dish, n: int, strip: bool) -> list[Dish]:
    """`n` dishes starting with this one: steps of its morph, its siblings, or the next seeds."""
    if strip and n > 1:
        return dish.steps(n)
    if dish.path:
        *before, last = dish.path
        return [replace(dish, path=(*before, (last - 1 + k) % MAX_CHILD + 1)) for k in range(n)]
    return [replace(dish, seed=(dish.seed + k) % (MAX_SEED + 1)) for k in range(n)]


def _name(raw: str, field: str, pictures: Pictures) -> tuple[str, tuple[str, ...]]:
    try:
        name = normalize(raw)
    except InvalidName as error:
        raise ApiError(422, error.code, field=field) from None
    return name.text, pictures.notices(name)


def _path(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    if re.fullmatch(rf"[0-9]{{1,4}}(\.[0-9]{{1,4}}){{0,{MAX_DEPTH - 1}}}", text):
        path = tuple(map(int, text.split(".")))
        if 0 not in path:
            return path
    raise ApiError(422, "invalid_path", field="path", most=MAX_CHILD, depth=MAX_DEPTH)


def _off(text: str | None, name: str, pictures: Pictures) -> tuple[int, ...]:
    if text is None:
        return ()
    count = len(pictures.pieces(name))
    if re.fullmatch(r"[0-9]{1,2}(,[0-9]{1,2}){0,63}", text):
        off = tuple(sorted(set(map(int, text.split(",")))))
        if off[-1] < count:
            return off
    raise ApiError(422, "invalid_off", field="off", most=count - 1)


def _mix(entries: list[str], pictures: Pictures) -> tuple[tuple[float, str], ...]:
    """Parses a mix. A repeated name gets the sum of its weights, and names of weight 0 are dropped."""
    if len(entries) > MAX_MIXED:
        raise ApiError(422, "invalid_mix", field="mix", most=MAX_MIXED, weight=f"{MAX_WEIGHT:g}")
    weights: dict[str, float] = {}
    for entry in entries:
        found = re.fullmatch(r"([+-]?[0-9](?:\.[0-9]{1,2})?):(.+)", entry, re.DOTALL)
        if not found or abs(float(found[1])) > MAX_WEIGHT:
            raise ApiError(422, "invalid_mix", field="mix", most=MAX_MIXED, weight=f"{MAX_WEIGHT:g}")
        name, _ = _name(found[2], "mix", pictures)
        weight = weights.get(name, 0.0) + float(found[1])
        weights[name] = min(max(round(weight, 2), -MAX_WEIGHT), MAX_WEIGHT)
    return tuple((weight, name) for name, weight in weights.items() if weight)


def _t(text: str | None) -> float | None:
    if text is None:
        return None
    if re.fullmatch(r"0(\.[0-9]{1,3})?|1(\.0{1,3})?", text):
        return round(float(text), 2)
    raise ApiError(422, "invalid_t", field="t")


def fault(errors: Sequence[Any]) -> ApiError:
    """Picks the one error to report from pydantic's, or FastAPI's: the first, in the order name, n and then as
    declared."""

    def field_of(error: Any) -> str:
        return str(next(place for place in error["loc"] if place not in ("query", "body")))

    first = min(errors, key=lambda error: field_of(error) not in ("name", "n"))
    match field_of(first):
        case "n":
            return ApiError(422, "invalid_n", field="n", most=MAX_PICTURES)
        case "seed" | "to_seed" as field:
            return ApiError(422, "invalid_seed", field=field, most=MAX_SEED)
        case "size":
            return ApiError(
                422, "invalid_size", field="size", sketch=SKETCH_SIZE, picture=PICTURE_SIZE, enlarged=ENLARGED_SIZE
            )
        case "format":
            return ApiError(422, "invalid_format", field="format", formats=", ".join(ENCODERS))
        case "path":
            return ApiError(422, "invalid_path", field="path", most=MAX_CHILD, depth=MAX_DEPTH)
        case "off":
            return ApiError(422, "invalid_off", field="off", most=0)
        case "mix":
            return ApiError(422, "invalid_mix", field="mix", most=MAX_MIXED, weight=f"{MAX_WEIGHT:g}")
        case "t":
            return ApiError(422, "invalid_t", field="t")
        case "to":
            return ApiError(422, "invalid_name", field="to")
        case "dish":
            return ApiError(422, "invalid_menu", field="dish", most=MAX_MENU)
    missing = first["type"] == "missing" or first["input"] is None
    return ApiError(422, "missing_name" if missing else "invalid_name", field="name")


def _json(body: bytes) -> dict[str, Any]:
    def refuse(literal: str) -> object:
        raise ValueError(literal)

    try:
        # NaN and Infinity are not JSON.
        value = json.loads(
            body.decode("utf-8"), parse_float=_Decimal, parse_constant=refuse, object_pairs_hook=_object
        )
    except UnicodeDecodeError:
        raise ApiError(400, "not_utf8") from None
    except (ValueError, RecursionError):  # also for integers of thousands of digits
        raise ApiError(400, "invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError(422, "not_an_object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ApiError(422, "repeated_field")
    return fields


def _fields(query: bytes, keys: Sequence[str]) -> dict[str, Any]:
    """Parses the fields in `keys`; others are dropped unparsed, since shared links pick up tracking parameters."""
    wanted = {key.encode() for key in keys}
    return _once([(key, value) for key, value in _pairs(query) if key in wanted])


def _pairs(data: bytes) -> list[tuple[bytes, bytes]]:
    """The keys and values of application/x-www-form-urlencoded data. Raises ApiError 400 if there are too many."""
    check_count(data)
    pairs = []
    for part in data.split(b"&"):
        if part:
            key, _, value = part.replace(b"+", b" ").partition(b"=")
            pairs.append((unquote_to_bytes(key), unquote_to_bytes(value)))
    return pairs


def check_count(data: bytes) -> None:
    """Raises ApiError 400 if this query or form has too many fields, before parsing any of them."""
    if data.count(b"&") >= MAX_FIELDS:
        raise ApiError(400, "too_many_fields", most=MAX_FIELDS)


def _parts(body: bytes, content_type: str) -> list[tuple[bytes, bytes]]:
    """The names and contents of the parts of a multipart/form-data body."""
    pairs: list[tuple[bytes, bytes]] = []

    def on_field(field: FormField) -> None:
        if len(pairs) >= MAX_FIELDS:
            raise ApiError(400, "too_many_fields", most=MAX_FIELDS)
        pairs.append((field.field_name or b"", field.value or b""))

    def on_file(file: File) -> None:
        raise ApiError(422, "unexpected_file")

    try:
        parse_form(
            {"Content-Type": content_type.encode("latin-1")},
            io.BytesIO(body),
            on_field,
            on_file,
        )
    except FormParserError:
        raise ApiError(400, "invalid_form") from None
    return pairs


def _once(pairs: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """Decodes pairs into a dict. Keys must be unique, except those that may be repeated, whose values become a list."""
    fields: dict[str, Any] = {}
    try:
        for key, value in ((key.decode("utf-8"), value.decode("utf-8")) for key, value in pairs):
            if key in REPEATED:
                fields.setdefault(key, []).append(value)
            elif key in fields:
                raise ApiError(422, "repeated_field")
            else:
                fields[key] = value
    except UnicodeDecodeError:
        raise ApiError(400, "not_utf8") from None
    return fields
