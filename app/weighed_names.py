"""Parses weights in a name, as written for other image models: `ramen -egg (spicy:1.4)`.

- `-egg` and `+egg`, after a space, subtract and add one word; `-(soft egg)` and `+(soft egg)` several.
- `(spicy:1.4)` adds with a weight, which may be negative, and `-(spicy:1.4)` subtracts.

The rest is the name. A hyphen within a word, or before a number, is part of it. The syntax is that of AUTOMATIC1111's
web UI (https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features), where weights multiply a word's
attention; here they are weights of the mix, with 0 for none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PART = re.compile(
    r"(?P<sign>(?<!\S)[-−+])?\((?P<words>[^():]*[^():\s])\s*(?::\s*(?P<weight>[-−+]?[0-9]{1,3}(?:\.[0-9]{1,6})?)\s*)?\)"
    r"|(?<!\S)(?P<glued>[-−+])(?P<word>[^\s()+\-−0-9][^\s()]*)"
)


@dataclass(frozen=True)
class WeighedName:
    """A name and what to mix into it: (weight, name) pairs as in `model.dishes.Dish.mix`, with weights not yet
    validated."""

    name: str
    mix: tuple[tuple[float, str], ...] = ()


def parse(text: str) -> WeighedName:
    """Parses the weights in a normalized name. A text of nothing but weighted words is taken as a plain name."""
    mix: list[tuple[float, str]] = []
    rest = text
    while found := next((part for part in _PART.finditer(rest) if _weighs(part)), None):
        mix.append(_entry(found))
        rest = " ".join(f"{rest[: found.start()]} {rest[found.end() :]}".split())
    return WeighedName(rest, tuple(mix)) if rest else WeighedName(text)


def _weighs(part: re.Match[str]) -> bool:
    """Returns whether a part has a sign or a weight; words merely in brackets are part of the name."""
    return bool(part["sign"] or part["weight"] or part["glued"])


def _entry(part: re.Match[str]) -> tuple[float, str]:
    weight = float((part["weight"] or "1").replace("−", "-"))
    if (part["sign"] or part["glued"] or "+") in "-−":
        weight = -weight
    return round(weight, 2), part["words"] or part["word"]
