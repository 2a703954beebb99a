"""Losses of generator and discriminator, and how well the latter does. All return a scalar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.generators import luma

ALIKE = 0.8  # cosine of two names that may be one dish


@dataclass(frozen=True)
class AdversarialLoss:
    """A pair of losses: the discriminator's, on real and on fake logits, and the generator's, on those of its fakes."""

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


def auc(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The share of pairs in which the photograph has the higher mean logit: the area under the ROC curve.

    Args:
        real_logits, fake_logits: (B, L) and (C, L).
    """
    real, fake = real_logits.detach().mean(1), fake_logits.detach().mean(1)
    return (real[:, None] > fake).float().mean()


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, exp(log_variance)) from N(0, 1), averaged over the batch and the dimensions (StackGAN eq. 2)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def feature_distance(fake: list[Tensor], real: list[Tensor], deviations: tuple[float, ...]) -> Tensor:
    """The mean absolute difference of feature maps, each scaled to unit deviation, averaged over the maps."""
    distances = [F.l1_loss(f.float(), r.float()) / d for f, r, d in zip(fake, real, deviations, strict=True)]
    total: Tensor = sum(distances[1:], distances[0]) / len(distances)
    return total


def alike(texts: Tensor, others: Tensor) -> Tensor:
    """(B, N) bool: which pairs of embeddings (B, E) and (N, E) are so close that they may name the same dish."""
    return F.normalize(texts, dim=1) @ F.normalize(others, dim=1).T > ALIKE


def mismatched(names: Tensor) -> tuple[Tensor, Tensor]:
    """Mismatched names: embeddings (B, E) rolled by one, and a mask (B,) of the rows that really differ.

    Names that are too similar are masked out, since treating them as a mismatch would teach nonsense.
    """
    other = names.roll(1, 0)
    cosine = (F.normalize(names, dim=1) * F.normalize(other, dim=1)).sum(1)
    return other, cosine < ALIKE


STEPS = 8  # a network that enlarges by factors of two leaves peaks at multiples of an eighth of the sampling rate


def grid_penalty(images: Tensor) -> Tensor:
    """Penalizes peaks in the batch's mean spectrum at multiples of 1/8 of the sampling rate, in nats above their
    surroundings.

    The mean over those frequencies of max(0, log(mean power in 3 x 3 / mean power in the surrounding ring, 9 x 9)).

    Args:
        images: (B, 3, H, H) in [-1, 1], H a multiple of 16.
    """
    side = images.shape[-1]
    window = torch.hann_window(side, periodic=False, device=images.device)
    power = torch.fft.fft2(luma(images.float()) * window * window[:, None]).abs().square().mean(0)
    step = side // STEPS
    shifted = power.roll((step // 2, step // 2), (0, 1))
    cells = shifted.unfold(0, step, step).unfold(1, step, step)  # (8, 8, step, step), each about its frequency
    middle = step // 2
    near = cells[..., middle - 4 : middle + 5, middle - 4 : middle + 5].sum((-2, -1))
    peak = cells[..., middle - 1 : middle + 2, middle - 1 : middle + 2].sum((-2, -1))
    ratio = (peak / 9) / ((near - peak) / 72)
    excess = ratio.log().clamp(min=0.0).flatten()[1:]  # not the mean brightness
    return excess.mean()
