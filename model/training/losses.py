"""Losses of generator and discriminator. All take logits of any shape and return a scalar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

ALIKE = 0.8  # cosine of two names that may be one dish


@dataclass(frozen=True)
class AdversarialLoss:
    """A pair of losses: what the discriminator minimises on real and on fake logits, and the generator on its own."""

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


ADVERSARIAL_LOSSES: dict[str, AdversarialLoss] = {
    # Lim & Ye 2017, Miyato et al. 2018: the discriminator stops caring once it is right by a margin of one.
    "hinge": AdversarialLoss(
        real=lambda logits: F.relu(1 - logits).mean(),
        fake=lambda logits: F.relu(1 + logits).mean(),
        generator=lambda logits: -logits.mean(),
    ),
    # Goodfellow et al. 2014 with the non-saturating generator loss: what StackGAN and DCGAN were published with.
    "bce": AdversarialLoss(
        real=lambda logits: F.softplus(-logits).mean(),
        fake=lambda logits: F.softplus(logits).mean(),
        generator=lambda logits: F.softplus(-logits).mean(),
    ),
}


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, exp(log_variance)) from N(0, 1), averaged over the batch and the dimensions (StackGAN eq. 2)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def feature_distance(fake: list[Tensor], real: list[Tensor], deviations: tuple[float, ...]) -> Tensor:
    """Mean absolute difference of feature maps, each scaled to unit deviation, averaged over the maps."""
    distances = [F.l1_loss(f.float(), r.float()) / d for f, r, d in zip(fake, real, deviations, strict=True)]
    total: Tensor = sum(distances[1:], distances[0]) / len(distances)
    return total


def alike(texts: Tensor, others: Tensor) -> Tensor:
    """(B, N) bool: which of the embeddings (B, E) and (N, E) are so near that they may well name one dish."""
    return F.normalize(texts, dim=1) @ F.normalize(others, dim=1).T > ALIKE


def mismatched(names: Tensor) -> tuple[Tensor, Tensor]:
    """Other names for the same pictures: embeddings (B, E) rolled by one, and which rows (B,) really differ.

    Names that are alike do not: calling that a mismatch would teach nonsense.
    """
    other = names.roll(1, 0)
    cosine = (F.normalize(names, dim=1) * F.normalize(other, dim=1)).sum(1)
    return other, cosine < ALIKE
