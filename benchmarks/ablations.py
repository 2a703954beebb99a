"""Training without one of its parts, to see what that is good for.

    python -m benchmarks.ablations ramp --stage 1 --data DATA --from CHECKPOINT --out RUN --minutes 15
    python -m benchmarks.ablations order --stage text --data DATA --out RUN --minutes 26

The first word says what is left out, the rest is as for `model.train`: order and pictures are left out of the text
stage, the others of our own stage 1. A run goes on by the same command.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

from model import train
from model.checkpoint import read_config
from model.generators import Stage1Generator
from model.text_encoder import TextEncoder
from model.training import presets
from model.training.baselines import Baseline, BaselineConfig, BaselineDiscriminator, SampledGenerator
from model.training.gan_loop import LoopConfig
from model.training.losses import kl_divergence
from model.training.name_sampler import NameSampler
from model.training.presets import Preset
from model.training.stage import Stage
from model.training.stage1 import Stage1, Stage1Config
from model.training.text_stage import TextConfig

Build = Callable[[str, Preset, Path, torch.device, bool], tuple[Stage, dict[str, Any]]]


# ---- of stage 1 -------------------------------------------------------------------------------------------------

LESSER: dict[str, Callable[[Stage1Config], Stage1Config]] = {
    "mismatched": lambda config: replace(config, discriminator=replace(config.discriminator, mismatched=0.0)),
    "bent": lambda config: replace(config, bent=False),
    "ramp": lambda config: replace(config, discriminator=replace(config.discriminator, ramp=(0.0, 0.0))),
    "match": lambda config: replace(config, match=0.0),
    "reconstruction": lambda config: replace(config, reconstruction=0.0, colour=0.0),
}


class OurGenerator(Stage1Generator, SampledGenerator):
    """Our own first stage, to be trained against the original discriminator."""

    def sample(self, embedding: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """See `SampledGenerator`."""
        condition, mean, log_variance = self.condition(embedding, latent)
        return self.render(condition), kl_divergence(mean, log_variance)


class Photographed(NameSampler):
    """Names of photographs where otherwise those of dishes that do not exist are: the last ones of the batch again."""

    def names(self, photos: Tensor) -> Tensor:
        self.last = super().names(photos)
        return self.last

    def imagined(self, count: int) -> Tensor:
        return self.last[-count:]


def build(
    what: str, stage: str, preset: Preset, source: Path, device: torch.device, bf16: bool
) -> tuple[Stage, dict[str, Any]]:
    """`presets.build` without one part. Raises ValueError where the preset is not of our own stage 1."""
    config = preset.config
    if not isinstance(config, Stage1Config):
        raise ValueError(f"{what} can be left out of our own stage 1 alone")
    if what == "projection":
        return unprojected(preset, config, source, device, bf16), {}
    if what in LESSER:
        preset = replace(preset, config=LESSER[what](config))
    made, past = presets.build(stage, preset, source, device, bf16)
    if what == "blocks":
        assert isinstance(made, Stage1)
        condition_at_the_bottom(made.generator)
        made.average.load_state_dict(made.generator.state_dict())
    return made, past


def unprojected(preset: Preset, config: Stage1Config, source: Path, device: torch.device, bf16: bool) -> Baseline:
    """Our generator against the original discriminator, which learns from nothing."""
    embedding = {"embedding_dim": read_config(source)["text"]["embedding_dim"]}
    lesser = BaselineConfig(
        loss=config.discriminator.loss, augment=config.augment, condition_kl=config.condition_kl
    )
    generator = OurGenerator(**embedding, **preset.generator)
    return Baseline(generator, BaselineDiscriminator(**embedding), lesser, device, bf16, name="stage1")


def condition_at_the_bottom(generator: Stage1Generator) -> None:
    """Cuts the name off from every affine, for good: the network stays what `load_network` reads."""
    first = generator.style[0]
    assert isinstance(first, nn.Linear)
    weight = first.weight
    kept = torch.zeros_like(weight)
    kept[:, : generator.z_dim] = 1.0
    with torch.no_grad():
        weight *= kept
    weight.register_hook(lambda gradient: gradient * kept.to(gradient.device))


# ---- of the text stage ------------------------------------------------------------------------------------------


def bag_of_pieces(*, vocabulary: int) -> TextEncoder:
    """A text encoder that weighs every piece by itself and takes the mean: no blocks, and positions that stay 0."""
    encoder = TextEncoder(vocabulary=vocabulary, layers=0)
    nn.init.zeros_(encoder.positions.requires_grad_(False))
    return encoder


TEXT = {
    "order": TextConfig("order", encoder=bag_of_pieces),
    "pictures": TextConfig("pictures", signals=("distil", "similarity", "translation")),
}
STAGE_1 = {
    what: LoopConfig(
        experiment=what,
        build=partial(build, what),
        name_sampler=Photographed if what == "imagined" else NameSampler,
    )
    for what in (*LESSER, "projection", "imagined", "blocks")
}


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("what", type=click.Choice([*STAGE_1, *TEXT]))
@click.argument("training", nargs=-1, type=click.UNPROCESSED)
def main(what: str, training: tuple[str, ...]) -> None:
    """Trains as model.train does, without one of its parts."""
    made = train.main.make_context("python -m model.train", [*training])
    if (made.params["stage"] == "text") != (what in TEXT):
        raise click.UsageError(f"{what} is left out of --stage {'text' if what in TEXT else '1'}")
    made.obj = TEXT[what] if what in TEXT else STAGE_1[what]
    with made:
        train.main.invoke(made)


if __name__ == "__main__":
    main()
