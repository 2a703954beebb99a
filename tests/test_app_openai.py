"""OpenAI's image API, by OpenAI's own client."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from model import png
from tests.serving import FakePipeline, cafeteria, until


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with cafeteria(FakePipeline(), rate=60) as url:
        until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200)
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_pictures_come_as_permanent_addresses(url: str, client: openai.OpenAI) -> None:
    answer = client.images.generate(
        prompt=" pumpkin  sushi ", n=2, model="gpt-image-1", extra_body={"seed": 7}
    )
    assert answer.data and len(answer.data) == 2
    assert answer.created > 1_700_000_000
    for image, seed in zip(answer.data, (7, 8), strict=True):
        assert image.url and image.url.startswith(f"{url}/dish.png?")
        assert image.b64_json is None
        assert image.revised_prompt == "pumpkin sushi"
        assert image.url.endswith(f"&model={FakePipeline.version}")
        data = httpx.get(image.url, trust_env=False).content
        assert png.read_metadata(data)["Seed"] == str(seed)
        assert pixels(data).shape == (256, 256, 3)


def test_pictures_come_as_base64_in_both_sizes(client: openai.OpenAI) -> None:
    for size, side in (("64x64", 64), ("256x256", 256), ("auto", 256)):
        answer = client.images.generate(
            prompt="ピリ辛サーモン丼", size=size, response_format="b64_json", extra_body={"seed": 3}
        )  # fmt: skip
        assert answer.data and answer.data[0].b64_json and answer.data[0].url is None
        data = base64.b64decode(answer.data[0].b64_json)
        assert pixels(data).shape == (side, side, 3)
        assert png.read_metadata(data)["Name"] == "ピリ辛サーモン丼"


def test_null_is_a_parameter_left_out(client: openai.OpenAI) -> None:
    answer = client.images.generate(
        prompt="tea", n=None, size=None, response_format=None, output_format=None, extra_body={"seed": None}
    )
    assert answer.data and len(answer.data) == 1
    assert answer.data[0].url and "size" not in answer.data[0].url


@pytest.mark.parametrize(
    "same",
    [
        {"stream": False},
        {"partial_images": 0},
        {"stream": None, "partial_images": None},
        {"background": "auto", "moderation": "low", "quality": "high", "output_compression": 100},
    ],
)
def test_what_only_says_the_default_is_taken(client: openai.OpenAI, same: dict[str, Any]) -> None:
    plain = client.images.generate(prompt="tea", extra_body={"seed": 3})
    assert client.images.generate(prompt="tea", extra_body={"seed": 3}, **same).data == plain.data


def test_the_one_model_is_listed(client: openai.OpenAI) -> None:
    (model,) = client.models.list()
    assert (model.id, model.object) == (FakePipeline.version, "model")
    assert client.models.retrieve(model.id) == model
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("dall-e-3")
    assert (error.value.code, error.value.type) == ("model_not_found", "invalid_request_error")
    assert FakePipeline.version in error.value.message


def test_a_size_that_does_not_exist_is_told_what_exists(client: openai.OpenAI) -> None:
    for size in ("1024x1024", "1792x1024", "256"):
        with pytest.raises(openai.BadRequestError, match="256x256, 64x64, auto"):
            client.images.generate(prompt="tea", size=size)


@pytest.mark.parametrize(
    ("parameters", "param", "code"),
    [
        ({"prompt": ""}, "prompt", "empty_name"),
        ({"prompt": None}, "prompt", "missing_prompt"),
        ({"prompt": ["tea"]}, "prompt", "invalid_name"),
        ({"n": 9}, "n", "invalid_n"),
        ({"n": 0}, "n", "invalid_n"),
        ({"size": "1024x1024"}, "size", "invalid_image_size"),
        ({"response_format": "jpeg"}, "response_format", "invalid_response_format"),
        ({"output_format": "webp"}, "output_format", "invalid_output_format"),
        ({"size": "512x512"}, "size", "invalid_image_size"),
        ({"size": "1536x1024"}, "size", "invalid_image_size"),
        ({"stream": True, "extra_headers": {"Accept": "application/json"}}, "stream", "invalid_stream"),
        ({"stream": "no"}, "stream", "invalid_stream"),
        ({"partial_images": 2}, "partial_images", "invalid_partial_images"),
        ({"extra_body": {"strength": 0.5}}, None, "unknown_parameter"),
        ({"extra_body": {"seed": -1}}, "seed", "invalid_seed"),
        ({"extra_body": {"name": "tea"}}, None, "unknown_parameter"),
    ],
)
def test_a_wrong_parameter_is_named_as_openai_names_it(
    client: openai.OpenAI, parameters: dict[str, Any], param: str | None, code: str
) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.images.generate(**({"prompt": "tea"} | parameters))
    assert (error.value.param, error.value.code) == (param, code)
    assert error.value.type == "invalid_request_error"
    assert isinstance(error.value.body, dict) and error.value.body["message"]


def test_every_error_below_v1_has_openais_shape(url: str, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.files.list()
    with pytest.raises(openai.APIStatusError) as large:
        client.images.generate(prompt="a" * 70_000)
    assert (large.value.status_code, large.value.code) == (413, "body_too_large")
    for content in (b'{"prompt": NaN}', b"[" * 20_000, '{"prompt": "丼"}'.encode("shift_jis")):
        headers = {"Content-Type": "application/json", "Accept": "text/html"}
        answer = httpx.post(f"{url}/v1/images/generations", content=content, headers=headers, trust_env=False)
        assert answer.status_code == 400
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}


def test_the_allowance_counts_here_too(client: openai.OpenAI) -> None:
    def order_until_refused() -> None:
        for seed in range(100, 200, 8):
            client.images.generate(prompt="tea", n=8, extra_body={"seed": seed})

    with pytest.raises(openai.RateLimitError) as error:
        order_until_refused()
    assert (error.value.code, error.value.type) == ("too_many_pictures", "rate_limit_error")
    assert int(error.value.response.headers["retry-after"]) >= 1
