"""Trains the network that tells a dish and its vessel from what surrounds them in a sketch.

Its teacher is the head that finds vessels in photographs, which needs the backbone and more time than a picture has.
Half of what it learns from are photographs, half the generators' own pictures, whose rims are less clear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
from model.generators import SKETCH_SIZE, Stage1Generator, Stage2Generator
from model.pipeline import to_uint8
from model.training.stage import adam, optimizer_step
from model.training.stage2 import degrade

STEPS = 4000
BATCH = 48
LEARNING_RATE = 3e-3  # at first; falls to 0 linearly
HELD_OUT = 16  # of so many examples, one is not trained on
AUGMENTED = 0.5  # share of the examples whose colours are changed


class Examples(NamedTuple):
    """Sketches (N, 3, 64, 64) in [-1, 1], and masks (N, 1, CELLS, CELLS) in [0, 1], as the finder's head makes them."""

    sketches: Tensor
    masks: Tensor

    def part(self, rows: Tensor) -> Examples:
        return Examples(self.sketches[rows], self.masks[rows])


def look(photos: Photos) -> Examples:
    """Photographs of any size as sketches, and their masks."""
    finder, sketches, masks = VesselFinder(), [], []
    for start in tqdm(range(0, len(photos), BATCH), "looking", unit=f" x {BATCH} photos", disable=None):
        images: NDArray[np.uint8] = np.array(photos.images[start : start + BATCH])
        masks.append(_find(finder, images))
        scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        sketches.append(F.interpolate(scaled, (SKETCH_SIZE, SKETCH_SIZE), mode="bilinear", antialias=True))
    return Examples(torch.cat(sketches), torch.cat(masks))


@torch.inference_mode()
def imagine(stage1: Stage1Generator, stage2: Stage2Generator, prompts: Tensor, latents: Tensor) -> Examples:
    """Sketches of prompts (N, E) and latents (N, L), and the masks of the pictures that stage 2 makes of them."""
    finder, sketches, masks = VesselFinder(), [], []
    for start in tqdm(range(0, len(prompts), BATCH), "imagining", unit=f" x {BATCH} pictures", disable=None):
        given = prompts[start : start + BATCH], latents[start : start + BATCH]
        sketches.append(stage1(*given))
        masks.append(_find(finder, to_uint8(stage2(sketches[-1], *given))))
    return Examples(torch.cat(sketches), torch.cat(masks))


def fit(
    photographs: Examples, imagined: Examples, steps: int = STEPS, seed: int = 0
) -> tuple[DepthOfField, Sequence[float]]:
    """Trains a network on what `look` and `imagine` return, of at least two each.

    Returns it with the mean absolute errors of its masks of photographs and of pictures that it was not trained on.
    """
    torch.manual_seed(seed)
    network = DepthOfField()
    optimizer = adam(network.parameters(), LEARNING_RATE, torch.device("cpu"))
    known = [examples.part(~_held_out(examples)) for examples in (photographs, imagined)]
    for step in tqdm(range(steps), "focusing", unit=" steps", disable=None):
        photo, picture = (examples.part(torch.randint(len(examples.masks), (BATCH // 2,))) for examples in known)
        sketches = torch.cat([degrade(photo.sketches), picture.sketches])
        masks = F.interpolate(torch.cat([photo.masks, picture.masks]), sketches.shape[-2:])
        both = flip(torch.cat([sketches, masks], 1))
        wanted = F.interpolate(both[:, 3:], (CELLS, CELLS), mode="area")
        found = network.find(Augmentation.draw(len(both), share=AUGMENTED).colour(both[:, :3]))
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / steps)
        optimizer_step(optimizer, F.binary_cross_entropy_with_logits(found, wanted))
    return network, [_error(network, examples.part(_held_out(examples))) for examples in (photographs, imagined)]


def _find(finder: VesselFinder, images: NDArray[np.uint8]) -> Tensor:
    return F.interpolate(finder.masks(list(images))[:, None], (CELLS, CELLS), mode="area")


def _held_out(examples: Examples) -> Tensor:
    return torch.arange(len(examples.masks)) % HELD_OUT == 0


@torch.inference_mode()
def _error(network: DepthOfField, examples: Examples) -> float:
    found = torch.cat([network.find(part) for part in examples.sketches.split(BATCH)])
    return float((found.sigmoid() - examples.masks).abs().mean())
