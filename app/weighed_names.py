"""Weights in a name, as people write them for other image models: `ramen -egg (spicy:1.4)`.

- `-egg` and `+egg`, with a space before them, take away and add one word; `-(soft egg)` and `+(soft egg)` several.
- `(spicy:1.4)` adds with a weight, which may be negative, and `-(spicy:1.4)` takes away with it.

What is left is the name. A hyphen within a word, or before a number, is part of it. The syntax is that of
AUTOMATIC1111's web UI (https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features), whose weights multiply
a word's attention; here they are those of the mix, 0 being none.
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
    """A name and what is written to be mixed into it: (weight, name) pairs as in `model.dishes.Dish.mix`, whose weights
    are not checked yet."""

    name: str
    mix: tuple[tuple[float, str], ...] = ()


def parse(text: str) -> WeighedName:
    """Reads the weights in a normalised name. A text that has nothing but weighed words is a name as it stands."""
    mix: list[tuple[float, str]] = []
    rest = text
    while found := next((part for part in _PART.finditer(rest) if _weighs(part)), None):
        mix.append(_entry(found))
        rest = " ".join(f"{rest[: found.start()]} {rest[found.end() :]}".split())
    return WeighedName(rest, tuple(mix)) if rest else WeighedName(text)


def _weighs(part: re.Match[str]) -> bool:
    """Whether a part says how much: words in brackets alone are part of a name."""
    return bool(part["sign"] or part["weight"] or part["glued"])


def _entry(part: re.Match[str]) -> tuple[float, str]:
    weight = float((part["weight"] or "1").replace("−", "-"))
    if (part["sign"] or part["glued"] or "+") in "-−":
        weight = -weight
    return round(weight, 2), part["words"] or part["word"]
