"""Pictures as WebP: what they look like, what they say of themselves, and how they are asked for."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote
from xml.etree import ElementTree

import httpx
import numpy as np
import pytest
from PIL import Image

from app.application import create_app
from app.settings import Settings
from model import png, webp
from model.pipeline import Pipeline
from tests.serving import FakePipeline, Query, cafeteria, ready_client, serve

NAME = "ピリ辛サーモン丼"
WEBP, JSON, NDJSON = {"Accept": "image/webp"}, {"Accept": "application/json"}, {"Accept": "application/x-ndjson"}


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> Pipeline:
    return Pipeline.load(tiny_checkpoint, "cpu")


@pytest.fixture(scope="module")
def client(tiny_checkpoint: Path) -> Iterator[httpx.Client]:
    settings = Settings(checkpoint=str(tiny_checkpoint), device="cpu")
    with serve(create_app(settings)) as url, ready_client(url) as client:
        yield client


def pixels(data: bytes, format: str = "WEBP") -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=[format]) as image:
        return np.asarray(image.convert("RGB")).astype(float)


def coarse(image: np.ndarray) -> np.ndarray:
    """Means of 16x16 blocks."""
    return image.reshape(16, 16, 16, 16, 3).mean((1, 3))


def metadata(data: bytes) -> dict[str, str]:
    with Image.open(io.BytesIO(data)) as image:
        root = ElementTree.fromstring(image.info["xmp"])
    prefix = f"{{{webp.NAMESPACE}}}"
    return {
        key.removeprefix(prefix): value
        for element in root.iter()
        for key, value in element.attrib.items()
        if key.startswith(prefix)
    }


def test_a_webp_shows_the_picture_in_a_fraction_of_its_bytes(client: httpx.Client, pipeline: Pipeline) -> None:
    answer = client.get("/dish.webp", params={"name": NAME, "seed": 7})
    assert answer.headers["content-type"] == "image/webp"
    drawn = pipeline.generate([NAME], [7])[0]
    # A tiny model draws noise, whose grain goes first.
    assert np.abs(coarse(pixels(answer.content)) - coarse(drawn)).mean() < 5
    assert len(answer.content) < len(png.encode(drawn, {})) / 3
    small = client.get("/dish.webp", params={"name": NAME, "seed": 7, "size": 64})
    assert pixels(small.content).shape == (64, 64, 3)


@pytest.mark.parametrize("name", [NAME, """a "b" <c> & 'd'"""])
def test_a_webp_says_what_it_takes_to_make_it_again(client: httpx.Client, pipeline: Pipeline, name: str) -> None:
    changed: Query = {"name": name, "seed": 7, "mix": "0.5:egg"}
    assert metadata(client.get("/dish.webp", params={"name": name, "seed": 7}).content) == png.describe(
        name, 7, pipeline.version
    )
    recipe = metadata(client.get("/dish.webp", params=changed).content)["Recipe"]
    assert recipe == f"name={quote(name)}&seed=7&mix=0.5%3Aegg"


def test_one_picture_comes_as_accept_says(client: httpx.Client) -> None:
    order: Query = {"name": NAME, "seed": 7}
    answer = client.post("/generate", json=order, headers=WEBP)
    assert answer.headers["content-type"] == "image/webp"
    assert unquote(answer.headers["cafeteria-name"]) == NAME
    assert answer.headers["content-disposition"].endswith(quote(f"{NAME}-7.webp"))
    assert answer.content == client.get("/dish.webp", params=order).content
    liked = client.post("/generate", json=order, headers={"Accept": "image/avif,image/webp,image/*;q=0.8,*/*;q=0.5"})
    assert liked.content == answer.content
    for accept in ("*/*", "image/*", "image/png"):
        assert client.post("/generate", json=order, headers={"Accept": accept}).headers["content-type"] == "image/png"


def test_the_order_says_what_the_pictures_in_json_and_in_a_stream_are(client: httpx.Client) -> None:
    order = {"name": NAME, "seed": 40, "n": 2}
    answer = client.post("/generate", json={**order, "format": "webp"}, headers=JSON).json()
    for picture in answer["pictures"]:
        assert "png" not in picture
        assert client.get(picture["url"]).content == base64.b64decode(picture["webp"])
    stream = client.post("/generate", data={**order, "seed": "50", "format": "webp"}, headers=NDJSON).text
    events = [json.loads(line) for line in stream.splitlines()[1:-1]]
    assert sorted(event["event"] for event in events) == ["picture", "picture", "sketch", "sketch"]
    for event in events:
        side = 64 if event["event"] == "sketch" else 256
        assert pixels(base64.b64decode(event["webp"])).shape == (side, side, 3)
    as_before = client.post("/generate", json={**order, "format": "png"}, headers=JSON).json()
    assert as_before == client.post("/generate", json=order, headers=JSON).json()
    assert all("png" in picture for picture in as_before["pictures"])


def test_an_order_of_one_format_is_not_answered_in_another(client: httpx.Client) -> None:
    order = {"name": NAME, "seed": 7, "format": "webp"}
    assert client.post("/generate", json=order).headers["content-type"] == "image/webp"
    refused = client.post("/generate", json=order, headers={"Accept": "image/png"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (406, "not_acceptable")


def test_the_permalink_can_be_kept_and_is_told_from_the_pngs(client: httpx.Client, pipeline: Pipeline) -> None:
    address = f"/dish.webp?name={quote(NAME)}&seed=77"
    answer = client.get(address)
    tag = answer.headers["etag"]
    assert tag != client.get(address.replace(".webp", ".png")).headers["etag"]
    assert client.get(address, headers={"If-None-Match": tag}).status_code == 304
    assert answer.headers["cache-control"] == "public, max-age=3600"
    lasting = client.get(f"{address}&model={pipeline.version}")
    assert lasting.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert client.get(f"{address}&model=0123456789ab").json()["error"]["code"] == "other_model"
    assert client.head(address).headers["etag"] == tag
    saved = client.get(f"{address}&download").headers["content-disposition"]
    assert saved.startswith('attachment; filename="dish-77.webp"')
    refused = client.get(address, headers={"Accept": "image/png"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (406, "not_acceptable")
    assert "image/webp" in refused.json()["error"]["message"]
    # /dish.png stays what it was, for a client that likes WebP better too.
    png = client.get(address.replace(".webp", ".png"), headers={"Accept": "image/webp,*/*"})
    assert png.headers["content-type"] == "image/png"


def test_each_format_is_remembered_by_itself() -> None:
    pipeline = FakePipeline()
    with cafeteria(pipeline) as url, ready_client(url) as client:
        pipeline.refined.clear()
        for path in ("/dish.webp", "/dish.png") * 2:
            assert client.get(f"{path}?name=tea&seed=5").headers["content-type"] == f"image/{path[6:]}"
        assert pipeline.refined == [5, 5]
