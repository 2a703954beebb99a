"""Presets: how wide the networks of a stage are, how large a batch, and what training of it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from model import stage1, stage2
from model.backbone import Backbone
from model.checkpoint import Network, load_network, read_config
from model.discriminator import Heads
from model.game import Stage
from model.matching import MatchingHead
from model.networks import Stage1Generator, Stage2Generator


@dataclass(frozen=True)
class Preset:
    """batch: photographs a step, over all processes. generator: keyword arguments of the stage's generator."""

    batch: int
    generator: Mapping[str, Any] = field(default_factory=dict)
    heads: Mapping[str, Any] = field(default_factory=dict)


PRESETS: dict[str, dict[str, Preset]] = {
    "cpu": {
        "1": Preset(batch=16),
        "2": Preset(batch=8),
    },
    "gpu": {
        "1": Preset(batch=64, generator={"channels": (320, 320, 192, 128, 64)}, heads={"width": 96}),
        "2": Preset(batch=32, generator={"channels": (192, 128, 64), "depth": 4}, heads={"width": 96}),
    },
}


def build(
    stage: str, preset: Preset, source: Path, device: torch.device, bf16: bool
) -> tuple[Stage, float]:
    """A stage ready to train, and the kimg that its weights have behind them.

    What the checkpoint folder `source` has of this stage is where training starts, widths included; what it lacks
    starts from nothing at the preset's widths. Raises CheckpointError where stage 2 finds no stage 1.
    """
    config = read_config(source)
    begun = f"stage{stage}" in config
    kimg = float(config.get("training", {}).get(f"stage{stage}", {}).get("kimg", 0.0)) if begun else 0.0
    embedding = {"embedding_dim": config["text"]["embedding_dim"]}

    def network(name: str, kind: type[Network], arguments: Mapping[str, Any]) -> Network:
        return load_network(source, name, kind) if name in config else kind(**arguments)

    backbone, matching = Backbone("lite0"), load_network(source, "matching-64", MatchingHead)
    heads = {**embedding, "channels": backbone.channels, **preset.heads}
    if stage == "1":
        generator = network("stage1", Stage1Generator, {**embedding, **preset.generator})
        return stage1.Stage1(
            generator,
            network("stage1-heads", Heads, heads),
            network("stage1-encoder", stage1.LatentEncoder, {"z_dim": generator.z_dim}),
            backbone, matching, stage1.Recipe(), device, bf16,
        ), kimg  # fmt: skip
    first = load_network(source, "stage1", Stage1Generator)
    same_latent = {"z_dim": first.z_dim, "condition_dim": first.latent_dim - first.z_dim}
    return stage2.Stage2(
        network("stage2", Stage2Generator, {**embedding, **same_latent, **preset.generator}),
        network("stage2-heads", Heads, heads),
        network("stage2-window-heads", Heads, heads),
        first, backbone, matching, stage2.Recipe(), device, bf16,
    ), kimg  # fmt: skip
