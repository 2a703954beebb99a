"""Weights in a name: what is read as one, and what stays a name."""

from __future__ import annotations

import pytest

from app.weighed_names import WeighedName, parse


@pytest.mark.parametrize(
    ("text", "name", "mix"),
    [
        ("ramen -egg (spicy:1.4)", "ramen", ((-1, "egg"), (1.4, "spicy"))),
        ("ラーメン −卵 (辛い:0.5)", "ラーメン", ((-1, "卵"), (0.5, "辛い"))),
        ("-egg ramen", "ramen", ((-1, "egg"),)),
        ("ramen +nori", "ramen", ((1, "nori"),)),
        ("(smoky beetroot:1.25) ramen", "ramen", ((1.25, "smoky beetroot"),)),
        ("ramen(spicy:1.4)udon", "ramen udon", ((1.4, "spicy"),)),
        ("ramen -(soft egg)", "ramen", ((-1, "soft egg"),)),
        ("ramen -(soft egg:0.5)", "ramen", ((-0.5, "soft egg"),)),
        ("ramen (egg:-0.5)", "ramen", ((-0.5, "egg"),)),
        ("ramen (egg : 0.333)", "ramen", ((0.33, "egg"),)),
    ],
)
def test_weights_are_read(text: str, name: str, mix: tuple[tuple[float, str], ...]) -> None:
    assert parse(text) == WeighedName(name, mix)


@pytest.mark.parametrize(
    "text",
    [
        "7-up", "semi-sweet tart", "fish - chips", "ham + eggs", "pie (warm)", "ice -18", "-egg", "(spicy:1.4)",
        "a (b:c)", "()",
    ],
)
def test_other_names_stay_as_they_are(text: str) -> None:
    assert parse(text) == WeighedName(text)


@pytest.mark.parametrize("text", ["a (b(c:1):2)", "a ((b:1):2)", "x -(y -z)", "a -(b:1)(c:2)"])
def test_what_is_left_has_no_weights(text: str) -> None:
    assert parse(parse(text).name).mix == ()
