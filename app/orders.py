"""What a request asks for, from a JSON body, a form or a query, checked before it costs anything."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from python_multipart import parse_form
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import File
from starlette.requests import Request

from app.errors import ApiError
from app.pictures import Dish, Pictures
from model.generation import MAX_SEED
from model.names import NameError_, normalize

MAX_PICTURES = 8
PAGE_PICTURES = 4


def _whole(value: object) -> object:
    """Forms carry numbers as text. Floats and booleans are no whole numbers, whatever Python thinks."""
    if isinstance(value, str):
        value = value.strip()
        if value == "":
            return None
        return int(value) if value.isascii() and value.isdigit() and len(value) <= 10 else value
    return value if type(value) is int else str(value)


Whole = BeforeValidator(_whole)


class Fields(BaseModel):
    """What `POST /generate` takes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(
        description="The dish's name, in Japanese or English. It is normalised (NFKC) and cut at 80 characters.",
        examples=["ピリ辛サーモン丼", "smoky beetroot ramen"],
    )
    n: Annotated[int, Whole, Field(ge=1, le=MAX_PICTURES)] | Annotated[None, Whole] = Field(
        None,
        description=f"How many pictures, 1 to {MAX_PICTURES}: 1 by default, {PAGE_PICTURES} on the page.",
    )
    seed: Annotated[int, Whole, Field(ge=0, le=MAX_SEED)] | Annotated[None, Whole] = Field(
        None,
        description="The first picture's seed; the others count on from it. Drawn at random by default. "
        "The same name and seed make the same picture again.",
    )
    size: Annotated[Literal[64, 256] | None, Whole] = Field(
        None, description="Side length in pixels: 256 (default), or 64 for the first stage's sketch alone."
    )


@dataclass(frozen=True)
class Order:
    """An order that can be carried out: the dish's name normalised, with notices on what was changed in it."""

    name: str
    notices: tuple[str, ...]
    model: str
    dishes: tuple[Dish, ...]


async def read_body(request: Request) -> dict[str, Any]:
    """The fields of a request's body. ApiError 400, 415, 422."""
    content_type = request.headers.get("content-type", "")
    body = await request.body()
    match content_type.partition(";")[0].strip().lower():
        case "application/json":
            return _json(body)
        case "application/x-www-form-urlencoded":
            return _once(_pairs(body))
        case "multipart/form-data":
            return _once(_parts(body, content_type))
    raise ApiError(415, "unsupported_media_type")


def read_query(request: Request, keys: Sequence[str]) -> dict[str, Any]:
    """The fields of the query that are among `keys`. What is not UTF-8 is refused, not replaced. ApiError."""
    query: bytes = request.scope["query_string"]
    return {key: value for key, value in _once(_pairs(query)).items() if key in keys}


def check(
    fields: dict[str, Any], pictures: Pictures, *, default_n: int, default_seed: int | None = None
) -> Order:
    """ApiError 422 says which field is wrong and what it may be. Without any seed, one is drawn at random."""
    if not fields.keys() <= Fields.model_fields.keys():
        # The field's own name is not repeated: it may be anything, of any length.
        raise ApiError(422, "unknown_field")
    try:
        valid = Fields.model_validate(fields)
    except ValidationError as error:
        raise _fault(error, fields) from None
    try:
        name = normalize(valid.name).text
        notices = pictures.notices(valid.name)
    except NameError_ as error:
        raise ApiError(422, error.code, field="name") from None
    first = valid.seed if valid.seed is not None else default_seed
    if first is None:
        first = secrets.randbelow(MAX_SEED + 1)
    seeds = [(first + k) % (MAX_SEED + 1) for k in range(valid.n or default_n)]
    return Order(
        name, notices, pictures.version, tuple(Dish(name, seed, valid.size or 256) for seed in seeds)
    )


def _fault(error: ValidationError, fields: dict[str, Any]) -> ApiError:
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    match fault["loc"][0]:
        case "n":
            return ApiError(422, "invalid_n", field="n", most=MAX_PICTURES)
        case "seed":
            return ApiError(422, "invalid_seed", field="seed", most=MAX_SEED)
        case "size":
            return ApiError(422, "invalid_size", field="size")
    return ApiError(422, "missing_name" if fields.get("name") is None else "invalid_name", field="name")


def _json(body: bytes) -> dict[str, Any]:
    def refuse(literal: str) -> object:
        raise ValueError(literal)

    try:
        value = json.loads(body.decode("utf-8"), parse_constant=refuse)  # NaN and Infinity are not JSON
    except UnicodeDecodeError:
        raise ApiError(400, "not_utf8") from None
    except (ValueError, RecursionError):  # also for integers of thousands of digits
        raise ApiError(400, "invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError(422, "not_an_object")
    return value


def _pairs(data: bytes) -> list[tuple[bytes, bytes]]:
    """The keys and values of application/x-www-form-urlencoded."""
    pairs = []
    for part in data.split(b"&"):
        if part:
            key, _, value = part.replace(b"+", b" ").partition(b"=")
            pairs.append((unquote_to_bytes(key), unquote_to_bytes(value)))
    return pairs


def _parts(body: bytes, content_type: str) -> list[tuple[bytes, bytes]]:
    """The names and contents of the parts of multipart/form-data."""
    pairs: list[tuple[bytes, bytes]] = []

    def on_file(file: File) -> None:
        raise ApiError(422, "unexpected_file")

    try:
        parse_form(
            {"Content-Type": content_type.encode("latin-1")},
            io.BytesIO(body),
            lambda field: pairs.append((field.field_name or b"", field.value or b"")),
            on_file,
        )
    except FormParserError:
        raise ApiError(400, "invalid_form") from None
    return pairs


def _once(pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """The pairs as text, each key once."""
    try:
        fields = {key.decode("utf-8"): value.decode("utf-8") for key, value in pairs}
    except UnicodeDecodeError:
        raise ApiError(400, "not_utf8") from None
    if len(fields) < len(pairs):
        raise ApiError(422, "repeated_field")
    return fields
