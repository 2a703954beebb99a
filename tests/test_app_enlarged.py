"""Pictures enlarged to 1024 pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import httpx
import numpy as np
import pytest
from PIL import Image

from app.application import create_app
from app.settings import Settings
from model import png, webp
from tests.serving import Query, ready_client, serve

DISH: Query = {"name": "ピリ辛サーモン丼", "seed": 7}


@pytest.fixture(scope="module")
def client(tiny_checkpoint: Path) -> Iterator[httpx.Client]:
    settings = Settings(checkpoint=str(tiny_checkpoint), device="cpu")
    with serve(create_app(settings)) as url, ready_client(url) as client:
        yield client


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_a_picture_comes_enlarged(client: httpx.Client) -> None:
    own, large = (opened(client.get("/dish.png", params={**DISH, "size": size}).content) for size in (256, 1024))
    assert large.size == (1024, 1024)
    expected = own.resize((1024, 1024), Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(large), np.asarray(expected))


def test_it_says_so_beside_what_it_takes_to_make_it_again(client: httpx.Client) -> None:
    large: Query = {**DISH, "size": 1024, "mix": "0.5:egg"}
    said = png.read_metadata(client.get("/dish.png", params=large).content)
    own = png.read_metadata(client.get("/dish.png", params={**large, "size": 256}).content)
    assert "from 256 pixels" in said.pop("Enlarged")
    assert said == own
    image = opened(client.get("/dish.webp", params=large).content)
    assert image.size == (1024, 1024)
    rdf = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
    (description,) = ElementTree.fromstring(image.info["xmp"]).iter(f"{rdf}Description")
    assert "from 256 pixels" in description.attrib[f"{{{webp.NAMESPACE}}}Enlarged"]


def test_it_is_ordered_as_any_picture_is(client: httpx.Client) -> None:
    posted = client.post("/generate", json={**DISH, "size": 1024})
    address = client.get("/dish.png", params={**DISH, "size": 1024})
    assert posted.content == address.content
    assert address.headers["etag"] != client.get("/dish.png", params=DISH).headers["etag"]
    again = client.get("/dish.png", params={**DISH, "size": 1024}, headers={"If-None-Match": address.headers["etag"]})
    assert again.status_code == 304
    for size in (512, 2048):
        refused = client.get("/dish.png", params={**DISH, "size": size})
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_size")
        assert "1024" in refused.json()["error"]["message"]
