"""Dishes: everything, apart from the model, that one picture depends on.

Every control of the page and of the API (variations, mixing, subtracting, switching word pieces off, morphing) makes
another `Dish`, and a `Dish` has one canonical recipe, from which its picture's address and entity tag and the text in
its PNG are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import quote, urlencode

import torch
from torch import Tensor

from model.generators import PICTURE_SIZE, SKETCH_SIZE
from model.pipeline import mix, slerp

# How far a variation goes from its parent towards a latent of its own: 0 is the parent, 1 a stranger.
VARIATION = 0.35
MAX_CHILD = 9999
MAX_DEPTH = 16
MAX_MIXED = 6
MAX_WEIGHT = 2.0
ENLARGED_SIZE = 1024  # pixels a side, beyond what the model makes


class _Tokenizer(Protocol):
    def encode(self, text: str) -> list[int]: ...
    def pieces(self, text: str) -> list[str]: ...


class Embedder(Protocol):
    """The part of `model.pipeline.Pipeline` needed here."""

    @property
    def tokenizer(self) -> _Tokenizer: ...
    def embed(self, names: Sequence[str]) -> Tensor: ...
    def emphasize(self, embeddings: Tensor, texts: Sequence[str]) -> Tensor: ...
    def embed_pieces(self, ids: Sequence[Sequence[int]]) -> Tensor: ...
    def latents(self, seeds: Sequence[int]) -> Tensor: ...


@dataclass(frozen=True)
class Dish:
    """One picture. Equal dishes give equal pictures with the same model. Names are normalized.

    `size` is the picture's side in pixels; above PICTURE_SIZE the model's picture is enlarged. `path` leads from the
    seed's latent to a variation: the first variation of the third is (3, 1). `off` are the indices, from 0, of the
    name's word pieces that are switched off. `mix` are further names with weights (in hundredths, not 0), where the
    name itself has weight 1; a negative weight subtracts. `to` is a name to morph into, and `to_seed` the seed whose
    latent to morph into; `t` is how far both have got, from 0 to 1.
    """

    name: str
    seed: int
    size: int = PICTURE_SIZE
    path: tuple[int, ...] = ()
    off: tuple[int, ...] = ()
    mix: tuple[tuple[float, str], ...] = ()
    to: str | None = None
    to_seed: int | None = None
    t: float = 0.0

    @property
    def sketch_only(self) -> bool:
        return self.size == SKETCH_SIZE

    @property
    def plain(self) -> bool:
        """True if the dish is nothing but a name and a seed."""
        return len(self.recipe(size=False)) == 2

    @property
    def number(self) -> str:
        """Seed and path in readable form: 7.3.1 is the first variation of the third variation of no. 7."""
        return ".".join(map(str, (self.seed, *self.path)))

    @property
    def title(self) -> str:
        """The dish in one line: 親子丼 − 卵 + 0.5 サーモン → カレー #7 40%."""
        parts = [self.name]
        for weight, name in self.mix:
            amount = "" if abs(weight) == 1 else f"{abs(weight):g} "
            parts.append(f"{'−' if weight < 0 else '+'} {amount}{name}")
        if self.morphs:
            ends = [self.to or "", "" if self.to_seed is None else f"#{self.to_seed}"]
            parts.append(f"→ {' '.join(filter(None, ends))} {self.t:.0%}")
        return " ".join(parts)

    @property
    def morphs(self) -> bool:
        return self.to is not None or self.to_seed is not None

    def steps(self, n: int) -> list[Dish]:
        """The morph in `n` steps (at least 2), from the dish itself to its target."""
        return [replace(self, t=round(k / (n - 1), 2)) for k in range(n)]

    def recipe(self, size: bool = True) -> list[tuple[str, str]]:
        """The fields that differ from their defaults, in a fixed order: the canonical query."""
        fields = [("name", self.name), ("seed", str(self.seed))]
        if self.path:
            fields.append(("path", ".".join(map(str, self.path))))
        if self.off:
            fields.append(("off", ",".join(map(str, self.off))))
        fields += [("mix", f"{weight:g}:{name}") for weight, name in self.mix]
        if self.to is not None:
            fields.append(("to", self.to))
        if self.to_seed is not None:
            fields.append(("to_seed", str(self.to_seed)))
        if self.t:
            fields.append(("t", f"{self.t:g}"))
        if size and self.size != PICTURE_SIZE:
            fields.append(("size", str(self.size)))
        return fields

    def query(self, size: bool = True) -> str:
        """The recipe, percent-encoded: `name=…&seed=…`."""
        return urlencode(self.recipe(size), quote_via=quote)


def embeddings(pipeline: Embedder, dishes: Sequence[Dish], *, plain: bool = False) -> Tensor:
    """The embedding of each dish for the generators, (B, E) float32; `plain`: for comparing it with names, without
    emphasis on its form.

    If nothing is left, as in a dish minus itself, it is the embedding of an empty name.
    """
    texts = {text: row for row, text in enumerate(dict.fromkeys(t for dish in dishes for t in _texts(dish)))}
    whole = pipeline.embed(list(texts)) if texts else torch.empty(0)
    if not plain:
        whole = pipeline.emphasize(whole, list(texts))
    rows = []
    for dish in dishes:
        row = _read(pipeline, dish, plain) if dish.off else whole[texts[dish.name]]
        if dish.mix:
            others = [whole[texts[name]] for _, name in dish.mix]
            row = _blend(pipeline, [row, *others], [1.0, *(weight for weight, _ in dish.mix)])
        if dish.to is not None and dish.t:
            row = _blend(pipeline, [row, whole[texts[dish.to]]], [1 - dish.t, dish.t])
        rows.append(row)
    return torch.stack(rows)


def latents(pipeline: Embedder, dishes: Sequence[Dish]) -> Tensor:
    """The latent of each dish, (B, L) float32: that of its seed, varied along its path, and interpolated towards
    `to_seed`."""
    rows = []
    for dish in dishes:
        latent = pipeline.latents([dish.seed])[0]
        for depth, child in enumerate(dish.path):
            own = pipeline.latents([_child_seed(dish.seed, dish.path[:depth], child)])[0]
            latent = slerp(latent, own, VARIATION)
        if dish.to_seed is not None and dish.t:
            latent = slerp(latent, pipeline.latents([dish.to_seed])[0], dish.t)
        rows.append(latent)
    return torch.stack(rows)


def _texts(dish: Dish) -> list[str]:
    """The names whose full embeddings make up the dish."""
    texts = [] if dish.off else [dish.name]
    texts += [name for _, name in dish.mix]
    if dish.to is not None and dish.t:
        texts.append(dish.to)
    return texts


def _read(pipeline: Embedder, dish: Dish, plain: bool) -> Tensor:
    pieces = zip(pipeline.tokenizer.encode(dish.name), pipeline.tokenizer.pieces(dish.name), strict=True)
    kept = [piece for k, piece in enumerate(pieces) if k not in dish.off]
    row = pipeline.embed_pieces([[number for number, _ in kept]])
    if not plain:
        row = pipeline.emphasize(row, ["".join(text for _, text in kept).replace("▁", " ").strip()])
    return row[0]


def _blend(pipeline: Embedder, rows: list[Tensor], weights: list[float]) -> Tensor:
    try:
        return mix(torch.stack(rows), weights)
    except ValueError:
        return pipeline.embed_pieces([[]])[0]


def _child_seed(seed: int, path: Sequence[int], child: int) -> int:
    """A 32-bit seed for a variation, from the seed and path that lead to it (FNV-1a)."""
    value = 0x811C9DC5
    for number in (seed, *path, child):
        for byte in number.to_bytes(4, "big"):
            value = (value ^ byte) * 0x01000193 % 2**32
    return value
