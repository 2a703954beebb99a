"""Detects the vessel that a dish is served in, and the square crop that it just fills.

A small generator trained on plates of any size and position makes smears of them; trained on crops in which the vessel
(a plate, bowl, box or board) is centred and touches the frame, it makes whole plates. If the vessel extends far beyond
the frame and the dish is whole (a slice of cake, a burger), the dish is used instead.

`python -m model.align fit` fitted the head that ships, `vessels.safetensors`, to boxes drawn by eye.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from model import checkpoint
from model.data.crops import Crop
from model.features.backbone import TRAINING, Backbone

RESOLUTION = 160  # pixels a side that a photograph is looked at with
GRID = RESOLUTION // 8  # cells a side
KINDS = ("vessel", "dish")
WEIGHTS = Path(__file__).with_name("vessels.safetensors")
BATCH = 8
DROPOUT = 0.1  # of whole channels of the backbone's maps

# Least scores. Of 864 held-out photographs 64 are cut by the vessel, one of them wrongly by eye, and 11 by the dish.
SURE = {"vessel": 0.68, "dish": 0.565}
# Of the side, that a box may leave the frame by at most; there it is filled by reflection.
BEYOND = {"vessel": 0.08, "dish": 0.0}
TRIMMED = 0.04  # of a crop's half side, which is given up rather than filled by reflection
SMALLEST = 0.36  # half side: less would be enlarged too much
# Names of dishes that have a shape of their own, without a vessel around them. Of soup, the vessel is the shape.
_SHAPED = re.compile(
    r"""\b(\w*cakes?|pies?|tarts?|quiches?|\w*burgers?|sandwich(es)?|toast|waffles?|tacos?|burritos?|quesadillas?|hot\W?dogs?
    |muffins?|cookies?|brownies?|dou?g?h?nuts?|macarons?|cannoli|baklava|churros?|beignets?|sushi|nigiri|sashimi|gyoza
    |dumplings?|samosas?|falafel|bruschetta|pizzas?|omelett?e?s?|lasagn[ae]|tiramisu|panna\ cotta|eggs\ benedict|croque
    |deviled\ eggs|strudels?|turnovers?|croissants?|eclairs?|tartare|steak|filet|salmon)\b
    |ケーキ|(?<!ス)パイ|タルト|キッシュ|バーガー|サンド|トースト|ワッフル|タコス|ブリトー|ホットドッグ|マフィン|クッキー|ブラウニー|ドーナツ|マカロン
    |寿司|鮨|すし|にぎり|刺身|餃子|ピザ|オムレツ|ラザニア|ティラミス|クロワッサン|エクレア|ステーキ""",
    re.IGNORECASE | re.VERBOSE,
)
_SHAPELESS = re.compile(
    r"\b(soup|stew|chili|salad|curry|pot pie|cottage pie|shepherd)|スープ|シチュー|サラダ|カレー|丼", re.IGNORECASE
)


def has_a_shape(name: str) -> bool:
    """Returns whether a dish with that name, English or Japanese, has a shape of its own: a slice of cake has, a soup
    has not."""
    return bool(_SHAPED.search(name)) and not _SHAPELESS.search(name)


class VesselHead(nn.Module):
    """Predicts boxes of the vessel and of the dish from frozen feature maps of strides 8, 16 and 32.

    Every cell predicts the four edges, as in FCOS (Tian et al. 2019), with a weight for each; an edge is the weighted
    mean.
    """

    cells: Tensor

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        _, fine, middle, coarse = TRAINING.channels
        self.dropout = nn.Dropout2d(DROPOUT)
        self.fine = nn.Conv2d(fine, 24, 1)
        self.middle = nn.Conv2d(middle, 48, 1)
        self.coarse = nn.Conv2d(coarse, 48, 1)
        self.mix = nn.Conv2d(24 + 48 + 48 + 2, width, 1)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in (1, 2, 4))
        self.out = nn.Conv2d(width, len(KINDS) * 9, 1)  # of each: the mask, four edges, four weights
        centres = (torch.arange(GRID) + 0.5) / GRID
        across, down = centres.expand(GRID, GRID), centres[:, None].expand(GRID, GRID)
        self.register_buffer("cells", torch.stack([across, down]), persistent=False)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Predicts masks and boxes of both.

        Args:
            maps: of B pictures, the last three that `Backbone(resolution=RESOLUTION)` returns.

        Returns:
            Logits of the masks (B, 2, GRID, GRID); boxes (B, 2, 4), left, top, right and bottom in fractions of the
            side, below 0 or above 1 if the vessel extends beyond the frame; and the standard deviation of the cells'
            predictions for each edge (B, 2, 4). Dimension 1 is that of KINDS.
        """
        scaled = zip(maps, TRAINING.deviations[1:], strict=True)
        fine, middle, coarse = (self.dropout(m / deviation) for m, deviation in scaled)
        x = torch.cat([self.fine(fine), _enlarged(self.middle(middle)), _enlarged(self.coarse(coarse))], 1).relu()
        x = self.mix(torch.cat([x, self.cells.expand(len(x), -1, -1, -1)], 1)).relu()
        for layer in self.layers:
            x = x + layer(x).relu()
        x = self.out(x).unflatten(1, (len(KINDS), 9))
        edges = (x[:, :, 1:5] + torch.cat([self.cells, self.cells])).flatten(3)
        weights = x[:, :, 5:].flatten(3).softmax(-1)
        boxes = (edges * weights).sum(-1)
        deviations = ((edges - boxes[..., None]).square() * weights).sum(-1).sqrt()
        return x[:, :, 0], boxes, deviations


def _enlarged(maps: Tensor) -> Tensor:
    return F.interpolate(maps, (GRID, GRID), mode="bilinear")


def regions(boxes: Tensor, round_: bool) -> Tensor:
    """(..., 4) boxes → (..., GRID, GRID): the share of each cell that is inside the ellipse, or the rectangle, that
    fills the box."""
    fine = 4 * GRID
    centres = (torch.arange(fine, device=boxes.device) + 0.5) / fine
    left, top, right, bottom = boxes[..., None].unbind(-2)
    across = ((2 * centres - left - right) / (right - left).clamp(min=1e-3))[..., None, :]
    down = ((2 * centres - top - bottom) / (bottom - top).clamp(min=1e-3))[..., :, None]
    inside = across.square() + down.square() < 1 if round_ else (across.abs() < 1) & (down.abs() < 1)
    return F.avg_pool2d(inside.float().reshape(-1, 1, fine, fine), 4).reshape(*boxes.shape[:-1], GRID, GRID)


@dataclass(frozen=True)
class Found:
    """A detection in a photograph, in fractions of its side.

    kind: one of KINDS.
    score: how well the mask fits an ellipse or a rectangle that fills the box, at most 1, minus the disagreement
        between the photograph and its mirror image, and among the cells.
    """

    kind: str
    left: float
    top: float
    right: float
    bottom: float
    score: float

    def crop(self) -> Crop | None:
        """The square that it just fills; None if the detection is not confident enough, too small, or too far beyond
        the frame."""
        half = max(self.right - self.left, self.bottom - self.top) / 2
        beyond = max(-self.left, -self.top, self.right - 1, self.bottom - 1)
        if self.score < SURE[self.kind] or beyond > BEYOND[self.kind] or half < SMALLEST:
            return None
        half *= 1 - min(TRIMMED, max(0.0, beyond / half - 0.01))
        return Crop((self.left + self.right) / 2, (self.top + self.bottom) / 2, half)


class VesselFinder:
    """Detects vessels and dishes in photographs.

    Raises:
        CheckpointError: the head's weights cannot be read.
        ModuleNotFoundError: the `train` extra is not installed.
    """

    def __init__(self, weights: Path = WEIGHTS) -> None:
        self.head = VesselHead().eval()
        checkpoint.load_weights(weights.parent, weights.stem, self.head)
        self.backbone = Backbone(resolution=RESOLUTION)

    def crops(self, photographs: Sequence[NDArray[np.uint8]], names: Sequence[str]) -> list[Crop | None]:
        """The crop of each photograph: the vessel's, or else the dish's; None if neither is confident.

        Args:
            photographs: (S, S, 3) uint8, of any S.
            names: of the dishes; only a dish with a shape of its own can be used instead of the vessel.
        """
        crops: list[Crop | None] = []
        for (vessel, dish), name in zip(self.look(photographs), names, strict=True):
            crops.append(vessel.crop() or (dish.crop() if has_a_shape(name) else None))
        return crops

    @torch.inference_mode()
    def look(self, photographs: Sequence[NDArray[np.uint8]]) -> list[tuple[Found, Found]]:
        """The vessel and the dish detected in each photograph, whatever their score."""
        parts = (photographs[start : start + BATCH] for start in range(0, len(photographs), BATCH))
        return [found for part in parts for found in self._look(part)]

    @torch.inference_mode()
    def masks(self, photographs: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(N, GRID, GRID) in [0, 1]: how much of each cell is vessel or dish, of at least one photograph."""
        parts = (photographs[start : start + BATCH] for start in range(0, len(photographs), BATCH))
        return torch.cat([self._predict(part)[0].amax(1) for part in parts])

    def _predict(self, photographs: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, Tensor, Tensor]:
        """Masks (B, 2, GRID, GRID), averaged over a photograph and its mirror image; boxes and deviations (2, B, 2, 4)
        of each."""
        images = torch.cat([_prepared(photograph) for photograph in photographs])
        both = torch.cat([images, images.flip(-1)])
        masks, boxes, deviations = (tensor.unflatten(0, (2, -1)) for tensor in self.head(self.backbone(both)[1:]))
        return (masks[0] + masks[1].flip(-1)).div(2).sigmoid(), boxes, deviations

    def _look(self, photographs: Sequence[NDArray[np.uint8]]) -> list[tuple[Found, Found]]:
        mask, boxes, deviations = self._predict(photographs)
        left, top, right, bottom = boxes[1].unbind(-1)
        straight, mirrored = boxes[0], torch.stack([1 - right, top, 1 - left, bottom], -1)
        box = (straight + mirrored) / 2
        fit = torch.maximum(_overlap(mask, regions(box, True)), _overlap(mask, regions(box, False)))
        disagreement = (straight - mirrored).abs().amax(-1) + deviations.mean((0, -1))
        numbers = torch.cat([box, (fit - 2 * disagreement)[..., None]], -1).tolist()  # of each, its edges and its score
        return [(Found(KINDS[0], *vessel), Found(KINDS[1], *dish)) for vessel, dish in numbers]


def _prepared(photograph: NDArray[np.uint8]) -> Tensor:
    """(S, S, 3) uint8 → (1, 3, RESOLUTION, RESOLUTION) in [-1, 1]."""
    image = torch.from_numpy(np.array(photograph)).permute(2, 0, 1)[None].float() / 127.5 - 1
    side = (RESOLUTION, RESOLUTION)
    return F.interpolate(image, side, mode="bilinear", antialias=image.shape[-1] > RESOLUTION)


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of soft masks (..., H, W)."""
    return torch.minimum(a, b).sum((-2, -1)) / torch.maximum(a, b).sum((-2, -1)).clamp(min=1e-6)
