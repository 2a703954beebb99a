"""Samples the names that a GAN is trained on: those of the photographs, and those of dishes that nobody has
photographed."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from model.data.photos import Photos
from model.features.text_reader import embed
from model.languages import LANGUAGES, OTHERS
from model.training.families import photo_weights
from model.words import compose

COMPOSED = 20_000  # composed names held ready, as many in each language


class NameSampler:
    """Samples embeddings of the names of a set of photographs, in each of their languages, and of composed names.

    Args:
        photos: the photographs.
        checkpoint: folder with the tokenizer and the text encoder.
        device: where embeddings are kept.
        seed: for the composed names.
        count: number of composed names held ready; COMPOSED by default.
    """

    def __init__(
        self, photos: Photos, checkpoint: Path, device: torch.device, seed: int = 0, count: int | None = None
    ) -> None:
        unique = list(dict.fromkeys(photos.all_names()))
        index = {name: i for i, name in enumerate(unique)}
        # A photograph without a name in a language gets its own one again.
        others = [[index[other or own] for own, other in zip(photos.names, photos.names_in(language), strict=True)]
                  for language in OTHERS]  # fmt: skip
        self.rows = torch.tensor([*others, [index[name] for name in photos.names]], device=device)
        """(L, N): rows of `embeddings`, by language."""
        self.embeddings = embed(unique, checkpoint, device)
        self.composed = embed(composed(seed, count), checkpoint, device)
        self.weights = photo_weights(photos.names).to(device)
        """(N,): how often each photograph is shown."""

    def names(self, photos: Tensor) -> Tensor:
        """Embeddings (B, E) of the names of photographs (B,), each in a random language."""
        languages = (len(self.rows) * torch.rand(len(photos), device=photos.device)).long()
        return self.embeddings[self.rows[languages, photos]]

    def imagined(self, count: int) -> Tensor:
        """Embeddings (count, E) of dishes that do not exist: half are composed names, half mixes of two real ones."""
        a, b = torch.randint(len(self.embeddings), (2, count), device=self.embeddings.device)
        share = torch.rand(count, 1, device=self.embeddings.device)
        mixed = self.embeddings[a] * share + self.embeddings[b] * (1 - share)
        mixed = F.normalize(mixed, dim=1) * self.embeddings.shape[1] ** 0.5
        mixed[::2] = self.composed[torch.randint(len(self.composed), (count,), device=mixed.device)][::2]
        return mixed


def composed(seed: int, count: int | None = None) -> list[str]:
    """Names of dishes that do not exist, alternating between the languages."""
    rng, turns = random.Random(seed), itertools.cycle(LANGUAGES)
    return [compose(rng)[next(turns)] for _ in range(COMPOSED if count is None else count)]
