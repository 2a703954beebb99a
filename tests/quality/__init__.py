"""The quality gate: a small fixed sample of the shipped checkpoint's pictures, measured the same way every time.

    python -m tests.quality --data DATA

stores what the pictures are measured against (features of photographs, no photograph) and the figures of the
checkpoint that ships, in this folder: for whoever commits a new checkpoint. `tests/test_quality.py` measures again and
fails where a figure has left its band, so that no later change spoils the pictures unseen. These figures are for that
alone: the sample is too small to say how good the pictures are, which `python -m model.evaluate` does.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.checkpoint import load_network, write_file
from model.data.photos import Photos
from model.evaluation.evaluator import RESOLUTIONS
from model.evaluation.metrics import kid, r_precision
from model.features.backbone import EVALUATION, TRAINING, Backbone
from model.features.matching import MatchingHead, image_features
from model.pipeline import SIZES, Pipeline

FOLDER = Path(__file__).parent
FIGURES = FOLDER / "figures.json"
SAMPLE = 100  # names, a picture each; the photographs that they are held against are as many

KID_BAND = 0.15  # of the stored figure, either way
R_PRECISION_BAND = 0.03


def measure(checkpoint: Path, names: list[str]) -> dict[str, dict[str, float]]:
    """Figures of a checkpoint folder by size of picture: `kid` and `r_precision`.

    KID is to the stored photographs, in the last layer of Lite2. R-precision is by the checkpoint's own matching head:
    an evaluator should not ask the generator's teacher, but this one only has to notice a change.
    """
    pipeline = Pipeline.load(checkpoint, "cpu")
    head = load_network(checkpoint, "matching-64", MatchingHead).eval()
    read = pipeline.embed(names)
    figures = {}
    for size in SIZES:
        pictures = pipeline.generate(names, range(len(names)), size)
        with torch.inference_mode():
            seen = head(look(pictures, Backbone(TRAINING)))
        figures[str(size)] = {
            "kid": round(kid(photographs(size), deep(pictures, size))[0].value, 4),
            "r_precision": round(r_precision(seen, range(len(names)), read).value, 4),
        }
    return figures


def deep(pictures: np.ndarray, size: int) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 1280): Lite2's last layer."""
    backbone = Backbone(EVALUATION, resolution=RESOLUTIONS[size])
    return look(pictures, backbone)[:, sum(backbone.spec.channels) :]


def look(pictures: np.ndarray, backbone: Backbone) -> Tensor:
    return torch.from_numpy(image_features(Photos.unnamed(pictures), backbone)).float()


def photographs(size: int) -> Tensor:
    """The stored (SAMPLE, 1280) features of photographs of the names."""
    return torch.from_numpy(np.load(FOLDER / f"photographs-{size}.npy")).float()


def choose(photos: Photos) -> list[int]:
    """SAMPLE validation photographs, no two with the same name."""
    rows = list(range(len(photos)))
    random.Random(0).shuffle(rows)
    first = {photos.names[row]: row for row in reversed(rows)}
    return list(first.values())[:SAMPLE]


def store(photos: Photos, rows: list[int]) -> None:
    """Writes the features of these photographs."""
    size = photos.images.shape[1]
    np.save(FOLDER / f"photographs-{size}.npy", deep(photos.images[rows], size).half().numpy())


def record(checkpoint: Path, names: list[str]) -> None:
    """Writes the figures that the gate holds on to."""
    content = {"names": names, "figures": measure(checkpoint, names)}
    write_file(FIGURES, json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")
