"""Preview cards for shared links: JPEGs of 1200 by 630 pixels (https://ogp.me)."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from app import storefront, texts, typesetting
from model.dishes import Dish
from model.languages import LANGUAGES, Language

SIZE = WIDTH, HEIGHT = 1200, 630
MEDIA_TYPE = "image/jpeg"
QUALITY = 88
DESIGN = 1  # counts up with what is drawn below, so that whoever keeps a card asks for it again
FRONT_DISHES = 4
NAME_SIZES = (84, 76, 68, 60, 54, 48, 42, 38, 34, 30)
TAG_SIZES = (26, 24, 22, 20, 18)

Lines = list[tuple[typesetting.Face, str, str]]  # with their faces and colours


def of_dish(dish: Dish, language: Language, png: bytes) -> bytes:
    """The card of a dish: the dish on its plate, and its name on an order slip under the noren."""
    sheet = storefront.wall(*SIZE, HEIGHT).copy()
    storefront.plate(sheet, _picture(png), 52, 65, 500)
    left, right = 594, 1154
    centre = (left + right) // 2
    storefront.hang(sheet, centre, 40, (84, 120), 520)
    storefront.slip(sheet, (left, 200, right, 565))
    words = _words(language)
    top = 544 - _height(words)
    box = right - left - 64, top - 266
    face, lines = typesetting.fit(dish.title, NAME_SIZES, *box)
    if not lines:  # a name of emoji, which no carried face has
        face, lines = typesetting.fit(texts.text(language, "seed", seed=dish.number), NAME_SIZES, *box)
    y = (top + 194 - face.size * typesetting.LEADING * len(lines)) / 2
    storefront.write(sheet, face, lines, centre, y, storefront.INK)
    storefront.rule(sheet, centre, top - 18)
    _write(sheet, words, centre, top)
    return _jpeg(sheet)


def of_front_page(dishes: Sequence[Dish], language: Language, pngs: Sequence[bytes]) -> bytes:
    """The card of the front page: the noren, and some dishes of the day with their names on tags."""
    sheet = storefront.wall(*SIZE, HEIGHT // 2).copy()
    centre = WIDTH // 2
    storefront.hang(sheet, centre, 30, (84, 120), 720)
    words = _words(language, larger=4)
    _write(sheet, words, centre, 220 - _height(words) // 2)
    side, gap = 250, 30
    left = (WIDTH - len(dishes) * (side + gap) + gap) // 2
    for dish, png in zip(dishes, pngs, strict=True):
        storefront.plate(sheet, _picture(png), left, 290, side)
        storefront.tag(sheet, (left + 5, 552, left + side - 5, 612))
        face, lines = typesetting.fit(dish.name, TAG_SIZES, side - 26, 56)
        y = 582 - face.size * typesetting.LEADING * len(lines) / 2
        storefront.write(sheet, face, lines, left + side / 2, y, storefront.WOOD_INK)
        left += side + gap
    return _jpeg(sheet)


def _words(language: Language, larger: int = 0) -> Lines:
    """Lines of text, with face and colour: the site's name, unless the noren shows it, and what the site is for."""
    size = 22 if LANGUAGES[language].spaced else 25
    lines = [(line.strip(), size + larger, storefront.SOFT) for line in texts.text(language, "tagline").split("\n")]
    if (title := texts.text(language, "title")) != storefront.NAME:
        lines.insert(0, (title, 33 + larger, storefront.INK))
    return [(typesetting.face(line, size), line, colour) for line, size, colour in lines]


def _height(lines: Lines) -> int:
    return sum(round(face.size * typesetting.LEADING) for face, _, _ in lines)


def _write(sheet: Image.Image, lines: Lines, centre: int, y: int) -> None:
    for face, line, colour in lines:
        storefront.write(sheet, face, [line], centre, y, colour)
        y += round(face.size * typesetting.LEADING)


def _picture(png: bytes) -> Image.Image:
    with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        return picture.convert("RGB")


def _jpeg(sheet: Image.Image) -> bytes:
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return file.getvalue()
