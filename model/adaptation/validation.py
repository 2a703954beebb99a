"""Validates a checkpoint: its distance to held-out photographs, and its copy rate of training photographs.

The metrics are the evaluator's (`model.evaluation.metrics`, EfficientNet-Lite2), on few pictures: only good for
comparing checks of one run with each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.photos import Photos
from model.evaluation import metrics
from model.evaluation.evaluator import RESOLUTIONS
from model.evaluation.metrics import Measure
from model.features.backbone import EVALUATION, Backbone
from model.features.matching import image_features
from model.generators import PICTURE_SIZE, SKETCH_SIZE

PICTURES = {SKETCH_SIZE: 128, PICTURE_SIZE: 64}  # of either kind at most, by their size; a check is to take seconds
Pictures = NDArray[np.uint8]  # (N, H, W, 3)
Item = TypeVar("Item")
Sampler = Callable[[Sequence[str], Sequence[int]], Pictures]


@dataclass(frozen=True)
class Check:
    """kid: distance between pictures for held-out names and their photographs. copies: share of pictures for training
    names that are nearer to a training photograph than all but one in a hundred held-out photographs."""

    kid: Measure
    copies: Measure


class HeldOutValidator:
    """Validates pictures of one size.

    Args:
        size: SKETCH_SIZE or PICTURE_SIZE.
        shown, held: the training and held-out photographs, at that size.
        pictures: number of either kind in a check; names are repeated if there are fewer.
        at_most: maximum number of either kind in a check if `pictures` is not given; otherwise as in `PICTURES`.
    """

    def __init__(
        self,
        size: int,
        shown: Photos,
        held: Photos,
        device: torch.device,
        pictures: int | None = None,
        at_most: int | None = None,
    ) -> None:
        self.backbone = Backbone(EVALUATION, RESOLUTIONS[size]).to(device)
        self.shown, self.held = self.look(shown.images), self.look(held.images)
        self.threshold = float(self.nearest(self.held)[0].quantile(0.01))
        most = pictures or at_most or PICTURES[size]
        self.held_names = list(islice(cycle(spread(held.names, most)), most))
        known = spread(list(dict.fromkeys(shown.names)), most)
        self.known = list(islice(cycle(known), most)) if pictures else known

    def look(self, pictures: Pictures) -> Tensor:
        """(N, H, W, 3) → (N, 1280): the network's last layer."""
        features = image_features(Photos.unnamed(pictures), self.backbone)
        return torch.from_numpy(features).float()[:, sum(self.backbone.spec.channels) :]

    def nearest(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """For each row of (N, 1280), the distance to the nearest training photograph, and its index."""
        return metrics.nearest(features, self.shown)

    def copies(self, features: Tensor) -> Tensor:
        """(N, 1280) → (N,) bool: which are copies."""
        return self.nearest(features)[0] < self.threshold

    def check(self, sample: Sampler) -> Check:
        """Runs a check. `sample` makes pictures of names with seeds, the same ones every time."""
        held_names = self.look(sample(self.held_names, range(len(self.held_names))))
        known = self.look(sample(self.known, range(len(self.known))))
        return Check(metrics.kid(self.held, held_names)[0], metrics.share(self.copies(known)))


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of the items, evenly spaced."""
    count = min(count, len(items))
    return [items[k * len(items) // count] for k in range(count)]
