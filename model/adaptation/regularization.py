"""Regularizes adaptation, so that a few photographs do not spoil a checkpoint trained on tens of thousands.

Only some parameters are trained (the fewer photographs, the fewer) at low learning rates. The heads over the finest
taps are frozen (FreezeD, Mo et al. 2020). Name embeddings are jittered, since a name with a single photograph would
otherwise be a class of its own. The base checkpoint's pictures of dishes that are in no photograph are rehearsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.checkpoint import load_network
from model.features.matching import has_bfloat16
from model.generators import ParameterGroup, Stage1Generator, Stage2Generator
from model.training import stage1, stage2
from model.training.adversary import DiscriminatorConfig
from model.training.presets import PRESETS, Preset
from model.training.stage import Stage, Stateful, adam, optimizer_step, to_device

JITTER = 0.25  # deviation of a component, whose own size is about 1
GENERATOR_RATE, HEADS_RATE, PIXEL_RATE = 1e-4, 1e-4, 2.5e-4  # a half and quarters of what training from nothing has
FROZEN_HEADS = 2
HALF_LIFE = 2.0  # kimg, of the average


@dataclass(frozen=True)
class AdaptationPlan:
    """The limits on what may change.

    fewest: number of photographs from which this plan applies.
    learning: groups of the generators' parameters to train; None trains all.
    kimg: maximum for stage 1 and stage 2.
    """

    name: str
    fewest: int
    learning: tuple[ParameterGroup, ...] | None
    kimg: tuple[float, float]


PLANS = (
    AdaptationPlan("adaptor and affines", 20, ("adaptor",), (20.0, 10.0)),
    AdaptationPlan("adaptor, affines and last blocks", 60, ("adaptor", "last_blocks"), (30.0, 15.0)),
    AdaptationPlan("everything", 250, None, (40.0, 20.0)),
)


def choose_plan(photos: int, plans: Sequence[AdaptationPlan] = PLANS) -> AdaptationPlan:
    """Chooses the plan for a number of photographs; `plans` are in the order of `fewest`."""
    return [plan for plan in plans if plan.fewest <= photos or plan is plans[0]][-1]


def adaptation_preset(stage: str) -> Preset:
    """The preset of a stage for fine-tuning on few photographs, which is the same on every device."""
    preset = PRESETS["cpu"][stage]
    config = preset.config
    assert isinstance(config, stage1.Stage1Config | stage2.Stage2Config)
    heads: DiscriminatorConfig = replace(config.discriminator, learning_rate=HEADS_RATE, frozen=FROZEN_HEADS)
    milder = replace(
        config, discriminator=heads, augment=1.0, learning_rate=GENERATOR_RATE, pixel_rate=PIXEL_RATE,
        half_life=HALF_LIFE,
    )  # fmt: skip
    if isinstance(milder, stage1.Stage1Config):
        # In training from nothing the adversary pulls harder. Here it soon knows the photographs by heart.
        milder = replace(
            milder, forms_rate=GENERATOR_RATE, adversary=1.0, pixel_adversary=0.75, reconstruction=0.4, colour=0.2,
            match=0.8,
        )  # fmt: skip
    return replace(preset, config=milder)


def freeze(generator: Stage1Generator | Stage2Generator, plan: AdaptationPlan) -> None:
    """Freezes all parameters of a generator except those that the plan trains."""
    generator.requires_grad_(plan.learning is None)
    for group in plan.learning or ():
        for parameter in generator.parameter_group(group):
            parameter.requires_grad_(True)


def jitter(names: Tensor) -> Tensor:
    """Embeddings (B, E) -> nearby ones of the same norm."""
    moved = names + JITTER * torch.randn_like(names)
    return F.normalize(moved, dim=1) * names.norm(dim=1, keepdim=True)


class Rehearsal:
    """Takes steps towards the base generator's pictures for dishes that are in no photograph.

    The checkpoint's own training photographs are not available, so its pictures stand in for them (learning without
    forgetting, Li & Hoiem 2016).

    Args:
        generator: the generator to train, with parameters already frozen.
        source: folder of the checkpoint that is adapted.
        composed: (N, E), embeddings of made-up names.
        batch: pictures per step.
    """

    def __init__(self, generator: nn.Module, source: Path, composed: Tensor, batch: int) -> None:
        self.device, self.composed, self.batch = composed.device, composed, batch
        first = load_network(source, "stage1", Stage1Generator)
        self.latent_dim = first.latent_dim
        self.sketcher: Stage1Generator | None = None
        teacher: nn.Module = first
        if isinstance(generator, Stage2Generator):
            self.sketcher = to_device(first, self.device).requires_grad_(False)
            teacher = load_network(source, "stage2", Stage2Generator)
        self.generator, self.teacher = generator, to_device(teacher, self.device).requires_grad_(False)
        learning = [p for p in generator.parameters() if p.requires_grad]
        self.optimizer = adam(learning, GENERATOR_RATE, self.device)
        self.bf16 = has_bfloat16(self.device)

    def step(self) -> Tensor:
        """Takes one step; returns the mean pixel difference between the pictures."""
        texts = self.composed[torch.randint(len(self.composed), (self.batch,), device=self.device)]
        latent = torch.randn(self.batch, self.latent_dim, device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            with torch.no_grad():
                sketch = () if self.sketcher is None else (self.sketcher(texts, latent),)
                before = self.teacher(*sketch, texts, latent)
            loss = F.l1_loss(self.generator(*sketch, texts, latent), before)
        optimizer_step(self.optimizer, loss)
        return loss.detach()


class RegularizedStage:
    """A stage, trained with regularization so that little is forgotten. See `model.training.stage.Stage`.

    Args:
        stage: 1 or 2, built from a checkpoint by `adaptation_preset`.
        plan: what may be trained.
        source: folder of the checkpoint that is adapted.
        composed: (N, E), embeddings of made-up names to rehearse.
    """

    EVERY = 4  # steps of the stage to one of the rehearsal

    def __init__(self, stage: Stage, plan: AdaptationPlan, source: Path, composed: Tensor, batch: int) -> None:
        self.stage, self.name, self.size, self.latent_dim = stage, stage.name, stage.size, stage.latent_dim
        self.collapsed = stage.collapsed
        generator = stage.modules()["generator"]
        assert isinstance(generator, Stage1Generator | Stage2Generator)
        freeze(generator, plan)
        self.rehearsal = Rehearsal(generator, source, composed, batch)
        self.apart = torch.zeros((), device=composed.device)

    def modules(self) -> dict[str, nn.Module]:
        return self.stage.modules()

    def optimizers(self) -> dict[str, Stateful]:
        return {**self.stage.optimizers(), "rehearsal": self.rehearsal.optimizer}

    def shipped(self) -> dict[str, nn.Module]:
        return self.stage.shipped()

    def step(self, photos: Tensor, names: Tensor, imagined: Tensor, kimg: float) -> dict[str, Tensor]:
        stats = self.stage.step(photos, jitter(names), imagined, kimg)
        if round(1000 * kimg / len(photos)) % self.EVERY == 0:
            self.apart = self.rehearsal.step()
        return {**stats, "rehearsal": self.apart}

    def sample(self, embedding: Tensor, latent: Tensor) -> Tensor:
        return self.stage.sample(embedding, latent)
