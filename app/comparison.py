"""Compares names side by side: each row is a name, each column another plate, amount of an ingredient, or step of a
morph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from app.dish_editor import with_weight
from model.dishes import Dish

Across = Literal["plates", "amount", "morph"]
ACROSS: tuple[Across, ...] = ("plates", "amount", "morph")
MOST_ADDED = 1.5  # beyond it most dishes are nothing but the ingredient


def row(dish: Dish, across: Across, word: str, n: int) -> Sequence[Dish] | None:
    """A row of `n` dishes: `dish` with none to `MOST_ADDED` of `word` added, or morphing from `dish` to `word`. None if
    the mix has no room for it. Rows across plates are the order itself, and not made here."""
    parts = [round(k / max(n - 1, 1), 2) for k in range(n)]
    if across == "morph":
        return [replace(dish, to=word, to_seed=None, t=part) for part in parts]
    mixed = [with_weight(dish, word, round(part * MOST_ADDED, 2)) for part in parts]
    whole = [one for one in mixed if one is not None]
    return whole if len(whole) == n else None


def heading(dish: Dish, across: Across, word: str) -> str:
    """The heading of a column, given the dish in its first row."""
    if across == "plates":
        return f"No. {dish.number}"
    if across == "morph":
        return f"{word} {dish.t:.0%}"
    weight = next((weight for weight, name in dish.mix if name == word), 0.0)
    return f"{word} {weight:+g}".replace("-", "−")
