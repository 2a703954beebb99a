"""Retrieval metrics: how often a name finds its translation, and its photograph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.data.name_pairs import Pair

AMONG = 100
DRAWS = 200

Embed = Callable[[Sequence[str]], Tensor]


def recall(queries: Tensor, answers: Tensor, names: Sequence[str]) -> float:
    """R@1: the share of queries (N, E) whose nearest answer (N, E), by cosine, has the name of its own row."""
    nearest = (F.normalize(queries, dim=1) @ F.normalize(answers, dim=1).T).argmax(1)
    return float(np.mean([names[i] == names[j] for i, j in enumerate(nearest.tolist())]))


def recall_among(
    text: Tensor, images: Tensor, names: Sequence[str], among: int = AMONG, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """R@1 of names among `among` photos with distinct names: mean and standard deviation over draws.

    Args:
        text, images: (N, E); row i of both belongs to `names[i]`.
    """
    rng = np.random.default_rng(seed)
    scores = F.normalize(text, dim=1) @ F.normalize(images, dim=1).T
    by_name: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        by_name.setdefault(name, []).append(i)
    photos = list(by_name.values())
    among = min(among, len(photos))
    found = []
    for _ in range(draws):
        rows = torch.tensor([rng.choice(photos[k]) for k in rng.choice(len(photos), among, replace=False)])
        found.append((scores[rows][:, rows].argmax(1) == torch.arange(among)).float().mean())
    return float(torch.stack(found).mean()), float(torch.stack(found).std())


def retrieval(embedder: Embed, pairs: Sequence[Pair]) -> tuple[float, float]:
    """R@1 of translations among names, and of names among translations; all pairs are in one language."""
    names, translations = [pair.name for pair in pairs], [pair.translations[0] for pair in pairs]
    own, other = embedder(names), embedder(translations)
    return recall(other, own, names), recall(own, other, translations)
