"""A morph as an animated picture: there and back, in a loop."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from app.request_parsing import MAX_PICTURES
from model import png, webp
from model.dishes import Dish

FRAMES = MAX_PICTURES  # what one order may hold
STEP_MS, END_MS = 150, 700  # 3.2 seconds in all


def compose(dish: Dish, version: str, pngs: Sequence[bytes]) -> bytes:
    """Makes an animated WebP file from the steps of `dish`'s morph, by the model of this version."""
    there = [_pixels(data) for data in pngs]
    frames = there + there[-2:0:-1]
    milliseconds = [END_MS if k in (0, len(there) - 1) else STEP_MS for k in range(len(frames))]
    metadata = png.describe(dish.name, dish.seed, version) | {"Recipe": dish.query(size=False)}
    return webp.animate(frames, milliseconds, metadata)


def _pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        return np.asarray(image.convert("RGB"))
