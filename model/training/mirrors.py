"""Finds the half-spaces of latents whose pictures are easiest to tell from photographs.

Many faults of a picture (excessive contrast, painted outlines, melting rims) are due to the latent, whatever the name.
A classifier that tells the generator's pictures from photographs estimates the logarithm of their density ratio, by
which latents can be weighted (Issenhuth et al. 2022, Latent reweighting). Here its dependence on z is reduced to one
direction, and latents on the wrong side are reflected. That costs only a dot product in serving, and leaves no gaps in
walks through latent space.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from model.features.backbone import Backbone
from model.generators import Stage1Generator

LATENTS = 6000
EACH = 2  # pictures of a latent, under different names
NAMES = 250
PICTURES = 16  # of a name at least, on average: their mean score is the name's doing
BATCH = 50
FOLDS = 2
STEPS = 300  # of the classifier
RIDGE = 0.05  # times the number of latents: penalty on the square of the direction


@dataclass(frozen=True)
class Mirror:
    """A direction of z, and how well it predicts the quality of pictures.

    normal: (z_dim,), of unit length, towards better pictures.
    agreement: correlation of the scores of two pictures with one latent and different names.
    fit: correlation of a latent's mean score with z . normal, on a quarter that was not used to find the normal.
    """

    normal: Tensor
    agreement: float
    fit: float


@torch.no_grad()
def look(backbone: Backbone, images: Tensor) -> Tensor:
    """`Backbone.pool_moments` of pictures (B, 3, H, W) in [-1, 1], (B, F)."""
    return backbone.pool_moments(backbone(images))


def find(
    generator: Stage1Generator, backbone: Backbone, photos: Tensor, names: Tensor, latents: int = LATENTS, seed: int = 0
) -> Mirror:
    """Finds the direction along which a generator's pictures become more like photographs.

    Args:
        generator: its existing mirrors stay in effect, and the new direction is orthogonal to theirs.
        photos: (N, F), `look` of the photographs that it was trained on.
        names: (NAMES, E), embeddings.
        latents: how many to evaluate, EACH times; with 2,000, all names are needed.
    """
    random = torch.Generator().manual_seed(seed)
    latent = torch.randn(latents, generator.latent_dim, generator=random)
    names = names[torch.randperm(len(names), generator=random)[: max(1, latents * EACH // PICTURES)]]
    which = torch.randint(len(names), (latents, EACH), generator=random)
    fakes = torch.stack([look_at_pictures(generator, backbone, names[which[:, i]], latent) for i in range(EACH)], 1)
    mean, deviation = photos.mean(0), photos.std(0) + 1e-3
    scores = _scores((photos - mean) / deviation, (fakes - mean) / deviation, random)
    taken = F.one_hot(which.flatten(), len(names)).float()
    by_name = taken.T @ scores.flatten() / taken.sum(0).clamp(min=1)
    scores = scores - by_name[which]
    z, score = generator.mirror(latent[:, : generator.z_dim]), scores.mean(1)
    fitted = 3 * latents // 4
    found = z[fitted:] @ _ridge(z[:fitted], score[:fitted])
    normal = _ridge(z, score)
    normal = normal - generator.normals.T @ (generator.normals @ normal)
    return Mirror(F.normalize(normal, dim=0), correlation(*scores.T[:2]), correlation(found, score[fitted:]))


@torch.no_grad()
def look_at_pictures(generator: Stage1Generator, backbone: Backbone, names: Tensor, latent: Tensor) -> Tensor:
    """`look` of the pictures for names (N, E) and latents (N, L)."""
    batches = zip(names.split(BATCH), latent.split(BATCH), strict=True)
    total = -(-len(names) // BATCH)
    return torch.cat([look(backbone, generator(*batch)) for batch in tqdm(batches, "pictures", total, disable=None)])


def _scores(photos: Tensor, fakes: Tensor, random: torch.Generator) -> Tensor:
    """Scores how much fakes (latents, EACH, F) look like photographs, in nats, (latents, EACH).

    Uses cross-fitted logistic regressions, each fit without the latents that it scores, since it would have memorized
    them.
    """
    scores = torch.zeros(fakes.shape[:2])
    fold = torch.arange(len(fakes)) % FOLDS
    for i in range(FOLDS):
        seen, weights = fakes[fold != i].flatten(0, 1), nn.Linear(photos.shape[1], 1)
        nn.init.zeros_(weights.weight)
        optimizer = torch.optim.AdamW(weights.parameters(), 1e-3, weight_decay=0.05)
        for _ in range(STEPS):
            real, fake = (x[torch.randint(len(x), (64,), generator=random)] for x in (photos, seen))
            x = torch.cat([real, fake])
            x = x * (torch.rand(x.shape, generator=random) < 0.5) * 2  # dropout, drawn from our own generator
            logits = weights(x)[:, 0]
            loss = F.softplus(-logits[:64]).mean() + F.softplus(logits[64:]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            scores[fold == i] = weights(fakes[fold == i])[..., 0]
    return scores


def _ridge(z: Tensor, score: Tensor) -> Tensor:
    penalty = RIDGE * len(z) * torch.eye(z.shape[1])
    z = z - z.mean(0)
    return torch.linalg.solve(z.T @ z + penalty, z.T @ (score - score.mean()))


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's, of (N,) and (N,)."""
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])
