"""Trains stage 1: name and latent -> a 64x64 sketch.

The generator is trained against projected heads and a discriminator over pixels. Two things keep it from collapsing to
one picture for every name:

- half of every batch of fakes are reconstructions. A small encoder maps a photograph to a latent, and the generator has
  to reconstruct the photograph from its name and that latent (cVAE-GAN, Bao et al. 2017; BicycleGAN, Zhu et al. 2017).
  This costs nothing beyond the encoder: photograph and reconstruction go through the same augmentation, and are
  compared by features that the discriminator needs anyway;
- every fake has to match its own name better than hundreds of others, according to a frozen matching head over the same
  features.

The other half are dishes that do not exist: mixes of two names, and composed names without a photograph.

Photographs that are bent count as fakes for the heads, which otherwise hardly mind rims that wobble.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.features.augment import Augmentation, bend
from model.features.backbone import Backbone
from model.features.matching import MatchingHead
from model.generators import SKETCH_SIZE, Stage1Generator
from model.training.adversary import Adversary, DiscriminatorConfig, PixelAdversary
from model.training.discriminator import Heads, PixelDiscriminator
from model.training.gradient_balancer import GradientBalancer
from model.training.losses import feature_distance, kl_divergence
from model.training.stage import StackGANStage, Stateful, adam, optimizer_step, ramp, to_device
from model.training.text_match import TextMatchLoss


@dataclass(frozen=True)
class Stage1Config:
    """Loss weights and learning rates of stage 1."""

    discriminator: DiscriminatorConfig = field(default_factory=lambda: DiscriminatorConfig(learning_rate=8e-4))
    learning_rate: float = 5e-4
    forms_rate: float = 1e-3  # of the generator's spatial forms
    pixel_rate: float = 1e-3  # learning rate of the discriminator over pixels
    augment: float = 0.5  # share of the pictures that the adversary sees augmented
    bent: bool = True  # whether half as many bent photographs as fakes count as fakes, too
    # Shares of the pull at a picture, see GradientBalancer.
    adversary: float = 2.0
    pixel_adversary: float = 0.2
    reconstruction: float = 0.3
    colour: float = 0.1
    match: float = 0.8
    enter: tuple[float, float] = (0.5, 5.0)  # kimg: where the adversaries' shares begin to grow, and are whole
    condition_kl: float = 0.002
    latent_kl: float = 4.0
    half_life: float = 10.0  # kimg, of the average


class LatentEncoder(nn.Module):
    """Photograph (B, 3, 64, 64) in [-1, 1] -> mean and log-variance of z, each (B, z_dim). Only used in training."""

    def __init__(self, *, z_dim: int = 64) -> None:
        super().__init__()
        self.config = {"z_dim": z_dim}
        widths = (3, 32, 64, 128, 128)
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        side = SKETCH_SIZE // 2 ** (len(widths) - 1)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * side**2, 2 * z_dim))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.layers(images).float().chunk(2, 1)
        return mean, log_variance.clamp(-8.0, 2.0)

    def draw(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Draws a latent z for each photograph, with its mean and log-variance for the KL term."""
        mean, log_variance = self(images)
        return mean + (0.5 * log_variance).exp() * torch.randn_like(mean), mean, log_variance


class Stage1(StackGANStage):
    """The networks of stage 1, their optimizers, and one training step. See `model.training.stage.Stage`.

    Args:
        generator, heads, pixels, encoder: the networks that training starts from.
        backbone: frozen features at 96 px.
        matching: frozen head over `backbone.pool`, trained on photographs and their names.
        bf16: run convolutions and matrix products in bfloat16. The backbone stays in float32, where its depthwise
            convolutions are faster.
    """

    name = "stage1"
    size = SKETCH_SIZE
    collapsed = 0.1
    generator: Stage1Generator
    average: Stage1Generator

    def __init__(
        self,
        generator: Stage1Generator,
        heads: Heads,
        pixels: PixelDiscriminator,
        encoder: LatentEncoder,
        backbone: Backbone,
        matching: MatchingHead,
        config: Stage1Config,
        device: torch.device,
        bf16: bool,
    ) -> None:
        self.config, self.device, self.bf16 = config, device, bf16
        self.ramped = max(config.discriminator.ramp[1], config.enter[1])
        self.half_life = config.half_life
        self.latent_dim = generator.latent_dim
        self.generator = to_device(generator, device)
        self.encoder = to_device(encoder, device)
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self.adversary = Adversary(heads, config.discriminator, device)
        self.pixels = PixelAdversary(pixels, config.discriminator.loss, config.pixel_rate, device)
        self.backbone = backbone.to(device)
        self.text_match = TextMatchLoss(matching, device)
        forms = self.generator.parameter_group("forms")
        others = [p for p in self.generator.parameters() if not any(p is form for form in forms)]
        groups: list[dict[str, Any]] = [
            {"params": [*others, *self.encoder.parameters()]}, {"params": forms, "lr": config.forms_rate}
        ]  # fmt: skip
        self.balancer = GradientBalancer(device)
        self.optimizer = adam(groups, config.learning_rate, device)

    def modules(self) -> dict[str, nn.Module]:
        return {
            "generator": self.generator, "average": self.average, "encoder": self.encoder,
            "heads": self.adversary.heads, "pixels": self.pixels.discriminator,
        }  # fmt: skip

    def optimizers(self) -> dict[str, Stateful]:
        return {
            "generator": self.optimizer, "heads": self.adversary.optimizer, "pixels": self.pixels.optimizer,
            "balancer": self.balancer, "text_match": self.text_match,
        }  # fmt: skip

    def shipped(self) -> dict[str, nn.Module]:
        return {
            "stage1": self.average, "stage1-encoder": self.encoder,
            "stage1-heads": self.adversary.heads, "stage1-pixels": self.pixels.discriminator,
        }  # fmt: skip

    def update(self, photos: Tensor, names: Tensor, imagined: Tensor, kimg: float) -> dict[str, Tensor]:
        config, half = self.config, len(photos) // 2
        latent = torch.randn(len(photos), self.latent_dim, device=self.device)
        texts = torch.cat([names[:half], imagined])
        with self.autocast():
            z, z_mean, z_log_variance = self.encoder.draw(photos[:half])
            latent = torch.cat([torch.cat([z, latent[:half, z.shape[1] :]], 1), latent[half:]])
            condition, mean, log_variance = self.generator.condition(texts, latent)
            fakes = self.generator.render(condition)

        augmentation = Augmentation.draw(len(photos), self.device, config.augment)
        seen_photos, seen_fakes = augmentation.apply(photos), augmentation.apply(fakes)
        with torch.no_grad():
            real_taps = self.backbone(seen_photos)
            bent_taps = self.backbone(augmentation.apply(bend(photos))[:half]) if config.bent else ()
        fake_taps = self.backbone(seen_fakes)

        with self.autocast():
            stats = self.adversary.update(real_taps, fake_taps, names, texts, kimg, bent_taps)
            stats |= self.pixels.update(seen_photos, seen_fakes)
            entered = ramp(kimg, config.enter)
            losses = {
                "pixel_g_loss": (config.pixel_adversary * entered, self.pixels.generator_loss(seen_fakes)),
                "g_loss": (config.adversary * entered, self.adversary.generator_loss(fake_taps, texts, kimg)),
                "match": (config.match, self.text_match.loss(self.backbone.pool(fake_taps), texts)),
            }
        deviations = self.backbone.spec.deviations
        losses |= {
            "reconstruction": (
                config.reconstruction,
                feature_distance([t[:half] for t in fake_taps], [t[:half] for t in real_taps], deviations),
            ),
            "colour": (config.colour, F.l1_loss(F.avg_pool2d(fakes[:half], 4), F.avg_pool2d(photos[:half], 4))),
        }
        kl, latent_kl = kl_divergence(mean, log_variance), kl_divergence(z_mean, z_log_variance)
        optimizer_step(
            self.optimizer,
            config.condition_kl * kl + config.latent_kl * latent_kl,
            fakes,
            self.balancer.gradient(losses, fakes),
        )
        stats |= {name: loss for name, (_, loss) in losses.items()} | {"kl": kl, "latent_kl": latent_kl}
        stats["spread"] = fakes[half:].std(0).mean()
        return {name: value.detach() for name, value in stats.items()}

    @torch.inference_mode()
    def sample(self, embedding: Tensor, latent: Tensor) -> Tensor:
        return self.average(embedding, latent)
