"""Fits the head of `model.features.vessels` to boxes drawn by eye, and evaluates it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.ops import box_iou
from tqdm import tqdm

from model.data.crops import DECODED, Crop, cut, photograph_label
from model.data.decoding import decode
from model.data.layouts import DataError, listing
from model.data.tables import read_table
from model.features.backbone import Backbone
from model.features.vessels import KINDS, RESOLUTION, VesselHead, regions

EDGES = ("left", "top", "right", "bottom")
COLUMNS = ("file", "row", *EDGES, "shape")
VIEWS = 14  # of each photograph: itself, itself at 64 px, and random crops
LOW = 64  # pixels: photographs may be as small
LOWS = (48, LOW, LOW, LOW, 96)  # pixels that half of the crops are reduced to
BATCH = 32
RATE = 3e-3
DISHES = 0.4  # of a batch
STEPS = 900

Edges = tuple[float, float, float, float]


@dataclass(frozen=True)
class Label:
    """A box drawn by eye, in fractions of the side, and the confidence in the mask inside it, 0 to 1."""

    edges: Edges
    kind: int
    rectangle: bool
    mask: float


def read_labels(files: Iterable[Path]) -> dict[str, list[Label]]:
    """Reads labels, keyed by a photograph's label in a listing.

    Args:
        files: tab-separated UTF-8 tables with the columns file, row, left, top, right, bottom, shape (round, rect, or
            another, for which the mask is not known) and optionally kind (vessel, the default, or dish).

    Raises:
        DataError: names the file, and the line if there is one.
    """
    labels: dict[str, list[Label]] = {}
    for file in files:
        for place, record in read_table(file, COLUMNS, "labels"):
            labels.setdefault(photograph_label(record), []).append(_label(record, place))
    return labels


def _label(record: Mapping[str, str], place: str) -> Label:
    kind, shape = record.get("kind", KINDS[0]), record["shape"]
    try:
        left, top, right, bottom = (float(record[edge]) for edge in EDGES)
    except (TypeError, ValueError):
        left = right = top = bottom = 0.0
    if not (left < right and top < bottom):
        raise DataError(f"{place}: left and top have to be numbers below right and bottom")
    if kind not in KINDS:
        raise DataError(f"{place}: kind is {kind!r}, not {' or '.join(KINDS)}")
    # A dish of no plain shape is half-way between an ellipse and a rectangle.
    mask = 1.0 if shape in ("round", "rect") else 0.3 if kind == "dish" else 0.0
    return Label((left, top, right, bottom), KINDS.index(kind), shape == "rect", mask)


@dataclass(frozen=True)
class Views:
    """Crops of labelled photographs, N in all, each with one label.

    maps: the backbone's feature maps, float16.
    boxes: (N, 4), relative to the crop.
    kinds: (N,), which of KINDS.
    targets: (N, GRID, GRID), masks, and masked: (N,), the confidence in them.
    photographs: (N,), the photograph that each is from.
    views: (N,), 0 for the original photograph and 1 for the same at LOW pixels, flipped.
    """

    maps: list[Tensor]
    boxes: Tensor
    kinds: Tensor
    targets: Tensor
    masked: Tensor
    photographs: Tensor
    views: Tensor


@torch.inference_mode()
def look_at(data: Path, labels: Mapping[str, Sequence[Label]], seed: int = 0, views: int = VIEWS) -> Views:
    """Makes views of every labelled photograph in `data`. Raises DataError if there are none, or one cannot be read."""
    rng = np.random.default_rng(seed)
    backbone = Backbone(resolution=RESOLUTION)
    maps: list[list[Tensor]] = []
    boxes: list[Edges] = []
    chosen: list[Label] = []
    photographs: list[int] = []
    found = listing(data)
    pairs = ((row, photo) for row, photo in zip(found.rows, found.photos(), strict=True) if row.label in labels)
    for number, (row, photo) in enumerate(tqdm(pairs, "labelled photographs", len(labels), disable=None)):
        try:
            picture = decode(photo, DECODED).image
        except Exception as error:  # Pillow meets a damaged file with nearly any
            raise DataError(f"{data}: {row.label}: {error}") from error
        for label in labels[row.label]:
            images, edges = zip(*_views(picture, label.edges, views, rng), strict=True)
            batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
            maps.append([m.half() for m in backbone(batch)[1:]])
            boxes += edges
            chosen += [label] * views
            photographs += [number] * views
    if not boxes:
        raise DataError(f"{data}: none of the {len(labels)} labelled photographs is there")
    table = torch.tensor(boxes, dtype=torch.float32)
    rectangles = torch.tensor([label.rectangle for label in chosen])[:, None, None]
    return Views(
        [torch.cat(parts) for parts in zip(*maps, strict=True)],
        table,
        torch.tensor([label.kind for label in chosen]),
        torch.where(rectangles, regions(table, False), regions(table, True)),
        torch.tensor([label.mask for label in chosen]),
        torch.tensor(photographs),
        torch.arange(len(boxes)) % views,
    )


def _views(
    picture: NDArray[np.uint8], edges: Edges, count: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.uint8], Edges]]:
    """Random crops (RESOLUTION, RESOLUTION, 3), with the edges in each."""
    whole = Crop(0.5, 0.5, 0.5)
    yield _seen(picture, edges, whole, RESOLUTION, False)
    yield _seen(picture, edges, whole, LOW, True)
    for _ in range(count - 2):
        side = float(np.exp(rng.uniform(np.log(0.6), np.log(1.25))))
        x, y = 0.5 + rng.uniform(-1, 1, 2) * (0.12 + 0.5 * max(0, 1 - side))
        low = RESOLUTION if rng.random() < 0.5 else int(rng.choice(LOWS))
        image, moved = _seen(picture, edges, Crop(x, y, side / 2), low, rng.random() < 0.5)
        light = (image.astype(np.float32) - 128) * np.exp(rng.normal(0, 0.12)) + 128 + rng.normal(0, 12)
        yield (light * np.exp(rng.normal(0, 0.04, 3))).clip(0, 255).astype(np.uint8), moved


def _seen(
    picture: NDArray[np.uint8], edges: Edges, crop: Crop, low: int, mirrored: bool
) -> tuple[NDArray[np.uint8], Edges]:
    """A crop, downsampled to `low` pixels and resized to RESOLUTION, with the edges in it."""
    image = Image.fromarray(cut(picture, crop, low)).resize((RESOLUTION, RESOLUTION), Image.Resampling.BILINEAR)
    left, right = ((x - crop.x) / (2 * crop.half) + 0.5 for x in edges[::2])
    top, bottom = ((y - crop.y) / (2 * crop.half) + 0.5 for y in edges[1::2])
    if mirrored:
        return np.asarray(image)[:, ::-1], (1 - right, top, 1 - left, bottom)
    return np.asarray(image), (left, top, right, bottom)


def fit(views: Views, shown: Tensor, steps: int = STEPS, seed: int = 0) -> VesselHead:
    """Fits a head to the boxes and masks of the views in `shown`, (N,) bool."""
    torch.manual_seed(seed)
    head = VesselHead()
    optimizer = torch.optim.AdamW(head.parameters(), RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    counts = torch.bincount(views.kinds[shown], minlength=len(KINDS)).clamp(min=1)
    weights = (torch.tensor([1 - DISHES, DISHES]) / counts)[views.kinds] * shown
    each = torch.arange(BATCH)
    for _ in tqdm(range(steps), "fitting", disable=None):
        rows = torch.multinomial(weights, BATCH, replacement=True)
        outputs = head([m[rows].float() for m in views.maps])
        masks, boxes, deviations = (output[each, views.kinds[rows]] for output in outputs)
        mask = F.binary_cross_entropy_with_logits(masks, views.targets[rows], reduction="none").mean((1, 2))
        loss = 10 * F.smooth_l1_loss(boxes, views.boxes[rows], beta=0.02) + deviations.mean() / 2
        loss = loss + (mask * views.masked[rows]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return head.eval()


def cross_validate(views: Views, folds: int, steps: int = STEPS, seed: int = 0) -> Tensor:
    """(N, 4): cross-validated boxes, predicted by heads that were not trained on the photograph, for the views that are
    not random crops.

    Args:
        folds: number of parts of the photographs, each of which is held out once.
    """
    number = int(views.photographs.max()) + 1
    drawn = torch.randperm(number, generator=torch.Generator().manual_seed(seed))
    boxes = torch.full_like(views.boxes, torch.nan)
    for fold in range(folds):
        held = torch.isin(views.photographs, drawn[fold::folds])
        head = fit(views, ~held, steps, seed)
        for rows in (held & (views.views < 2)).nonzero()[:, 0].split(BATCH):
            with torch.inference_mode():
                outputs = head([m[rows].float() for m in views.maps])[1]
            boxes[rows] = outputs[torch.arange(len(rows)), views.kinds[rows]]
    return boxes


@dataclass(frozen=True)
class BoxError:
    """The error over n boxes: the median of the mean edge distance, in fractions of the side, and the median and mean
    intersection over union."""

    n: int
    error: float
    median_iou: float
    mean_iou: float


def box_error(boxes: Tensor, truth: Tensor) -> BoxError:
    """The error of boxes (N, 4) against those drawn by eye."""
    iou = box_iou(boxes, truth).diagonal()
    error = (boxes - truth).abs().mean(1).median()
    return BoxError(len(boxes), error.item(), iou.median().item(), iou.mean().item())
