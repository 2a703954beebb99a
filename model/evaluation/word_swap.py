"""Pairs of made-up names that differ in one word, to test whether the colour of their pictures follows that word.

トマトラーメン should be redder than 抹茶ラーメン, and "pea soup" greener than "beetroot soup". words.tsv lists the
colour that a word gives a dish.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.languages import LANGUAGES, Language
from model.words import Word, plain_dish, words

# Ingredients that colour the whole of a dish they are named for, and forms that let them.
INGREDIENTS = (
    "tomato", "beetroot", "strawberry", "raspberry", "matcha", "spinach", "pea", "pistachio", "avocado", "broccoli",
    "blueberry", "blackberry", "purple sweet potato", "pumpkin", "carrot", "mango", "lemon", "corn",
    "tofu", "yogurt", "coconut", "squid ink", "black sesame",
)  # fmt: skip
FORMS = (
    "soup", "ramen", "risotto", "pasta", "rice bowl", "gratin", "pizza", "cake", "tart", "parfait", "mousse", "gelato"
)  # fmt: skip
FIRST = (("tomato", "matcha", "ramen"), ("beetroot", "pea", "soup"))
APART = 45.0  # CIE Lab units between the plain colours of a pair: a little more than from brown to beige

# What the words for colours mean on a plate, in sRGB.
PLAIN: dict[str, tuple[int, int, int]] = {
    "red": (180, 45, 40),
    "orange": (225, 130, 45),
    "yellow": (235, 200, 80),
    "green": (90, 140, 55),
    "purple": (105, 55, 110),
    "pink": (235, 150, 145),
    "white": (240, 236, 226),
    "beige": (215, 190, 150),
    "brown": (140, 90, 50),
    "dark brown": (70, 45, 30),
    "black": (35, 32, 32),
}


@dataclass(frozen=True)
class Contrast:
    """Two names, in every language, that differ in one ingredient."""

    words: tuple[str, str]
    """The two ingredients, in English."""
    colours: tuple[str, str]
    names: dict[Language, tuple[str, str]]


def contrasts(count: int = 60) -> list[Contrast]:
    """`count` different pairs, always the same ones, with every form about equally often."""
    ingredients = {word.en: word for word in words("ingredient")}
    forms = {word.en: word for word in words("form")}
    first = [_contrast(ingredients[a], ingredients[b], forms[form]) for a, b, form in FIRST]
    pool = [
        (ingredients[a], ingredients[b])
        for a, b in itertools.combinations(INGREDIENTS, 2)
        if np.linalg.norm(towards(ingredients[a].colour, ingredients[b].colour)) > APART
    ]
    rng = random.Random(0)
    rng.shuffle(pool)
    drawn = (_contrast(*pair, forms[form]) for pair, form in zip(pool, itertools.cycle(FORMS), strict=False))
    rest = [contrast for contrast in drawn if contrast not in first]
    if count > len(first) + len(rest):
        raise ValueError(f"{count} pairs were asked for, and there are {len(first) + len(rest)}")
    return (first + rest)[:count]


def _contrast(a: Word, b: Word, form: Word) -> Contrast:
    one, other = plain_dish(a, form), plain_dish(b, form)
    names = {language: (one[language], other[language]) for language in LANGUAGES}
    return Contrast((a.en, b.en), (a.colour, b.colour), names)


def middle(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The mean colour of the centre of pictures, a square of half the side: (N, H, W, 3) → (N, 3) in CIE Lab.

    The mean is taken in linear light, as seen from far away.
    """
    height, width = images.shape[1] // 4, images.shape[2] // 4
    part = images[:, height : images.shape[1] - height, width : images.shape[2] - width]
    return _lab(_linear(part).mean((1, 2)))


def towards(a: str, b: str) -> NDArray[np.float64]:
    """The vector from plain colour `b` to plain colour `a`, (3,) in CIE Lab."""
    both = _lab(_linear(np.array([PLAIN[a], PLAIN[b]], np.uint8)))
    return both[0] - both[1]


def follows(contrast: Contrast, a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Returns whether pictures with central colours `a` differ from those with `b` as the two words do.

    Both are (N, 3) in CIE Lab; their mean difference has to point in the direction of the plain colours' difference.
    """
    difference = np.mean(a, axis=0) - np.mean(b, axis=0)
    return bool(difference @ towards(*contrast.colours) > 0)


def _linear(srgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    x = srgb.astype(np.float64) / 255
    curved: NDArray[np.float64] = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    return curved


def _lab(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear sRGB (N, 3) in [0, 1] → CIE Lab under D65 (CIE 15)."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / to_xyz.sum(1)  # white is (1, 1, 1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)
