"""Trains the network that tells a dish and its vessel from what surrounds them in a sketch.

Its teacher is the head that finds vessels in photographs, which needs the backbone and more time than a picture has.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from model.data.photos import Photos
from model.depth_of_field import CELLS, DepthOfField
from model.features.augment import Augmentation, flip
from model.features.vessels import VesselFinder
from model.generators import SKETCH_SIZE
from model.training.stage import adam, optimizer_step
from model.training.stage2 import degrade

STEPS = 4000
BATCH = 48
LEARNING_RATE = 3e-3  # at first; falls to 0 linearly
HELD_OUT = 16  # of so many photographs, one is not trained on
AUGMENTED = 0.5  # share of the photographs whose colours are changed


def look(photos: Photos) -> tuple[Tensor, Tensor]:
    """Photographs of any size as sketches (N, 3, 64, 64) in [-1, 1], and their masks (N, 1, CELLS, CELLS) in [0, 1] as
    the finder's head predicts them."""
    finder, sketches, masks = VesselFinder(), [], []
    for start in tqdm(range(0, len(photos), BATCH), "looking", unit=f" x {BATCH} photos", disable=None):
        images: NDArray[np.uint8] = np.array(photos.images[start : start + BATCH])
        masks.append(F.interpolate(finder.masks(list(images))[:, None], (CELLS, CELLS), mode="area"))
        scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        sketches.append(F.interpolate(scaled, (SKETCH_SIZE, SKETCH_SIZE), mode="bilinear", antialias=True))
    return torch.cat(sketches), torch.cat(masks)


def fit(sketches: Tensor, masks: Tensor, steps: int = STEPS, seed: int = 0) -> tuple[DepthOfField, float]:
    """Trains a network on what `look` returns, of two photographs at least.

    Returns it with the mean absolute error of its masks of photographs that it was not trained on.
    """
    torch.manual_seed(seed)
    held_out = torch.arange(len(masks)) % HELD_OUT == 0
    known, known_masks = sketches[~held_out], masks[~held_out]
    network = DepthOfField()
    optimizer = adam(network.parameters(), LEARNING_RATE, torch.device("cpu"))
    for step in tqdm(range(steps), "focusing", unit=" steps", disable=None):
        rows = torch.randint(len(known), (BATCH,))
        both = flip(torch.cat([known[rows], F.interpolate(known_masks[rows], sketches.shape[-2:])], 1))
        seen, wanted = degrade(both[:, :3]), F.interpolate(both[:, 3:], (CELLS, CELLS), mode="area")
        found = network.find(Augmentation.draw(BATCH, share=AUGMENTED).colour(seen))
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / steps)
        optimizer_step(optimizer, F.binary_cross_entropy_with_logits(found, wanted))
    with torch.no_grad():
        errors = [(network.find(part).sigmoid() - mask).abs() for part, mask in zip(
            sketches[held_out].split(BATCH), masks[held_out].split(BATCH), strict=True)]  # fmt: skip
    return network, float(torch.cat(errors).mean())
