"""The cards that services show where a link is shared."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from PIL import Image

from app import featured, share_card, typesetting
from model import png
from model.dishes import Dish
from model.languages import Language
from tests.serving import FakePipeline, Query, cafeteria, ready_client

NAME = "ピリ辛サーモン丼"
PICTURE = png.encode(np.full((256, 256, 3), (40, 160, 90), np.uint8), {})
SLIP = (slice(190, 600), slice(575, 1175))  # with its shadow: rows, columns


@pytest.fixture(scope="module")
def pipeline() -> FakePipeline:
    return FakePipeline()


@pytest.fixture(scope="module")
def client(pipeline: FakePipeline) -> Iterator[httpx.Client]:
    with cafeteria(pipeline) as url, ready_client(url) as client:
        yield client


def pixels(data: bytes, format: str = "JPEG") -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=[format]) as image:
        return np.asarray(image.convert("RGB")).astype(float)


def card(name: str, language: Language = "en", seed: int = 7) -> np.ndarray:
    return pixels(share_card.of_dish(Dish(name, seed), language, PICTURE))


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    """By more than JPEG's noise."""
    return bool(np.abs(one - other).max() > 60)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_dishs_card_shows_its_picture(client: httpx.Client, language: str) -> None:
    dish: Query = {"name": NAME, "seed": 7, "mix": "1:egg"}
    answer = client.get("/card.jpg", params={**dish, "lang": language})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    shown = pixels(answer.content)
    assert shown.shape == (630, 1200, 3)
    assert len(answer.content) < 300_000
    picture = pixels(client.get("/dish.png", params=dish).content, "PNG")
    assert np.abs(shown[200:430, 190:410].mean((0, 1)) - picture.mean((0, 1))).max() < 4
    assert client.get("/card.jpg", params={**dish, "lang": language}).content == answer.content


def test_a_card_is_of_its_own_dish_and_language(client: httpx.Client) -> None:
    asked: list[Query] = [
        {"name": NAME, "seed": 7},
        {"name": NAME, "seed": 60},
        {"name": "鍋", "seed": 7},
        {},
        {"lang": "ja"},
    ]
    answers = [client.get("/card.jpg", params={"lang": "en", **one}) for one in asked]
    answers.append(client.get("/card.jpg", params={**asked[0], "lang": "ja"}))
    assert len({answer.headers["etag"] for answer in answers}) == len(answers)
    cards = [pixels(answer.content) for answer in answers]
    for k, one in enumerate(cards):
        assert all(differ(one, other) for other in cards[:k])


@pytest.mark.parametrize("name", ["鍋", "とろけるチーズの煮込み" * 7, "W" * 80, "a long name " * 6, "🍣🍜", "حساء"])
def test_a_name_is_written_on_the_slip_and_nowhere_else(name: str) -> None:
    one, other = card(name), card("pea soup", seed=8)
    assert differ(one[SLIP], other[SLIP])
    one[SLIP] = other[SLIP] = 0
    assert not differ(one, other)


def test_the_signs_of_a_changed_dish_are_written(client: httpx.Client) -> None:
    plain, changed = Dish(NAME, 7), Dish(NAME, 7, mix=((0.5, "egg"),))
    assert differ(*(pixels(share_card.of_dish(dish, "ja", PICTURE)) for dish in (plain, changed)))


@pytest.mark.parametrize("files", [typesetting.DISPLAY, ()])
def test_lines_end_between_words_where_they_can(files: tuple[object, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typesetting, "DISPLAY", files)

    def lines(name: str) -> list[str]:
        face, found = typesetting.fit(name, (76, 60, 48, 36), 480, 240)
        assert all(face.width(line) <= 480 for line in found)
        assert len(found) * face.size * typesetting.LEADING <= 240
        return found

    assert lines("ピリ辛サーモンパフェ") == ["ピリ辛", "サーモンパフェ"]
    assert " ".join(lines("smoky beetroot and pumpkin ramen")) == "smoky beetroot and pumpkin ramen"
    assert all("+ 0.5 サーモン" in line for line in lines("とろけるチーズ + 0.5 サーモン")[-1:])
    assert not any(line[0] in "ー、ッャ" for line in lines("スーパーッーパーーラーーーメン、チャーーーハン" * 2))
    long = lines("とろけるチーズの煮込みハンバーグ" * 5)
    assert long[-1].endswith("…") and "".join(long)[:-1] in "とろけるチーズの煮込みハンバーグ" * 5
    assert lines("🍣🍜") == []


def test_the_front_pages_card_shows_dishes_of_the_day(client: httpx.Client, pipeline: FakePipeline) -> None:
    menu = featured.menu(datetime.date.today(), "ja")[: share_card.FRONT_DISHES]
    pipeline.refined.clear()
    answer = client.get("/card.jpg?lang=ja")
    assert answer.headers["content-type"] == "image/jpeg" and len(answer.content) < 300_000
    shown = pixels(answer.content)
    assert shown.shape == (630, 1200, 3)
    assert answer.headers["cache-control"] == "public, max-age=3600"
    for k, dish in enumerate(menu):
        picture = pixels(client.get(f"/dish.png?{dish.query()}").content, "PNG")
        left = 55 + k * 280
        assert np.abs(shown[370:470, left + 70 : left + 180].mean((0, 1)) - picture.mean((0, 1))).max() < 4
    assert len(pipeline.refined) <= len(menu)


def test_a_card_can_be_kept(client: httpx.Client, pipeline: FakePipeline) -> None:
    address = f"/card.jpg?name={quote(NAME)}&seed=77"
    answer = client.get(f"{address}&lang=ja")
    assert answer.headers["cache-control"] == "public, max-age=86400"
    assert "vary" not in answer.headers
    again = client.get(f"{address}&lang=ja", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.head(f"{address}&lang=ja").headers["etag"] == answer.headers["etag"]
    # Without lang it is in the language that a browser prefers, as pages are.
    liked = client.get(address, headers={"Accept-Language": "ja"})
    assert (liked.content, liked.headers["vary"]) == (answer.content, "Accept-Language, Cookie")
    assert client.get(address, headers={"Accept-Language": "en"}).content != answer.content


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("name=", {}, 422, "empty_name"),
        ("name=tea&seed=x", {}, 422, "invalid_seed"),
        ("name=tea&model=ba9876543210", {}, 404, "other_model"),
        ("name=tea", {"Accept": "image/png"}, 406, "not_acceptable"),
    ],
)
def test_a_card_that_cannot_be_had_has_a_clear_answer(
    client: httpx.Client, query: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = client.get(f"/card.jpg?{query}", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_card_costs_what_its_picture_costs() -> None:
    pipeline = FakePipeline()
    with cafeteria(pipeline, rate=2) as url, ready_client(url) as client:
        for _ in range(3):
            assert client.get("/card.jpg?name=tea").status_code == 200
        assert client.get("/dish.png?name=tea").status_code == 200  # it is in memory
        assert client.get("/card.jpg?name=cake").status_code == 200
        refused = client.get("/card.jpg?name=pie")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_pictures")
