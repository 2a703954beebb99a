"""The names a GAN is trained on: those of the photographs, and those of dishes that nobody has photographed."""

from __future__ import annotations

import random
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from model.data.photos import Photos
from model.features.matching import name_weights
from model.features.text_reader import embed
from model.words import compose

COMPOSED = 20_000  # composed names held ready, half of them Japanese


class NameSampler:
    """Embeddings of every name of a set of photographs, in each of its languages, and of composed names.

    Args:
        photos: whose names.
        checkpoint: folder with the tokenizer and the text encoder.
        device: where embeddings are kept.
        seed: of the composed names.
        count: how many of them are held ready; COMPOSED by default.
    """

    def __init__(
        self, photos: Photos, checkpoint: Path, device: torch.device, seed: int = 0, count: int | None = None
    ) -> None:
        # A photograph without a Japanese name gets its English one again.
        japanese = [ja or en for en, ja in zip(photos.names, photos.names_ja, strict=True)]
        unique = list(dict.fromkeys([*photos.names, *japanese]))
        index = {name: i for i, name in enumerate(unique)}
        self.english = torch.tensor([index[name] for name in photos.names], device=device)
        self.japanese = torch.tensor([index[name] for name in japanese], device=device)
        self.embeddings = embed(unique, checkpoint, device)
        self.composed = embed(composed(seed, count), checkpoint, device)
        self.weights = name_weights(photos.names).to(device)
        """(N,): how often each photograph is shown. Photographs of one class share the square root of their number."""

    def names(self, photos: Tensor) -> Tensor:
        """Embeddings (B, E) of the names of photographs (B,), each in English or Japanese by a coin's toss."""
        japanese = torch.rand(len(photos), device=photos.device) < 0.5
        return self.embeddings[torch.where(japanese, self.japanese[photos], self.english[photos])]

    def imagined(self, count: int) -> Tensor:
        """Embeddings (count, E) of dishes that do not exist: half composed names, half mixes of two real ones."""
        a, b = torch.randint(len(self.embeddings), (2, count), device=self.embeddings.device)
        share = torch.rand(count, 1, device=self.embeddings.device)
        mixed = self.embeddings[a] * share + self.embeddings[b] * (1 - share)
        mixed = F.normalize(mixed, dim=1) * self.embeddings.shape[1] ** 0.5
        mixed[::2] = self.composed[torch.randint(len(self.composed), (count,), device=mixed.device)][::2]
        return mixed


def composed(seed: int, count: int | None = None) -> list[str]:
    """Names of dishes that do not exist, English and Japanese by turns."""
    rng = random.Random(seed)
    return [compose(rng)[i % 2] for i in range(COMPOSED if count is None else count)]
