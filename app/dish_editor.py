"""The dish editor: one dish and every possible change to it, where each control is a link to another dish.

The page works by links and forms alone; `static/dish_editor.js` only avoids page reloads.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from app import word_pieces
from app.request_parsing import draw_seed
from model.dishes import MAX_CHILD, MAX_DEPTH, MAX_MIXED, MAX_WEIGHT, Dish
from model.languages import Language
from model.words import words

CHILDREN = 4
STEPS = 7  # of the morph strip
PANTRY = 12  # ingredients on offer at a time
# What is on offer first: everybody knows these, and each shows in a picture.
STAPLES = (
    "egg", "tomato", "cheese", "shrimp", "spinach", "chocolate", "strawberry", "pumpkin", "salmon", "broccoli",
    "lemon", "mushroom", "beetroot", "blueberry", "matcha", "nori",
)  # fmt: skip
PINCH = 0.5  # of an ingredient, added or taken away


@dataclass(frozen=True)
class Piece:
    """A word piece of the name, with its first index (from 0); `dish` is the dish with this piece toggled."""

    place: int
    text: str
    on: bool
    dish: Dish


@dataclass(frozen=True)
class Portion:
    """An ingredient or name with its weight in the dish (0: none), and the dishes with more, less and none of it."""

    name: str
    weight: float
    more: Dish | None
    less: Dish | None
    none: Dish


@dataclass(frozen=True)
class Chip:
    """A part of the recipe besides the name, in readable form; `without` is the dish without it. `kind` is "mix",
    "morph" or "unread" (a word piece that was switched off)."""

    kind: str
    name: str
    label: str
    without: Dish


@dataclass(frozen=True)
class Counter:
    """Everything that the editor shows. `chips` are the changes made to the dish of this name; `mixed` is what was
    mixed in or taken out; `elsewhere` is on the way to another seed."""

    dish: Dish
    ancestors: list[Dish]
    children: list[Dish]
    other_children: int
    another: Dish
    elsewhere: Dish
    pieces: list[Piece]
    chips: list[Chip]
    mixed: list[Portion]
    pantry: list[Portion]
    steps: list[Dish]


def lay(
    dish: Dish, language: Language, pieces: Callable[[str], list[str]], *, child: int = 1, pantry: int = 0
) -> Counter:
    """The editor for `dish`, showing its variations from number `child` on and the `pantry`-th set of ingredients."""
    family = replace(dish, to_seed=None)
    switched = _pieces(dish, pieces(dish.name))
    ancestors = [replace(family, path=dish.path[:depth]) for depth in range(len(dish.path))]
    children = [
        replace(family, path=(*dish.path, number))
        for number in range(child, min(child + CHILDREN, MAX_CHILD + 1))
        if len(dish.path) < MAX_DEPTH
    ]
    return Counter(
        dish,
        ancestors,
        children,
        child + CHILDREN if child + 2 * CHILDREN <= MAX_CHILD else 1,
        replace(dish, seed=draw_seed(), path=()),
        replace(dish, to_seed=draw_seed(), t=0.5),
        switched,
        _chips(dish, switched),
        [_portion(dish, name) for _, name in dish.mix],
        _pantry(dish, language, pantry),
        [replace(dish, t=round(k / (STEPS - 1), 2)) for k in range(STEPS)] if dish.morphs else [],
    )


def _chips(dish: Dish, pieces: list[Piece]) -> list[Chip]:
    chips = [Chip("unread", piece.text, piece.text, piece.dish) for piece in pieces if not piece.on]
    for weight, name in dish.mix:
        amount = "" if abs(weight) == 1 else f"{abs(weight):g} "
        label = f"{'−' if weight < 0 else '+'} {amount}{name}"
        chips.append(Chip("mix", name, label, replace(dish, mix=tuple(m for m in dish.mix if m[1] != name))))
    if dish.morphs:
        ends = [dish.to or "", "" if dish.to_seed is None else f"No. {dish.to_seed}"]
        end = " ".join(filter(None, ends))
        chips.append(Chip("morph", end, f"→ {end} {dish.t:.0%}", replace(dish, to=None, to_seed=None, t=0.0)))
    return chips


def has_place(dish: Dish, name: str) -> bool:
    """Returns whether `name` is in the dish already, or can still be added."""
    names = {there for _, there in dish.mix}
    return name in names or len(names) < MAX_MIXED


def with_pinch(dish: Dish, name: str, pinch: float) -> Dish | None:
    """The dish with the weight of `name` changed by `pinch`; None if there is no room for it."""
    before = {there: weight for weight, there in dish.mix}.get(name, 0.0)
    return with_weight(dish, name, before + pinch)


def with_weight(dish: Dish, name: str, weight: float) -> Dish | None:
    """The dish with `weight` of `name`; None if there is no room for it."""
    if abs(weight) > MAX_WEIGHT or not has_place(dish, name):
        return None
    weights = {there: weight for weight, there in dish.mix}
    weights[name] = round(weight, 2)
    return replace(dish, mix=tuple((weight, there) for there, weight in weights.items() if weight))


def _portion(dish: Dish, name: str) -> Portion:
    weight = next((weight for weight, there in dish.mix if there == name), 0.0)
    none = replace(dish, mix=tuple(entry for entry in dish.mix if entry[1] != name))
    return Portion(name, weight, with_pinch(dish, name, PINCH), with_pinch(dish, name, -PINCH), none)


def _pieces(dish: Dish, pieces: list[str]) -> list[Piece]:
    switched = []
    for places, text in word_pieces.letters(pieces):
        shown, k = text.replace("▁", " ").strip(), places[0]
        on = k not in dish.off
        if shown or not on:  # a space alone changes next to nothing
            off = set(dish.off).union(places) if on else set(dish.off).difference(places)
            switched.append(Piece(k, shown or "␣", on, replace(dish, off=tuple(sorted(off)))))
    return switched


def _pantry(dish: Dish, language: Language, which: int) -> list[Portion]:
    """Ingredients to offer: the staples, then those with a colour of their own, since they show best. Each `which`
    gives others.

    Those already in the dish keep their places, so that more can be added.
    """
    offered = [word for word in words("ingredient") if word.before and (word.colour or word.en in STAPLES)]
    if which:
        random.Random(zlib.crc32(dish.name.encode()) + which).shuffle(offered)
    else:
        offered = sorted((word for word in offered if word.en in STAPLES), key=lambda w: STAPLES.index(w.en))
    names = [word.title[language] for word in offered]
    names = [name for name in dict.fromkeys(names) if name not in dish.name]
    return [_portion(dish, name) for name in names[:PANTRY]]
