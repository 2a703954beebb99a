"""Is a checkpoint getting nearer to the photographs that it was not shown, and does it copy those that it was?

The figures are the evaluator's (`model.evaluation.metrics`, EfficientNet-Lite2), on few pictures: fit to compare checks
of one run with each other, and no more.
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
    """kid: distance of pictures for held-back names from their photographs. copies: share of pictures for the names
    of shown photographs that come nearer to one of these than all but one in a hundred held-back photographs do."""

    kid: Measure
    copies: Measure


class HeldOutValidator:
    """Looks at pictures of one size.

    Args:
        size: SKETCH_SIZE or PICTURE_SIZE.
        shown, held: the photographs that are trained on, and those held back, at that size.
        pictures: of either kind in a check, names being repeated where there are fewer.
        at_most: of either kind in a check where `pictures` does not say; otherwise as `PICTURES` has it.
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
        """For each of (N, 1280) the distance to the nearest photograph that was shown, and its row."""
        return metrics.nearest(features, self.shown)

    def copies(self, features: Tensor) -> Tensor:
        """(N, 1280) → (N,) bool: which are copies."""
        return self.nearest(features)[0] < self.threshold

    def check(self, sample: Sampler) -> Check:
        """`sample` makes pictures of names with seeds; the same ones every time."""
        held_names = self.look(sample(self.held_names, range(len(self.held_names))))
        known = self.look(sample(self.known, range(len(self.known))))
        return Check(metrics.kid(self.held, held_names)[0], metrics.share(self.copies(known)))


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of the items, evenly spread over them."""
    count = min(count, len(items))
    return [items[k * len(items) // count] for k in range(count)]
