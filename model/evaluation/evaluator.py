"""The evaluator: EfficientNet-Lite2 features, and a head that matches them to names.

It is independent of the training of what it evaluates. The discriminator, the text encoder's contrastive loss and the
generator's text-match loss use Lite0. Here names are read as bags of character n-grams through a linear map, trained
together with the head on training photographs. Neither a checkpoint's own text encoder nor that encoder's teacher is
used, since they would agree with their own mistakes. Nothing is lost by this: at 64 px the evaluator finds the name of
19% of the free-form validation photographs among 100, and of 59% of the class ones, where the teacher's whitened
vectors find 15% and 35%.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.checkpoint import CheckpointError, load_weights, save_weights, weights_path
from model.data.name_pairs import key
from model.data.photos import Photos
from model.features.backbone import EVALUATION, Backbone
from model.features.matching import MatchingHead, fit, image_features
from model.generators import PICTURE_SIZE, SKETCH_SIZE
from model.languages import LANGUAGES

NETWORK = "EfficientNet-Lite2"
RESOLUTIONS = {SKETCH_SIZE: 128, PICTURE_SIZE: 224}  # what pictures of a size are resized to for the network
EMBEDDING = 256
BAG = 4096  # buckets that runs of letters are hashed into
STEPS = 1000
FORMAT = 2  # part of the key of a cached head: raise it when the same data would make another


def bag(names: Sequence[str]) -> Tensor:
    """Names → (N, BAG) float32 of unit norm: the square roots of the counts of character n-grams.

    n is 3 to 5, with word boundaries counting as characters; for names that are not ASCII, such as Japanese ones, also
    1 and 2.
    """
    out = torch.zeros(len(names), BAG)
    for i, name in enumerate(names):
        text = f" {key(name)} "
        shortest = 3 if text.isascii() else 1
        runs = [text[j : j + n] for n in range(shortest, 6) for j in range(len(text) - n + 1)]
        buckets = torch.tensor([zlib.crc32(run.encode()) % BAG for run in runs], dtype=torch.int64)
        out[i].index_add_(0, buckets, torch.ones(len(runs)))
    return F.normalize(out.sqrt(), dim=1)


class _Rows(nn.Linear):
    """A linear map of bags, given by their row numbers in a table, so that tens of thousands of bags are stored only
    once."""

    def __init__(self, table: Tensor) -> None:
        super().__init__(BAG, EMBEDDING)
        self.table = table

    def forward(self, rows: Tensor) -> Tensor:
        """(B, 1) row numbers → (B, E)."""
        return super().forward(self.table[rows[:, 0].long()].float())


@dataclass(frozen=True)
class Evaluator:
    """Evaluates pictures of one size; see `fit_evaluator`."""

    size: int
    backbone: Backbone
    head: MatchingHead
    reader: nn.Linear
    train: Tensor
    """(N, F) float16 features of the training photographs."""

    def features(self, images: np.ndarray) -> Tensor:
        """(N, H, W, 3) uint8 → (N, F) float32: the head's input."""
        return self.cached(Photos.unnamed(images), None)

    def cached(self, photos: Photos, cache: Path | None) -> Tensor:
        """`features` of photographs, from the cache folder if they are in it."""
        return torch.from_numpy(image_features(photos, self.backbone, cache)).float()

    def deep(self, features: Tensor) -> Tensor:
        """(N, F) → (N, 1280): the network's last layer, on which distances are measured."""
        return features[:, sum(self.backbone.spec.channels) :]

    @torch.inference_mode()
    def see(self, features: Tensor) -> Tensor:
        """(N, F) features → (N, E) of unit norm."""
        return self.head(features)

    @torch.inference_mode()
    def read(self, names: Sequence[str]) -> Tensor:
        """Names in any language → (N, E) of unit norm."""
        return F.normalize(self.reader(bag(names)), dim=1)


def fit_evaluator(
    size: int, photos: Photos, cache: Path, steps: int = STEPS, device: torch.device | str = "cpu"
) -> Evaluator:
    """Fits the evaluator for pictures of a size, features and a head, on these training photographs.

    Args:
        size: SKETCH_SIZE or PICTURE_SIZE.
        photos: the training split at that size.
        cache: folder for features and head, which later calls read.
        steps: training steps of the head.
        device: where features are computed; everything else runs on the CPU.

    Raises:
        ModuleNotFoundError: a package of the `train` extra is not installed.
    """
    backbone = Backbone(EVALUATION, resolution=RESOLUTIONS[size]).to(device)
    features = image_features(photos, backbone, cache)
    head = MatchingHead(features=backbone.features, embedding_dim=EMBEDDING).eval()
    reader = nn.Linear(BAG, EMBEDDING)
    folder = cache / f"evaluator-{_key(photos, features, steps)}"
    if not weights_path(folder, "reader").exists():  # written last
        _learn(photos, torch.from_numpy(features), steps, head, reader)
        save_weights(folder, "head", head)
        save_weights(folder, "reader", reader)
    # Read back even when just written, so that the first run evaluates with the same rounded weights as the next.
    try:
        load_weights(folder, "head", head)
        load_weights(folder, "reader", reader)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; delete {folder} and it is made again") from error
    return Evaluator(size, backbone, head, reader, torch.from_numpy(features))


def _learn(photos: Photos, features: Tensor, steps: int, head: MatchingHead, reader: nn.Linear) -> None:
    """Fits head and reader to the photographs and their names, alternating between languages."""
    names = list(dict.fromkeys(photos.all_names()))
    row = {name: float(i) for i, name in enumerate(names)}
    columns = ([row[name] if name else torch.nan for name in photos.names_in(language)] for language in LANGUAGES)
    rows = torch.tensor([*columns]).T
    table = torch.cat([bag(names[i : i + 1024]).half() for i in range(0, len(names), 1024)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        linear = _Rows(table)
    fitted = fit(features, rows[..., None], photos.names, steps, text_head=linear)
    head.load_state_dict(fitted.state_dict())
    reader.load_state_dict(linear.state_dict())


def _key(photos: Photos, features: np.ndarray, steps: int) -> str:
    digest = hashlib.sha256(f"{FORMAT} {steps} {BAG} {EMBEDDING} {features.shape}".encode())
    digest.update(photos.name_table().encode())
    digest.update(np.ascontiguousarray(features[:: max(1, len(features) // 512)]).tobytes())
    return digest.hexdigest()[:16]
