"""Differentiable augmentation (Zhao et al. 2020), of what the discriminator sees, never of the generator's output.

Parameters are drawn separately from being applied, so that a photograph and its reconstruction can go through the same
augmentation and be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

OUTSIDE = 2.0  # where a hole touches no picture
# What `bend` bends by: nodes a side, and the largest standard deviation of a node's shift, in half sides. The first two
# bend rims, the last one draws pieces of food into each other.
BENDS = ((4, 0.09), (6, 0.09), (14, 0.05))


@dataclass(frozen=True)
class Augmentation:
    """Parameters for one batch: colour, translation and cutout at the paper's strengths, for a share of its pictures.

    `brightness`, `saturation`, `contrast`: (B, 1, 1, 1). `shift`: (B, 2) in fractions of the side. `hole`: (B, 2), the
    cutout's centre in fractions of the side; the cutout is half a side wide.
    """

    brightness: Tensor
    saturation: Tensor
    contrast: Tensor
    shift: Tensor
    hole: Tensor

    @classmethod
    def draw(cls, batch: int, device: torch.device | str = "cpu", share: float = 1.0) -> Augmentation:
        """Draws parameters for `batch` pictures from torch's global generator.

        Args:
            share: probability that a picture is augmented at all. Up to 0.8, augmentations cannot leak into the
                generated pictures, however strong they are (ADA, Karras et al. 2020, section 2.2); a share of 1 is for
                sets so small that the discriminator would memorize them.
        """
        chosen = torch.rand(batch, device=device) < share

        def uniform(low: float, high: float, *shape: int, still: float = 0.0) -> Tensor:
            drawn = torch.empty(batch, *shape, device=device).uniform_(low, high)
            return drawn.masked_fill(~chosen.view(batch, *[1] * len(shape)), still)

        return cls(
            brightness=uniform(-0.5, 0.5, 1, 1, 1),
            saturation=uniform(0.0, 2.0, 1, 1, 1, still=1.0),
            contrast=uniform(0.5, 1.5, 1, 1, 1, still=1.0),
            shift=uniform(-0.125, 0.125, 2),
            hole=uniform(0.0, 1.0, 2, still=OUTSIDE),
        )

    def apply(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> the same shape; differentiable in `images`. Padding is grey (0)."""
        return self._move(self.colour(images))

    def colour(self, images: Tensor) -> Tensor:
        """Like `apply`, but without translation and cutout."""
        x = images + self.brightness
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * self.saturation
        middle = x.mean((1, 2, 3), keepdim=True)
        return middle + (x - middle) * self.contrast

    def _move(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows, row_ok = self._source(self.shift[:, 0], height)
        cols, col_ok = self._source(self.shift[:, 1], width)
        keep = (row_ok[:, :, None] & col_ok[:, None, :]) & ~(
            self._inside(self.hole[:, 0], height)[:, :, None] & self._inside(self.hole[:, 1], width)[:, None, :]
        )
        return _take(x, rows, cols) * keep[:, None].to(x.dtype)

    @staticmethod
    def _source(shift: Tensor, side: int) -> tuple[Tensor, Tensor]:
        position = torch.arange(side, device=shift.device)[None] + (shift[:, None] * side).round().long()
        return position.clamp(0, side - 1), (position >= 0) & (position < side)

    @staticmethod
    def _inside(centre: Tensor, side: int) -> Tensor:
        position = torch.arange(side, device=centre.device)[None] + 0.5
        return (position - centre[:, None] * side).abs() < side / 4


def bend(images: Tensor) -> Tensor:
    """Bends pictures as generators do: rims wobble, and pieces are drawn into each other.

    Each picture is bent at one of the scales in `BENDS`, by random shifts of its nodes and what is between them.

    Args:
        images: (B, 3, H, H) in [-1, 1].
    """
    batch, size, device = len(images), images.shape[-2:], images.device
    fields = [
        F.interpolate(deviation * torch.randn(batch, 2, nodes, nodes, device=device), size, mode="bicubic")
        for nodes, deviation in BENDS
    ]
    which = torch.randint(len(BENDS), (1, batch, 1, 1, 1), device=device)
    shifts = torch.stack(fields).gather(0, which.expand(-1, -1, 2, *size))[0]
    shifts = shifts * torch.empty(batch, 1, 1, 1, device=device).uniform_(0.4, 1.0)
    still = F.affine_grid(torch.eye(2, 3, device=device).expand(batch, -1, -1), [batch, 3, *size], align_corners=False)
    bent = F.grid_sample(
        images, still + shifts.permute(0, 2, 3, 1), mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return bent.clamp(-1.0, 1.0)


def flip(images: Tensor) -> Tensor:
    """Flips each picture horizontally with probability one half, (B, 3, H, W)."""
    chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(chosen, images.flip(3), images)


def crop(images: Tensor, side: int, corners: Tensor) -> Tensor:
    """Crops windows of `side` pixels at `corners` (B, 2, fractions of the free range) from (B, 3, H, W)."""
    window = torch.arange(side, device=corners.device)
    rows, cols = (
        (corners[:, axis] * (room + 1)).long().clamp(max=room)[:, None] + window
        for axis, room in enumerate((images.shape[2] - side, images.shape[3] - side))
    )
    return _take(images, rows, cols)


def zoom(images: Tensor, side: int, span: Tensor, corners: Tensor) -> Tensor:
    """Crops squares of any position and size, resampled bilinearly to `side` pixels; differentiable in `images`.

    A frozen network downsamples at fixed pixels, and a generator can hide a grid aligned with them. It cannot if every
    picture is positioned differently.

    Args:
        images: (B, 3, H, H).
        span: (B,), side of the square as a fraction of H. Aliases if well over `side / H`.
        corners: (B, 2), the square's position as a fraction of the free range.
    """
    centre = (2 * corners - 1) * (1 - span)[:, None]
    theta = torch.zeros(len(images), 2, 3, device=images.device)
    theta[:, 0, 0] = theta[:, 1, 1] = span
    theta[:, 0, 2], theta[:, 1, 2] = centre[:, 0], centre[:, 1]
    grid = F.affine_grid(theta, [len(images), 3, side, side], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _take(images: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Gathers pixels of picture i of (B, 3, H, W) at `rows[i]` and `cols[i]`, indices (B, h) and (B, w): (B, 3, h, w).

    Slicing instead would make a GPU wait for the indices, and launch a kernel per picture.
    """
    channels, width = images.shape[1], images.shape[3]
    strip = images.gather(2, rows[:, None, :, None].expand(-1, channels, -1, width))
    return strip.gather(3, cols[:, None, None, :].expand(-1, channels, rows.shape[1], -1))
