"""A morph as a moving picture."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from PIL import Image, WebPImagePlugin

from model import webp
from tests.serving import FakePipeline, cafeteria, ready_client, until

MORPH: dict[str, str | int] = {"name": "ピリ辛サーモン丼", "seed": 7, "to": "チョコレートケーキ", "to_seed": 70}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with cafeteria(FakePipeline()) as url, ready_client(url) as client:
        yield client


def frames(data: bytes) -> list[tuple[np.ndarray, int]]:
    """Each one's colour, and the milliseconds that it is shown for."""
    with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
        assert image.size == (256, 256)
        assert image.info["loop"] == 0
        found = []
        assert isinstance(image, WebPImagePlugin.WebPImageFile)
        for k in range(image.n_frames):
            image.seek(k)
            image.load()
            found.append((np.asarray(image.convert("RGB")).mean((0, 1)), image.info["duration"]))
        return found


def test_a_morph_goes_there_and_back(client: httpx.Client) -> None:
    answer = client.get("/morph.webp", params=MORPH)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    shown = frames(answer.content)
    assert 2000 <= sum(milliseconds for _, milliseconds in shown) <= 4000
    turn = 7
    assert len(shown) == 2 * turn
    for k, (colour, _) in enumerate(shown):
        step = client.get("/dish.png", params={**MORPH, "t": round(min(k, 2 * turn - k) / turn, 2)})
        drawn = np.asarray(Image.open(io.BytesIO(step.content)).convert("RGB")).mean((0, 1))
        assert np.abs(colour - drawn).max() < 6, k
    assert np.abs(shown[0][0] - shown[turn][0]).max() > 20
    assert client.get("/morph.webp", params={**MORPH, "t": 0.4, "size": 64}).content == answer.content


def test_a_morph_says_what_it_is_of(client: httpx.Client) -> None:
    answer = client.get("/morph.webp", params={**MORPH, "download": "1"})
    with Image.open(io.BytesIO(answer.content)) as image:
        said = image.info["xmp"].decode()
    assert webp.NAMESPACE in said
    assert 'cafeteria:Name="ピリ辛サーモン丼"' in said
    assert f"to={quote(str(MORPH['to']))}&amp;to_seed=70" in said
    name = quote("ピリ辛サーモン丼 → チョコレートケーキ #70-7.webp")
    assert answer.headers["content-disposition"] == f"attachment; filename=\"dish-7.webp\"; filename*=UTF-8''{name}"


def test_a_morph_can_be_kept_as_a_picture_can(client: httpx.Client) -> None:
    answer = client.get("/morph.webp", params=MORPH)
    tag = answer.headers["etag"]
    assert answer.headers["cache-control"] == "public, max-age=3600"
    lasting = client.get("/morph.webp", params={**MORPH, "model": FakePipeline.version})
    assert lasting.headers["cache-control"] == "public, max-age=31536000, immutable"
    again = client.get("/morph.webp", params=MORPH, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert client.head("/morph.webp", params=MORPH).headers["etag"] == tag
    assert client.get("/morph.webp", params={**MORPH, "path": "2"}).headers["etag"] != tag


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("name=tea", {}, 422, "no_target"),
        ("to=tea", {}, 422, "missing_name"),
        ("name=tea&to_seed=x", {}, 422, "invalid_seed"),
        ("name=tea&to=cake&model=ba9876543210", {}, 404, "other_model"),
        ("name=tea&to=cake", {"Accept": "image/gif"}, 406, "not_acceptable"),
    ],
)
def test_a_morph_that_cannot_be_had_has_a_clear_answer(
    client: httpx.Client, query: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = client.get(f"/morph.webp?{query}", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_morph_is_one_order_of_eight_pictures_and_then_free() -> None:
    pipeline = FakePipeline()
    with cafeteria(pipeline, rate=8) as url, ready_client(url) as client:
        for _ in range(2):
            assert client.get("/morph.webp", params=MORPH).status_code == 200
        refused = client.get("/dish.png?name=tea")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_pictures")


def test_a_morph_finds_a_full_kitchen_full() -> None:
    pipeline = FakePipeline()
    with (
        cafeteria(pipeline, queue=8) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
        ThreadPoolExecutor() as pool,
    ):
        until(lambda: client.get("/readyz").status_code == 200)
        pipeline.gate.clear()
        held = pool.submit(client.get, "/dish.png?name=tea&seed=5")
        try:
            until(lambda: 5 in pipeline.sketched)
            refused = client.get("/morph.webp", params=MORPH)
        finally:
            pipeline.gate.set()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "queue_full")
        assert "retry-after" in refused.headers
        assert held.result(30).status_code == 200
        assert client.get("/morph.webp", params=MORPH).status_code == 200
