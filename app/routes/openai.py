"""OpenAI's image API, so that its clients work here with another base URL.

https://platform.openai.com/docs/api-reference/images/create, …/models
"""

from __future__ import annotations

import base64
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse

from app import dependencies, responses, texts
from app.dependencies import ServedPictures
from app.errors import ApiError
from app.pages import dish_url
from app.request_parsing import MAX_PICTURES, Whole, check, one_of, read_body
from model.generators import PICTURE_SIZE, SKETCH_SIZE
from model.languages import LISTED
from model.pipeline import MAX_SEED

router = APIRouter(prefix="/v1")

SIZES = {f"{side}x{side}": side for side in (PICTURE_SIZE, SKETCH_SIZE)} | {"auto": PICTURE_SIZE}
_UNUSED: Any = Field(None, description="Accepted, so that clients need no change, and without effect here.")


class ImagesRequest(BaseModel):
    """The fields of a request. `seed` is an extension of ours."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str = Field(description=f"The dish's name, in {LISTED}.", examples=["pumpkin sushi"])
    n: Annotated[int, Whole, Field(ge=1, le=MAX_PICTURES)] | None = Field(1, description="How many pictures.")
    size: Annotated[str, *one_of([*SIZES])] | None = Field("auto", description=f"auto is {next(iter(SIZES))}.")
    response_format: Literal["url", "b64_json"] | None = Field(
        "url", description="The picture's permanent address here, or the PNG itself."
    )
    seed: Annotated[int, Whole, Field(ge=0, le=MAX_SEED)] | None = Field(
        None, description="The first picture's seed; the others count on from it. Drawn at random by default."
    )
    output_format: Literal["png"] | None = Field("png", description="Pictures are PNG files.")
    stream: Literal[False] | None = Field(False, description="Pictures come all at once.")
    partial_images: Literal[0] | None = Field(0, description="There are none without a stream.")
    model: Any = _UNUSED
    user: Any = _UNUSED
    quality: Any = _UNUSED
    style: Any = _UNUSED
    background: Any = _UNUSED
    moderation: Any = _UNUSED
    output_compression: Any = _UNUSED


class Image(BaseModel):
    """`revised_prompt` is the name as it was read; `seed` makes the picture again."""

    url: str | None = None
    b64_json: str | None = None
    revised_prompt: str
    seed: int


class Images(BaseModel):
    created: int
    data: list[Image]


class Model(BaseModel):
    """`id` is the model's version, as everywhere here. When it was trained is not known, so `created` is 0."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: Literal["imaginary-cafeteria"] = "imaginary-cafeteria"


class Models(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class OpenAIProblem(BaseModel):
    """OpenAI's shape of an error; `code` is as everywhere else here."""

    class Details(BaseModel):
        message: str
        type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
        param: str | None
        code: str

    error: Details


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"model": OpenAIProblem, "description": texts.text("en", f"status.{status}")} for status in statuses
    }


@router.get(
    "/models", summary="The one model that is here, for clients of OpenAI's API", responses=_problems(503)
)
async def models(pictures: ServedPictures) -> Models:
    return Models(data=[Model(id=pictures.version)])


@router.get("/models/{id}", summary="The model of this id", responses=_problems(404, 503))
async def model(pictures: ServedPictures, id: str) -> Model:
    if id != pictures.version:
        raise ApiError(404, "model_not_found", field="model", version=pictures.version)
    return Model(id=pictures.version)


async def _asked(request: Request) -> ImagesRequest:
    """Parses the body as the other routes do; FastAPI itself would accept repeated keys, NaN and invalid UTF-8. Raises
    ApiError."""
    body = await read_body(request)
    if not body.keys() <= ImagesRequest.model_fields.keys():
        raise ApiError(422, "unknown_parameter")
    try:
        return ImagesRequest.model_validate(body)
    except ValidationError as error:
        wrong = str(error.errors()[0]["loc"][0])
    match wrong:
        case "prompt":
            raise ApiError(
                422, "missing_prompt" if body.get("prompt") is None else "invalid_name", field=wrong
            )
        case "n":
            raise ApiError(422, "invalid_n", field=wrong, most=MAX_PICTURES)
        case "seed":
            raise ApiError(422, "invalid_seed", field=wrong, most=MAX_SEED)
        case "size":
            raise ApiError(422, "invalid_image_size", field=wrong, sizes=", ".join(SIZES))
    raise ApiError(422, f"invalid_{wrong}", field=wrong)


@router.post(
    "/images/generations",
    summary="Pictures of a dish, for clients of OpenAI's API",
    response_model=Images,
    responses=_problems(400, 403, 408, 413, 415, 429, 500, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ImagesRequest.model_json_schema()}},
        }
    },
)
async def generations(
    request: Request, asked: Annotated[ImagesRequest, Depends(_asked)], pictures: ServedPictures
) -> JSONResponse:
    """Takes any API key. Errors have OpenAI's shape, and a wrong parameter is 400, as it is there."""
    fields = {"name": asked.prompt, "n": asked.n, "seed": asked.seed, "size": SIZES[asked.size or "auto"]}
    order = check(fields, pictures, default_n=1)
    data = []
    made = await responses.all_made(request, dependencies.order(request, order.dishes))
    for dish, result in zip(order.dishes, made, strict=True):
        image: dict[str, Any] = {"revised_prompt": order.name, "seed": dish.seed}
        if asked.response_format == "b64_json":
            image["b64_json"] = base64.b64encode(result).decode("ascii")
        else:
            path = dish_url(request, dish, order.model)
            image["url"] = f"{request.url.scheme}://{request.url.netloc}{path}"
        data.append(image)
    return JSONResponse({"created": int(time.time()), "data": data}, headers={"Cache-Control": "no-store"})
