"""Puts what surrounds a dish out of focus, as a photographer's lens does.

Generators this small draw dishes better than the tables that they stand on, whose streaks give a picture away at once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.generators import SKETCH_SIZE, Stage2Generator

CELLS = SKETCH_SIZE // 4  # a side, of the mask
# Of the mask, below which all is blurred, and above which all is sharp. A bowl that is blurred looks worse than a table
# that is sharp.
EDGE = (0.15, 0.5)
BLUR = 2.8  # standard deviation in pixels of a sketch
REACH = 9  # the farthest pixel that counts


class DepthOfField(nn.Module):
    """Finds the dish and its vessel in a sketch, and blurs the picture around them.

    `model.training.focusing` trains it.

    Args:
        width: channels of the layers.
    """

    coordinates: Tensor
    kernel: Tensor

    def __init__(self, *, width: int = 32) -> None:
        super().__init__()
        self.config = {"width": width}
        self.read32 = nn.Conv2d(5, width, 4, stride=2, padding=1)
        self.read16 = nn.Conv2d(width, width, 4, stride=2, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in (1, 2, 4, 2, 1))
        self.out = nn.Conv2d(width, 1, 3, padding=1)
        side = (torch.arange(SKETCH_SIZE) + 0.5) * 2 / SKETCH_SIZE - 1
        self.register_buffer("coordinates", torch.stack(torch.meshgrid(side, side, indexing="ij")), persistent=False)
        weights = (torch.arange(-REACH, REACH + 1) / BLUR).square().div(-2).exp()
        self.register_buffer("kernel", (weights / weights.sum()).view(1, 1, 1, -1), persistent=False)

    def find(self, sketches: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [-1, 1] -> logits (B, 1, CELLS, CELLS) of how much of each cell is dish or vessel."""
        coordinates = self.coordinates.expand(len(sketches), -1, -1, -1)
        x = F.leaky_relu(self.read32(torch.cat([sketches, coordinates], 1)), 0.2)
        x = F.leaky_relu(self.read16(x), 0.2)
        for layer in self.layers:
            x = x + F.leaky_relu(layer(x), 0.2)
        logits: Tensor = self.out(x)
        return logits

    def forward(self, pictures: Tensor, sketches: Tensor) -> Tensor:
        """Pictures (B, 3, H, H) in [-1, 1] of sketches (B, 3, 64, 64) -> pictures with blurred surroundings.

        What is in focus does not bleed into the blur: a normalized convolution (Knutsson & Westin 1993) leaves it out.
        """
        low, high = EDGE
        mask = F.interpolate(self.find(sketches).sigmoid(), sketches.shape[-2:], mode="bilinear")
        sharp = ((mask - low) / (high - low)).clamp(0.0, 1.0)
        around = 1 - sharp
        small = F.interpolate(pictures, sketches.shape[-2:], mode="area")
        blurred = self._blur(small * around) / self._blur(around).clamp(min=1e-3)
        size = pictures.shape[-2:]
        blurred, sharp = (F.interpolate(x, size, mode="bilinear") for x in (blurred, sharp))
        return torch.lerp(blurred, pictures, sharp)

    def _blur(self, x: Tensor) -> Tensor:
        """Gaussian blur, which sees zeros beyond the borders."""
        rows = x.flatten(0, 1)[:, None]
        rows = F.conv2d(rows, self.kernel, padding=(0, REACH))
        rows = F.conv2d(rows, self.kernel.mT, padding=(REACH, 0))
        return rows.view_as(x)


class FocusedStage2(nn.Module):
    """Stage 2 and the depth of field behind it, as one network with the inputs of stage 2."""

    def __init__(self, stage2: Stage2Generator, depth_of_field: DepthOfField) -> None:
        super().__init__()
        self.stage2 = stage2
        self.depth_of_field = depth_of_field

    def forward(self, sketch: Tensor, embedding: Tensor, latent: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [-1, 1], (B, E) and (B, L) -> (B, 3, 256, 256) float32 in [-1, 1]."""
        focused: Tensor = self.depth_of_field(self.stage2(sketch, embedding, latent), sketch)
        return focused
