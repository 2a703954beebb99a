"""The original recipes, kept as baselines: stage 1 of StackGAN v1 (Zhang et al. 2017) and DCGAN (Radford et al. 2016),
both with a convolutional discriminator trained from scratch.

Layers, losses and learning rates are those of the papers; widths are scaled by `WIDTH`, so that a step costs about as
much as one of ours on the same machine.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.features.augment import Augmentation
from model.generators import SKETCH_SIZE, SketchGenerator
from model.training.losses import ADVERSARIAL_LOSSES, kl_divergence, mismatched
from model.training.stage import Stateful, optimizer_step, to_device, update_ema

WIDTH = 48  # the papers have 128 (generator) and 64 (discriminator)
DOUBLINGS = (SKETCH_SIZE // 4).bit_length() - 1  # between 4 px, where both begin or end, and a picture


@dataclass(frozen=True)
class BaselineConfig:
    """conditional: StackGAN's stage 1, which reads the name; otherwise DCGAN, which does not.
    augment: share of the pictures that the discriminator sees augmented.
    """

    conditional: bool = True
    loss: str = "bce"
    augment: float = 0.0
    learning_rate: float = 2e-4
    condition_kl: float = 2.0
    half_life: float = 10.0  # kimg, of the average


class SampledGenerator(SketchGenerator):
    """The interface of a first stage that a baseline can train."""

    def sample(self, embedding: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Samples pictures; returns them with the KL term of the conditioning augmentation, averaged over
        dimensions."""
        raise NotImplementedError


class BaselineGenerator(SampledGenerator):
    """Latent, and if `conditional` a name -> (B, 3, 64, 64) in [-1, 1].

    The name is fed in once, at the bottom, through conditioning augmentation with the original's ReLU.
    """

    def __init__(
        self, *, embedding_dim: int = 256, z_dim: int = 100, condition_dim: int = 128, conditional: bool = True
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "embedding_dim": embedding_dim, "z_dim": z_dim, "condition_dim": condition_dim, "conditional": conditional
        }  # fmt: skip
        self.z_dim = z_dim
        self.latent_dim = z_dim + (condition_dim if conditional else 0)
        self.project = nn.Linear(embedding_dim, 2 * condition_dim) if conditional else None
        widths = [WIDTH * 8 >> k for k in range(DOUBLINGS + 1)]
        self.start = nn.Sequential(
            nn.Linear(self.latent_dim, widths[0] * 16, bias=False), nn.BatchNorm1d(widths[0] * 16), nn.ReLU()
        )
        layers: list[nn.Module] = [nn.Unflatten(1, (widths[0], 4, 4))]
        for a, b in pairwise(widths):
            convolution = nn.Conv2d(a, b, 3, padding=1, bias=False)
            layers += [nn.Upsample(scale_factor=2), convolution, nn.BatchNorm2d(b), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 3, 3, padding=1), nn.Tanh())

    def forward(self, embedding: Tensor, latent: Tensor) -> Tensor:
        return self.sample(embedding, latent)[0]

    def sample(self, embedding: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """See `SampledGenerator`."""
        kl = latent.new_zeros(())
        if self.project is not None:
            mean, log_variance = F.relu(self.project(embedding)).chunk(2, 1)
            kl = kl_divergence(mean, log_variance)
            noise = latent[:, self.z_dim :]
            latent = torch.cat([latent[:, : self.z_dim], mean + (0.5 * log_variance).exp() * noise], 1)
        return self.layers(self.start(latent)).float(), kl


class BaselineDiscriminator(nn.Module):
    """(B, 3, 64, 64) and, if `conditional`, names (B, E) -> logits (B,)."""

    def __init__(self, *, embedding_dim: int = 256, condition_dim: int = 128, conditional: bool = True) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "embedding_dim": embedding_dim, "condition_dim": condition_dim, "conditional": conditional
        }  # fmt: skip
        widths = [3, *(WIDTH << k for k in range(DOUBLINGS))]
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(widths)):
            norm = nn.BatchNorm2d(b) if i else nn.Identity()
            layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False), norm, nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        wide = widths[-1]
        self.project: nn.Module | None = None
        self.join: nn.Module = nn.Identity()
        if conditional:
            self.project = nn.Sequential(nn.Linear(embedding_dim, condition_dim), nn.LeakyReLU(0.2))
            joint = nn.Conv2d(wide + condition_dim, wide, 1, bias=False)
            self.join = nn.Sequential(joint, nn.BatchNorm2d(wide), nn.LeakyReLU(0.2))
        self.score = nn.Conv2d(wide, 1, 4)

    def forward(self, images: Tensor, embedding: Tensor) -> Tensor:
        x = self.layers(images)
        if self.project is not None:
            x = torch.cat([x, self.project(embedding)[:, :, None, None].expand(-1, -1, 4, 4)], 1)
        return self.score(self.join(x)).flatten().float()


class Baseline:
    """The networks of an original recipe, and one training step. See `model.training.stage.Stage`.

    Args:
        name: of the generator in a checkpoint.
    """

    size = SKETCH_SIZE
    collapsed = 0.05

    def __init__(
        self,
        generator: SampledGenerator,
        discriminator: BaselineDiscriminator,
        config: BaselineConfig,
        device: torch.device,
        bf16: bool,
        name: str = "baseline",
    ) -> None:
        self.config, self.device, self.bf16, self.name = config, device, bf16, name
        self.latent_dim = generator.latent_dim
        discriminator.apply(_initialise)
        if isinstance(generator, BaselineGenerator):
            generator.apply(_initialise)
        self.generator = to_device(generator, device)
        self.discriminator = to_device(discriminator, device)
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self.loss = ADVERSARIAL_LOSSES[config.loss]
        rate, betas = config.learning_rate, (0.5, 0.999)
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), rate, betas)
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator.parameters(), rate, betas)

    def modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "average": self.average, "discriminator": self.discriminator}

    def optimizers(self) -> dict[str, Stateful]:
        return {"generator": self.generator_optimizer, "discriminator": self.discriminator_optimizer}

    def shipped(self) -> dict[str, nn.Module]:
        return {self.name: self.average, "baseline-discriminator": self.discriminator}

    def step(self, photos: Tensor, names: Tensor, imagined: Tensor, kimg: float) -> dict[str, Tensor]:
        """Takes a step as in both papers: every fake has a photograph's name, and photographs also appear with a
        mismatched one."""
        loss, discriminator = self.loss, self.discriminator.requires_grad_(True)
        augmentation = Augmentation.draw(len(photos), self.device, self.config.augment)

        def seen(images: Tensor) -> Tensor:
            return augmentation.apply(images)

        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            fakes, kl = self.generator.sample(names, torch.randn(len(photos), self.latent_dim, device=self.device))
            real_logits = discriminator(seen(photos), names)
            fake_logits = discriminator(seen(fakes.detach()), names)
            fake_loss = loss.fake(fake_logits)
            if self.config.conditional:
                others, differ = mismatched(names)
                wrong = loss.fake(discriminator(seen(photos), others)[differ]) if differ.any() else fake_loss
                fake_loss = 0.5 * (fake_loss + wrong)
            total = loss.real(real_logits) + fake_loss
            optimizer_step(self.discriminator_optimizer, total)
            discriminator.requires_grad_(False)
            g_loss = loss.generator(discriminator(seen(fakes), names))
        optimizer_step(self.generator_optimizer, g_loss + self.config.condition_kl * kl)
        update_ema(self.average, self.generator, len(photos), kimg, self.config.half_life)
        return {
            "d_loss": total.detach(), "g_loss": g_loss.detach(), "kl": kl.detach(), "real": real_logits.mean().detach(),
            "fake": fake_logits.mean().detach(), "spread": fakes.detach().std(0).mean(),
        }  # fmt: skip

    @torch.inference_mode()
    def sample(self, embedding: Tensor, latent: Tensor) -> Tensor:
        pictures: Tensor = self.average(embedding, latent)
        return pictures


def _initialise(module: nn.Module) -> None:
    """DCGAN section 4: weights from N(0, 0.02)."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
