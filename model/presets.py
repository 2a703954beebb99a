"""Presets: how wide the networks of a stage are, how large a batch, and what training of it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from model import baselines, stage1, stage2
from model.backbone import Backbone
from model.checkpoint import Network, load_network, read_config
from model.discriminator import Heads
from model.game import Stage
from model.matching import MatchingHead
from model.networks import Stage1Generator, Stage2Generator


@dataclass(frozen=True)
class Preset:
    """How one stage is trained.

    batch: photographs a step, over all processes.
    generator: keyword arguments of the stage's generator. All that ships has to fit into `model.pack.MAX_BYTES`, so
        that a GPU's is wider where that costs time and few weights, at high resolution.
    recipe: weights and rates; its type says whose recipe it is.
    """

    batch: int
    recipe: stage1.Recipe | stage2.Recipe | baselines.Recipe
    generator: Mapping[str, Any] = field(default_factory=dict)


PRESETS: dict[str, dict[str, Preset]] = {
    "cpu": {
        "1": Preset(16, stage1.Recipe()),
        "2": Preset(8, stage2.Recipe()),
    },
    "gpu": {
        "1": Preset(64, stage1.Recipe(), {"channels": (256, 224, 160, 96, 64)}),
        "2": Preset(32, stage2.Recipe(), {"channels": (128, 96, 48)}),
    },
    "stackgan-v1": {"1": Preset(64, baselines.Recipe())},
    "dcgan": {"1": Preset(64, baselines.Recipe(conditional=False))},
}


def find(name: str, stage: str, loss: str | None = None) -> Preset:
    """The preset of a stage, with another adversarial loss than its own where one is named.

    Raises ValueError where the preset has no such stage: the original recipes end with stage 1.
    """
    if stage not in PRESETS[name]:
        raise ValueError(f"preset {name} has no stage {stage}: it is a baseline for stage {', '.join(PRESETS[name])}")
    preset = PRESETS[name][stage]
    if loss is None:
        return preset
    recipe = preset.recipe
    if isinstance(recipe, baselines.Recipe):
        return replace(preset, recipe=replace(recipe, loss=loss))
    return replace(preset, recipe=replace(recipe, rules=replace(recipe.rules, loss=loss)))


def build(
    stage: str, preset: Preset, source: Path, device: torch.device, bf16: bool
) -> tuple[Stage, dict[str, float]]:
    """A stage ready to train, and what its weights have behind them: `kimg` and `hours`.

    What the checkpoint folder `source` has of this stage is where training starts, widths included; what it lacks
    starts from nothing at the preset's widths. Baselines always start from nothing. Raises CheckpointError where a
    file is missing, such as stage 1 for stage 2.
    """
    config = read_config(source)
    embedding = {"embedding_dim": config["text"]["embedding_dim"]}
    recipe = preset.recipe
    if isinstance(recipe, baselines.Recipe):
        conditional = {"conditional": recipe.conditional}
        generator = baselines.BaselineGenerator(**embedding, **conditional)
        discriminator = baselines.BaselineDiscriminator(**embedding, **conditional)
        return baselines.Baseline(generator, discriminator, recipe, device, bf16), {}

    past = config.get("training", {}).get(f"stage{stage}", {}) if f"stage{stage}" in config else {}

    def network(name: str, kind: type[Network], arguments: Mapping[str, Any]) -> Network:
        return load_network(source, name, kind) if name in config else kind(**arguments)

    backbone, matching = Backbone("lite0"), load_network(source, "matching-64", MatchingHead)
    heads = {**embedding, "channels": backbone.channels}
    if isinstance(recipe, stage1.Recipe):
        painter = network("stage1", Stage1Generator, {**embedding, **preset.generator})
        return stage1.Stage1(
            painter,
            network("stage1-heads", Heads, heads),
            network("stage1-encoder", stage1.LatentEncoder, {"z_dim": painter.z_dim}),
            backbone, matching, recipe, device, bf16,
        ), past  # fmt: skip
    first = load_network(source, "stage1", Stage1Generator)
    same_latent = {"z_dim": first.z_dim, "condition_dim": first.latent_dim - first.z_dim}
    return stage2.Stage2(
        network("stage2", Stage2Generator, {**embedding, **same_latent, **preset.generator}),
        network("stage2-heads", Heads, heads),
        network("stage2-window-heads", Heads, heads),
        first, backbone, matching, recipe, device, bf16,
    ), past  # fmt: skip
