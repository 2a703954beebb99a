"""The evaluator's eyes: EfficientNet-Lite2 features, and a head that matches them to names.

Nothing here is known to the training of what is judged. The discriminator, the text encoder's contrastive loss and
the generator's text-match loss look through Lite0; the names are read from the teacher's public vectors
(multilingual-e5-small) through a linear map that is learned here together with the head, on training photographs.
A checkpoint's own text encoder has no say in it: it would agree with its own mistakes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import teacher
from model.backbone import Backbone
from model.checkpoint import CheckpointError, load_weights, save_weights, weights_path
from model.data import Photos
from model.matching import MatchingHead, fit, image_features
from model.teacher import Whitening

NETWORK = "EfficientNet-Lite2"
RESOLUTIONS = {64: 128, 256: 224}  # what pictures of a size are resized to before the network sees them
EMBEDDING = 256
WHITENED = 256  # principal components of the teacher's vectors
STEPS = 1000
FORMAT = 1  # part of the key of a cached head: raise it when the same data would make another


class Reader(nn.Module):
    """The teacher's raw vectors → where pictures and names meet."""

    means: Tensor
    matrix: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(2, teacher.DIMENSIONS))
        self.register_buffer("matrix", torch.zeros(teacher.DIMENSIONS, WHITENED))
        self.linear = nn.Linear(WHITENED, EMBEDDING)

    def white(self, names: Sequence[str], raw: np.ndarray) -> Tensor:
        """(N, 384) raw vectors of `names` → (N, WHITENED) of unit norm."""
        return torch.from_numpy(Whitening(self.means.numpy(), self.matrix.numpy())(names, raw))


@dataclass(frozen=True)
class Judge:
    """Judges pictures of one size; see `appoint`."""

    size: int
    backbone: Backbone
    head: MatchingHead
    reader: Reader
    store: Path
    """The teacher's vectors."""
    train: Tensor
    """(N, F) float16 features of the training photographs."""

    def features(self, images: np.ndarray) -> Tensor:
        """(N, H, W, 3) uint8 → (N, F) float32: what the head looks at."""
        n = len(images)
        return self.cached(Photos(images, [""] * n, [None] * n, [""] * n, [""] * n), None)

    def cached(self, photos: Photos, cache: Path | None) -> Tensor:
        """`features` of photographs, from the cache folder where they are in it."""
        return torch.from_numpy(image_features(photos, self.backbone, cache)).float()

    def deep(self, features: Tensor) -> Tensor:
        """(N, F) → (N, 1280): the network's last layer, in which distances are measured."""
        return features[:, sum(self.backbone.channels) :]

    @torch.inference_mode()
    def see(self, features: Tensor) -> Tensor:
        """(N, F) features → (N, E) of unit norm."""
        return self.head(features)

    @torch.inference_mode()
    def read(self, names: Sequence[str]) -> Tensor:
        """Names in either language → (N, E) of unit norm."""
        white = self.reader.white(names, teacher.vectors(names, self.store))
        return F.normalize(self.reader.linear(white), dim=1)


def appoint(
    size: int, photos: Photos, cache: Path, store: Path, steps: int = STEPS, device: torch.device | str = "cpu"
) -> Judge:
    """The judge of pictures of a size, 64 or 256: its features and its head, fit on these training photographs.

    Args:
        photos: the training split at that size.
        cache: folder in which features and head are kept; a second call reads them.
        store: folder of the teacher's vectors; what is missing is computed and added.
        steps: of the head's training.
        device: where pictures are looked at; everything else stays on the CPU.

    Raises:
        ModuleNotFoundError: a package of the `train` extra is not installed.
    """
    backbone = Backbone("lite2", resolution=RESOLUTIONS[size]).to(device)
    features = image_features(photos, backbone, cache)
    head, reader = MatchingHead(features=backbone.features, embedding_dim=EMBEDDING).eval(), Reader().eval()
    folder = cache / f"judge-{_key(photos, features, steps)}"
    if not weights_path(folder, "reader").exists():  # written last
        _learn(photos, torch.from_numpy(features), store, steps, head, reader)
        save_weights(folder, "head", head)
        save_weights(folder, "reader", reader)
    # Read back even when just written, so that the first run judges with the same rounded weights as the next.
    try:
        load_weights(folder, "head", head)
        load_weights(folder, "reader", reader)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; delete {folder} and it is made again") from error
    return Judge(size, backbone, head, reader, store, torch.from_numpy(features))


def _learn(
    photos: Photos, features: Tensor, store: Path, steps: int, head: MatchingHead, reader: Reader
) -> None:
    """Fits head and reader to the photographs and their names, English and Japanese by turns."""
    japanese = [name or "" for name in photos.names_ja]
    names = list(dict.fromkeys([*photos.names, *filter(None, japanese)]))
    raw = teacher.vectors(names, store)
    whitening = Whitening.fit(names, raw, WHITENED)
    white = whitening(names, raw)
    row = {name: i for i, name in enumerate(names)}
    embeddings = torch.full((len(photos), 2, WHITENED), torch.nan)
    embeddings[:, 0] = torch.from_numpy(white[[row[name] for name in photos.names]])
    has = torch.tensor([bool(name) for name in japanese])
    if has.any():
        embeddings[has, 1] = torch.from_numpy(white[[row[name] for name in japanese if name]])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        linear = nn.Linear(WHITENED, EMBEDDING)
    fitted = fit(features, embeddings, photos.names, steps, text_head=linear)
    head.load_state_dict(fitted.state_dict())
    reader.means.copy_(torch.from_numpy(whitening.means))
    reader.matrix.copy_(torch.from_numpy(np.ascontiguousarray(whitening.matrix)))
    reader.linear.load_state_dict(linear.state_dict())


def _key(photos: Photos, features: np.ndarray, steps: int) -> str:
    digest = hashlib.sha256(f"{FORMAT} {steps} {WHITENED} {EMBEDDING} {features.shape}".encode())
    digest.update("\n".join([*photos.names, *(name or "" for name in photos.names_ja)]).encode())
    digest.update(np.ascontiguousarray(features[:: max(1, len(features) // 512)]).tobytes())
    return digest.hexdigest()[:16]
