"""What the tests of GAN training share: photographs, a checkpoint to train from, and the command as a script.

As a script this is `python -m model.train` in a hurry, see `QUICK` and `hurry`.
"""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from model import checkpoint, train
from model.features.backbone import TRAINING, Backbone
from model.features.matching import MatchingHead
from model.training import gan_loop, presets
from model.training.discriminator import Heads, PixelDiscriminator
from model.training.stage import Stage
from model.training.stage1 import LatentEncoder

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")
EMBEDDING = 32  # width of the embeddings of conftest.make_checkpoint
DISHES = [("tomato ramen", "トマトラーメン"), ("green salad", "グリーンサラダ"), ("fried rice", "炒飯"),
          ("chocolate cake", "チョコレートケーキ"), ("pea soup", ""), ("lemon tart", "レモンタルト")]  # fmt: skip


@functools.cache
def backbone() -> Backbone:
    """Frozen, so one is enough."""
    return Backbone(TRAINING)


def make_photos(folder: Path) -> Path:
    """Six photographs of noise, large enough for stage 2, with a metadata.csv."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["file_name,name,name_ja"]
    for i, (en, ja) in enumerate(DISHES):
        pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((256, 256)).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{en},{ja}")
    (folder / "metadata.csv").write_text("\n".join(lines), "utf-8")
    return folder


def add_networks(folder: Path, kimg: float) -> Path:
    """Adds what training needs to a folder by conftest.make_checkpoint: heads, latent encoder, matching head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        networks: dict[str, MatchingHead | LatentEncoder | PixelDiscriminator | Heads] = {
            "matching-64": MatchingHead(features=backbone().features, embedding_dim=EMBEDDING, hidden=32),
            "stage1-encoder": LatentEncoder(z_dim=8),
            "stage1-pixels": PixelDiscriminator(width=4),
            "stage2-pixels": PixelDiscriminator(width=4),
        }
        for name in ("stage1-heads", "stage2-heads", "stage2-window-heads"):
            networks[name] = Heads(embedding_dim=EMBEDDING, width=8)
    for name, network in networks.items():
        checkpoint.save_weights(folder, name, network)
        checkpoint.save_config(folder, **{name: network.config})
    checkpoint.save_config(folder, training={"stage1": {"kimg": kimg, "hours": 7.0}})
    return folder


# Without what takes longer than the steps of a test: embedding 20,000 composed names, drawing 48 pictures a grid.
QUICK = gan_loop.LoopConfig(samples=gan_loop.SAMPLES[:2], composed=40)


def hurry() -> None:
    """Does not wait for the disk."""
    os.fsync = lambda fd: None


if __name__ == "__main__":
    hurry()
    stages: list[tuple[Stage, dict[str, Any]]] = []

    def keeping(*arguments: Any) -> tuple[Stage, dict[str, Any]]:
        stages.append(presets.build(*arguments))
        return stages[-1]

    try:
        train.main(obj=replace(QUICK, build=keeping))
    finally:
        if folder := os.environ.get("KEEP_WEIGHTS"):  # of every process, for those that should agree
            weights = {name: module.state_dict() for name, module in stages[0][0].modules().items()}
            torch.save(weights, Path(folder) / f"{os.environ['RANK']}.pt")
