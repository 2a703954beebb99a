"""Aligns the photographs of an adaptation: crops each so that its vessel, or its dish, just fills the frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.adaptation.validation import spread
from model.data.crops import cut
from model.data.inspection import NAMED
from model.data.photos import Photos
from model.features.vessels import BATCH, VesselFinder

SHOWN = 24  # photographs before and after in the report


@dataclass(frozen=True)
class Alignment:
    """The outcome of alignment. The default is for photographs that are not aligned.

    left: labels of those where neither a vessel nor a dish is whole and found with confidence, which stay central
        squares.
    rows: some of the others.
    before: (len(rows), 256, 256, 3) uint8, the same as central squares.
    """

    left: list[str] | None = None
    rows: list[int] = field(default_factory=list)
    before: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 1, 1, 3), np.uint8))

    def lines(self, photographs: int) -> list[str]:
        """The lines about it in the report, given the number of photographs."""
        if self.left is None:
            return ["not aligned: the central square of every photograph is used"]
        aligned = photographs - len(self.left)
        lines = [f"{aligned} aligned: cut so that the plate or bowl, or else the dish, fills the frame"]
        if self.left:
            rest = f" and {len(self.left) - NAMED} more" if len(self.left) > NAMED else ""
            named = ", ".join(self.left[:NAMED])
            lines.append(f"{len(self.left)} left as they were, with neither whole and sure: {named}{rest}")
        return lines


def align(photos: Photos, labels: Sequence[str]) -> tuple[Photos, Alignment]:
    """Aligns photographs; returns them and the outcome.

    Args:
        photos: (N, 256, 256, 3).
        labels: identify each in messages.

    Raises:
        CheckpointError, ModuleNotFoundError: like `VesselFinder`.
    """
    finder = VesselFinder()
    images, left, rows = photos.images.copy(), [], []
    for start in tqdm(range(0, len(photos), BATCH), "aligning", unit=" batches", disable=None):
        part = slice(start, start + BATCH)
        for row, crop in enumerate(finder.crops([*photos.images[part]], photos.names[part]), start):
            if crop is None:
                left.append(labels[row])
            else:
                images[row] = cut(photos.images[row], crop, images.shape[1])
                rows.append(row)
    rows = spread(rows, SHOWN)
    return replace(photos, images=images), Alignment(left, rows, photos.images[rows])
