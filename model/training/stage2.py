"""Trains stage 2: sketch, name and latent -> a 256x256 picture that corrects the sketch and adds detail.

Half of every batch are supervised pairs: a photograph, and the same photograph reduced to 64 px, blurred and noised
like a sketch. There the target is known, so L1 and feature distance teach detail quickly. The other half are stage 1's
sketches of dishes that do not exist, guided only by the adversary, the name and the sketch itself; they are mixed in
after `pairs_only` kimg.

Three adversaries see the pictures: one nearly the whole picture reduced to 96 px, conditioned on the name; one windows
at about full resolution, which show what stage 1 cannot make; and one the pixels of such windows.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.features.augment import Augmentation, crop, zoom
from model.features.backbone import Backbone
from model.features.matching import MatchingHead
from model.generators import PICTURE_SIZE, SKETCH_SIZE, Stage1Generator, Stage2Generator
from model.training.adversary import Adversary, DiscriminatorConfig, PixelAdversary
from model.training.discriminator import Heads, PixelDiscriminator
from model.training.gradient_balancer import GradientBalancer
from model.training.losses import feature_distance, grid_penalty, kl_divergence
from model.training.stage import StackGANStage, Stateful, adam, optimizer_step, ramp, to_device
from model.training.text_match import TextMatchLoss

SCALE = PICTURE_SIZE // SKETCH_SIZE
WINDOW = 96  # px, what the adversary of detail sees at once
# What the heads see is cut out at a free place and size, as a fraction of the side and of a window: the frozen network
# halves at fixed pixels, and behind a grid that keeps step with those the generator could hide.
WHOLE_SPAN, WINDOW_SPAN = (0.85, 1.0), (0.75, 1.1)
BLURS = (20, 28, 38, 50)  # px, what a photograph is reduced to before it is enlarged again


@dataclass(frozen=True)
class Stage2Config:
    """Loss weights and learning rates of stage 2."""

    discriminator: DiscriminatorConfig = field(default_factory=lambda: DiscriminatorConfig(ramp=(1.0, 10.0)))
    learning_rate: float = 2e-4
    pixel_rate: float = 1e-3  # learning rate of the discriminator over pixels
    augment: float = 0.5  # as in stage 1
    pairs_only: float = 3.0  # kimg
    # Shares of the pull at a picture, see GradientBalancer.
    adversary: float = 0.5  # each of two
    pixel_adversary: float = 0.75
    features: float = 0.5  # each of two
    pixels: float = 0.5
    grid: float = 0.25
    layout: float = 0.25
    match: float = 1.0
    enter: tuple[float, float] = (0.5, 4.0)  # kimg: where the adversaries' share begins to grow, and is whole
    condition_kl: float = 0.002
    half_life: float = 5.0  # kimg, of the average


class Stage2(StackGANStage):
    """The networks of stage 2, their optimizers, and one training step. See `model.training.stage.Stage`.

    Args:
        generator: the network that training starts from.
        heads, window_heads: of the adversary that sees the whole picture, and of the one that sees windows.
        stage1: the finished, frozen first stage.
        backbone: frozen features at 96 px.
        matching: frozen head over `backbone.pool`, trained on photographs and their names.
        bf16: as in stage 1.
    """

    name = "stage2"
    size = PICTURE_SIZE
    collapsed = 0.1
    generator: Stage2Generator
    average: Stage2Generator

    def __init__(
        self,
        generator: Stage2Generator,
        heads: Heads,
        window_heads: Heads,
        pixels: PixelDiscriminator,
        stage1: Stage1Generator,
        backbone: Backbone,
        matching: MatchingHead,
        config: Stage2Config,
        device: torch.device,
        bf16: bool,
    ) -> None:
        self.config, self.device, self.bf16 = config, device, bf16
        self.ramped = max(config.discriminator.ramp[1], config.enter[1], config.pairs_only)
        self.half_life = config.half_life
        self.latent_dim = generator.latent_dim
        self.generator = to_device(generator, device)
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self.stage1 = to_device(stage1, device).requires_grad_(False).eval()
        self.whole = Adversary(heads, config.discriminator, device)
        self.window = Adversary(window_heads, config.discriminator, device)
        self.pixels = PixelAdversary(pixels, config.discriminator.loss, config.pixel_rate, device)
        self.backbone = backbone.to(device)
        self.text_match = TextMatchLoss(matching, device)
        self.balancer = GradientBalancer(device)
        self.optimizer = adam(self.generator.parameters(), config.learning_rate, device)

    def modules(self) -> dict[str, nn.Module]:
        return {
            "generator": self.generator, "average": self.average,
            "heads": self.whole.heads, "window-heads": self.window.heads,
            "pixels": self.pixels.discriminator,
        }  # fmt: skip

    def optimizers(self) -> dict[str, Stateful]:
        return {
            "generator": self.optimizer, "heads": self.whole.optimizer, "window-heads": self.window.optimizer,
            "pixels": self.pixels.optimizer,
            "balancer": self.balancer, "text_match": self.text_match,
        }  # fmt: skip

    def shipped(self) -> dict[str, nn.Module]:
        return {
            "stage2": self.average, "stage2-heads": self.whole.heads, "stage2-window-heads": self.window.heads,
            "stage2-pixels": self.pixels.discriminator,
        }  # fmt: skip

    def update(self, photos: Tensor, names: Tensor, imagined: Tensor, kimg: float) -> dict[str, Tensor]:
        config = self.config
        pairs = len(photos) if kimg < config.pairs_only else len(photos) // 2
        texts = torch.cat([names[:pairs], imagined[: len(photos) - pairs]])
        latent = torch.randn(len(photos), self.latent_dim, device=self.device)
        with self.autocast():
            sketches = degrade(photos[:pairs])
            if pairs < len(photos):
                with torch.no_grad():
                    sketches = torch.cat([sketches, self.stage1(texts[pairs:], latent[pairs:])])
            condition, mean, log_variance = self.generator.condition(texts, latent)
            fakes = self.generator.render(sketches, condition)

        augmentation = Augmentation.draw(len(photos), self.device, config.augment)
        corners = torch.rand(3, len(photos), 2, device=self.device)
        whole_span = torch.empty(len(photos), device=self.device).uniform_(*WHOLE_SPAN)
        window_span = torch.empty(len(photos), device=self.device).uniform_(*WINDOW_SPAN) * WINDOW / self.size

        def look(images: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
            whole = augmentation.apply(zoom(F.avg_pool2d(images, SCALE // 2), WINDOW, whole_span, corners[0]))
            window = augmentation.colour(zoom(images, WINDOW, window_span, corners[1]))
            both = self.backbone(torch.cat([whole, window]))
            pixels = augmentation.colour(crop(images, WINDOW, corners[2]))
            return [t[: len(images)] for t in both], [t[len(images) :] for t in both], pixels

        with torch.no_grad():
            real_whole, real_window, real_pixels = look(photos)
        fake_whole, fake_window, fake_pixels = look(fakes)

        with self.autocast():
            stats = self.whole.update(real_whole, fake_whole, names, texts, kimg)
            window = self.window.update(real_window, fake_window, names, texts, kimg)
            stats |= {f"window_{name}": window[name] for name in ("d_loss", "auc", "real", "fake")}
            stats |= self.pixels.update(real_pixels, fake_pixels)
            adversary = config.adversary * ramp(kimg, config.enter)
            losses = {
                "g_loss": (adversary, self.whole.generator_loss(fake_whole, texts, kimg)),
                "window_g_loss": (adversary, self.window.generator_loss(fake_window, texts, kimg)),
                "match": (config.match, self.text_match.loss(self.backbone.pool(fake_whole), texts)),
            }
        deviations = self.backbone.spec.deviations
        for name, fake, real in (("features", fake_whole, real_whole), ("window_features", fake_window, real_window)):
            distance = feature_distance([t[:pairs] for t in fake], [t[:pairs] for t in real], deviations)
            losses[name] = (config.features, distance)
        losses["pixels"] = (config.pixels, F.l1_loss(fakes[:pairs], photos[:pairs]))
        losses["grid"] = (config.grid, grid_penalty(fakes))
        # The picture of a sketch stays the sketch's picture: it agrees in colour and layout.
        losses["layout"] = (config.layout, F.l1_loss(F.avg_pool2d(fakes, 4 * SCALE), F.avg_pool2d(sketches.float(), 4)))
        kl = kl_divergence(mean, log_variance)
        optimizer_step(self.optimizer, config.condition_kl * kl, fakes, self.balancer.gradient(losses, fakes))
        stats |= {name: loss for name, (_, loss) in losses.items()} | {"kl": kl}
        stats["spread"] = fakes[:, :, ::4, ::4].std(0).mean()
        return {name: value.detach() for name, value in stats.items()}

    @torch.inference_mode()
    def sample(self, embedding: Tensor, latent: Tensor) -> Tensor:
        return self.average(self.stage1(embedding, latent), embedding, latent)


def degrade(photos: Tensor) -> Tensor:
    """Photographs (B, 3, 256, 256) -> sketch-like versions, (B, 3, 64, 64): reduced, blurred, noised.

    Each is blurred by reducing it to one of the sizes in `BLURS`, and noised by up to 0.08.
    """
    size, batch = (SKETCH_SIZE, SKETCH_SIZE), len(photos)
    small = F.interpolate(photos, size, mode="area")
    blurs = [
        F.interpolate(F.interpolate(small, (side, side), mode="area"), size, mode="bicubic") for side in BLURS
    ]
    which = torch.randint(len(BLURS), (1, batch, 1, 1, 1), device=photos.device)
    blurred = torch.stack(blurs).gather(0, which.expand(-1, -1, *small.shape[1:]))[0]
    share = torch.rand(batch, 1, 1, 1, device=photos.device)
    noise = 0.08 * torch.rand(batch, 1, 1, 1, device=photos.device) * torch.randn_like(small)
    return (small + (blurred - small) * share + noise).clamp(-1, 1)
