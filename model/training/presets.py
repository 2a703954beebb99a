"""Presets: a stage's network widths, batch size and config; and building a stage from a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import TypeAdapter, ValidationError

from model.checkpoint import CONFIG, MATCHING, CheckpointError, Network, load_network, read_config
from model.features.backbone import TRAINING, Backbone
from model.features.matching import MatchingHead
from model.generators import Stage1Generator, Stage2Generator
from model.training import baselines, stage1, stage2
from model.training.discriminator import Heads, PixelDiscriminator
from model.training.stage import Stage
from model.training.widen import Generator, add_forms, widen

StageConfig = stage1.Stage1Config | stage2.Stage2Config | baselines.BaselineConfig


@dataclass(frozen=True)
class Preset:
    """The settings that one stage is trained with.

    batch: photographs per step, over all processes.
    generator: keyword arguments of the stage's generator. The shipped checkpoint has to fit into
        `model.pack.MAX_BYTES`, so the GPU preset is wider only at high resolution, where width costs time but few
        weights.
    recipe: loss weights and learning rates; its type identifies the recipe.
    """

    batch: int
    config: StageConfig
    generator: Mapping[str, Any] = field(default_factory=dict)


DRAWING = {"forms": 16, "smooth_colour": True, "levels": True}  # of stage 1, at any width
FINISHING = {"crisp": True}  # of stage 2
PRESETS: dict[str, dict[str, Preset]] = {
    "cpu": {
        "1": Preset(16, stage1.Stage1Config(), DRAWING),
        "2": Preset(8, stage2.Stage2Config(), FINISHING),
    },
    "gpu": {
        "1": Preset(128, stage1.Stage1Config(half_life=40.0), {"channels": (256, 256, 128, 96, 64), **DRAWING}),
        "2": Preset(64, stage2.Stage2Config(half_life=20.0), {"channels": (128, 96, 48), **FINISHING}),
    },
    "stackgan-v1": {"1": Preset(64, baselines.BaselineConfig())},
    "dcgan": {"1": Preset(64, baselines.BaselineConfig(conditional=False))},
}


# What earlier versions recorded of every run that was no experiment.
EARLIER = {"imagined": True, "everywhere": True}


def find(name: str, stage: str, loss: str | None = None, augment: float | None = None) -> Preset:
    """Finds the preset of a stage, optionally with another adversarial loss or share of augmented pictures.

    Raises ValueError if the preset has no such stage, since the original recipes end with stage 1.
    """
    if stage not in PRESETS[name]:
        raise ValueError(f"preset {name} has no stage {stage}: it is a baseline for stage {', '.join(PRESETS[name])}")
    preset = PRESETS[name][stage]
    if augment is not None:
        preset = replace(preset, config=replace(preset.config, augment=augment))
    if loss is not None:
        preset = replace(preset, config=_with_loss(preset.config, loss))
    return preset


def to_record(preset: Preset) -> dict[str, Any]:
    """A preset as JSON values."""
    record = asdict(preset)
    return json.loads(json.dumps({**record, "config": {"type": type(preset.config).__name__, **record["config"]}}))


def from_record(record: Mapping[str, Any]) -> Preset:
    """The inverse of `to_record`. Raises ValueError if this version cannot read all of it."""
    kinds = {kind.__name__: kind for kind in get_args(StageConfig)}
    record = {name: value for name, value in record.items() if (name, value) not in EARLIER.items()}
    try:
        config = dict(record["config"])
        config = TypeAdapter(kinds[config.pop("type")]).validate_python(config)
        preset = Preset(**{**record, "config": config})
    except (KeyError, TypeError, ValidationError) as error:
        raise ValueError(f"its recorded configuration is of another version ({error!r})") from error
    if to_record(preset) != record:
        raise ValueError("its recorded configuration has what this version does not know")
    return preset


def _with_loss(config: StageConfig, loss: str) -> StageConfig:
    if isinstance(config, baselines.BaselineConfig):
        return replace(config, loss=loss)
    return replace(config, discriminator=replace(config.discriminator, loss=loss))


def build(
    stage: str, preset: Preset, source: Path, device: torch.device, bf16: bool
) -> tuple[Stage, dict[str, Any]]:
    """Builds a stage ready to train; returns it with the training behind its weights: `kimg`, `hours` and `runs`.

    Training starts from the weights of this stage in the checkpoint folder `source`, grown if the preset is wider or
    has spatial forms; missing networks are initialized at the preset's widths. Baselines always start from scratch.
    Raises CheckpointError if a file is missing, such as stage 1 for stage 2.
    """
    sections = read_config(source)
    if "embedding_dim" not in sections.get("text", {}):
        raise CheckpointError(f"{source / CONFIG} has no section 'text' with an embedding_dim")
    embedding = {"embedding_dim": sections["text"]["embedding_dim"]}
    config = preset.config
    if isinstance(config, baselines.BaselineConfig):
        conditional = {"conditional": config.conditional}
        generator = baselines.BaselineGenerator(**embedding, **conditional)
        discriminator = baselines.BaselineDiscriminator(**embedding, **conditional)
        return baselines.Baseline(generator, discriminator, config, device, bf16), {}

    past = sections.get("training", {}).get(f"stage{stage}", {}) if f"stage{stage}" in sections else {}

    def network(name: str, kind: type[Network], arguments: Mapping[str, Any]) -> Network:
        return load_network(source, name, kind) if name in sections else kind(**arguments)

    def widened(name: str, kind: type[Generator], arguments: Mapping[str, Any]) -> Generator:
        made = network(name, kind, arguments)
        return widen(made, arguments["channels"]) if "channels" in arguments else made

    backbone, matching = Backbone(TRAINING), load_network(source, MATCHING, MatchingHead)
    heads = {**embedding, "channels": backbone.spec.channels}
    if isinstance(config, stage1.Stage1Config):
        generator1 = widened("stage1", Stage1Generator, {**embedding, **preset.generator})
        generator1 = add_forms(generator1, preset.generator.get("forms", 0))
        return stage1.Stage1(
            generator1,
            network("stage1-heads", Heads, heads),
            network("stage1-pixels", PixelDiscriminator, {}),
            network("stage1-encoder", stage1.LatentEncoder, {"z_dim": generator1.z_dim}),
            backbone, matching, config, device, bf16,
        ), past  # fmt: skip
    first = load_network(source, "stage1", Stage1Generator)
    same_latent = {"z_dim": first.z_dim, "condition_dim": first.latent_dim - first.z_dim}
    return stage2.Stage2(
        widened("stage2", Stage2Generator, {**embedding, **same_latent, **preset.generator}),
        network("stage2-heads", Heads, heads),
        network("stage2-window-heads", Heads, heads),
        network("stage2-pixels", PixelDiscriminator, {}),
        first, backbone, matching, config, device, bf16,
    ), past  # fmt: skip
