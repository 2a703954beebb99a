"""The adversaries of both stages: discriminators with their loss and optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.training.discriminator import Heads, PixelDiscriminator
from model.training.losses import ADVERSARIAL_LOSSES, auc, mismatched
from model.training.stage import adam, optimizer_step, ramp, to_device


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Settings of the adversary; the ablations switch them off one at a time.

    loss: "hinge" or "bce".
    mismatched: share of photographs paired with another dish's name among the negatives of the conditional logit; 0 for
        fakes only.
    ramp: kimg at which the weight of the conditional logit begins to rise, and at which it is full.
    frozen: number of heads that are frozen, from the finest tap on, for training on few photographs (FreezeD, Mo et al.
        2020).
    """

    loss: str = "hinge"
    learning_rate: float = 4e-4
    mismatched: float = 0.5
    ramp: tuple[float, float] = (5.0, 40.0)
    frozen: int = 0


class Adversary:
    """Discriminator heads with their loss and optimizer."""

    def __init__(self, heads: Heads, discriminator: DiscriminatorConfig, device: torch.device) -> None:
        self.heads = to_device(heads, device)
        self.discriminator = discriminator
        self.loss = ADVERSARIAL_LOSSES[discriminator.loss]
        self.learning = heads.requires_grad_(False).heads[discriminator.frozen :]
        self.optimizer = adam(self.learning.parameters(), discriminator.learning_rate, device)

    def update(
        self,
        real_taps: Sequence[Tensor],
        fake_taps: Sequence[Tensor],
        names: Tensor,
        texts: Tensor,
        kimg: float,
        spoilt_taps: Sequence[Tensor] = (),
    ) -> dict[str, Tensor]:
        """Takes one step of the heads: photographs against fakes, and matching against mismatched names.

        Args:
            real_taps, fake_taps: the backbone's maps of the photographs and of the fakes; no gradient flows back into
                them.
            names, texts: (B, E), embeddings of the photographs' names and of the fakes'.
            spoilt_taps: maps of the first of the photographs, spoilt, which count as fakes too (negative data
                augmentation, Sinha et al. 2021).
        """
        heads, loss, share, fakes = self.heads, self.loss, self.discriminator.mismatched, len(texts)
        if spoilt_taps:
            fake_taps = [torch.cat(pair) for pair in zip(fake_taps, spoilt_taps, strict=True)]
            texts = torch.cat([texts, names[: len(spoilt_taps[0])]])
        self.learning.requires_grad_(True)
        real, fake = heads([t.detach() for t in real_taps]), heads([t.detach() for t in fake_taps])
        real_logits, fake_logits = heads.realness(real), heads.realness(fake)
        real_match, fake_match = heads.match(real, names), heads.match(fake, texts)
        others, differ = mismatched(names)
        wrong_match, no_mismatch = heads.match(real, others), ~differ[:, None]
        counted = differ.float().mean().clamp(min=1 / len(names))
        conditional = loss.real(real_match) + (1 - share) * loss.fake(fake_match)
        if share:
            # Names that are alike do not count: no loss has anything against minus infinity.
            refused = wrong_match.masked_fill(no_mismatch, -torch.inf)
            conditional = conditional + share * loss.fake(refused) / counted
        total = loss.real(real_logits) + loss.fake(fake_logits) + ramp(kimg, self.discriminator.ramp) * conditional
        optimizer_step(self.optimizer, total)
        heads.requires_grad_(False)
        spoilt_logits, fake_logits, fake_match = fake_logits[fakes:], fake_logits[:fakes], fake_match[:fakes]
        stats = {"spoilt_auc": auc(real_logits, spoilt_logits)} if spoilt_taps else {}
        return stats | {
            "d_loss": total, "auc": auc(real_logits, fake_logits), "real": real_logits.mean(),
            "fake": fake_logits.mean(), "real_match": real_match.mean(), "fake_match": fake_match.mean(),
            "wrong_match": wrong_match.masked_fill(no_mismatch, 0.0).mean() / counted,
        }  # fmt: skip

    def generator_loss(self, fake_taps: Sequence[Tensor], texts: Tensor, kimg: float) -> Tensor:
        """The generator's loss. Gradients flow to the fakes, but not into the heads."""
        maps = self.heads(fake_taps)
        realness = self.loss.generator(self.heads.realness(maps))
        return realness + ramp(kimg, self.discriminator.ramp) * self.loss.generator(self.heads.match(maps, texts))


class PixelAdversary:
    """A discriminator over pixels with its loss and optimizer.

    Its slope is kept small by a penalty on how far a little noise moves its logits. This approximates R1 and R2
    (Mescheder et al. 2018) without second derivatives (Lin et al. 2025, APT), so a step remains a plain graph.
    """

    NOISE = 0.1  # deviation, of pictures in [-1, 1]
    SMOOTHNESS = 1.0  # weight of the penalty

    def __init__(
        self, discriminator: PixelDiscriminator, loss: str, learning_rate: float, device: torch.device
    ) -> None:
        self.discriminator = to_device(discriminator, device).requires_grad_(False)
        self.loss = ADVERSARIAL_LOSSES[loss]
        self.optimizer = adam(self.discriminator.parameters(), learning_rate, device)

    def update(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """One step on photographs and fakes, (B, 3, H, W) each; no gradient leaves here."""
        self.discriminator.requires_grad_(True)
        both = torch.cat([real, fake]).detach()
        logits = self.discriminator(both)
        moved = self.discriminator(both + self.NOISE * torch.randn_like(both)) - logits
        real_logits, fake_logits = logits.chunk(2)
        total = self.loss.real(real_logits) + self.loss.fake(fake_logits)
        optimizer_step(self.optimizer, total + 2 * self.SMOOTHNESS * moved.square().mean())
        self.discriminator.requires_grad_(False)
        return {
            "pixel_d_loss": total, "pixel_auc": auc(real_logits, fake_logits), "pixel_real": real_logits.mean(),
            "pixel_fake": fake_logits.mean(),
        }  # fmt: skip

    def generator_loss(self, fake: Tensor) -> Tensor:
        """The generator's loss. Gradients flow to the fakes, but not into the discriminator."""
        return self.loss.generator(self.discriminator(fake))
