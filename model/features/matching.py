"""Matches pictures to names: a head over frozen image features, in the space of the text encoder's embeddings.

Uses the contrastive objective of StackGAN's visual-semantic embedding and CLIP (Radford et al. 2021). One head is
trained together with the text encoder, one with the finished encoder for the generator's text-match loss, and one over
other features for the evaluator.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from model.checkpoint import write_file
from model.data.layouts import DataError
from model.data.photos import Photos, load
from model.features.augment import Augmentation
from model.features.backbone import Backbone

RESOLUTION = 160  # of the photographs whose features the names are matched with
MIN_PIXELS = 128  # smaller photos are the discriminator's business
MAX_SCALE = 100.0  # as in CLIP


class MatchingHead(nn.Module):
    """Maps frozen image features to the space of the text embeddings.

    Args:
        features: F, width of `Backbone.pooled`.
        embedding_dim: E.
        hidden: channels of the inner layer.
        dropout: on the features and on the inner layer; during training only.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, *, features: int, embedding_dim: int = 256, hidden: int = 768, dropout: float = 0.3
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "features": features,
            "embedding_dim": embedding_dim,
            "hidden": hidden,
            "dropout": dropout,
        }
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(features, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, embedding_dim),
        )
        self.skip = nn.Linear(features, embedding_dim, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(15.0)))

    @torch.no_grad()
    def standardize(self, features: Tensor) -> None:
        """Makes `forward` standardize features to zero mean and unit deviation, as measured on these, (N, F).

        Layers differ greatly in scale. Channels that hardly vary are kept from being amplified.
        """
        x = features.float()
        deviation = x.std(0)
        self.mean.copy_(x.mean(0))
        self.deviation.copy_(deviation.clamp(min=max(0.1 * float(deviation.median()), 1e-3)))

    @property
    def scale(self) -> Tensor:
        """The learned factor for cosines before the softmax."""
        return self.log_scale.exp().clamp(max=MAX_SCALE)

    def forward(self, features: Tensor) -> Tensor:
        """(B, F) → (B, E) float32 of unit norm."""
        x = (features.float() - self.mean) / self.deviation
        y: Tensor = self.layers(x) + self.skip(x)
        return F.normalize(y.float(), dim=1)


def contrastive_loss(
    image: Tensor, text: Tensor, scale: Tensor | float, same: Tensor | None = None
) -> Tensor:
    """Symmetric InfoNCE: the i-th picture matches the i-th text, and no other.

    Args:
        image, text: (B, E) of any norm.
        scale: factor for the cosines (an inverse temperature).
        same: (B, B) bool, true if picture i and text j have the same name although i is not j; such pairs are masked
            out. The diagonal is ignored.

    Returns:
        The mean loss in nats, a scalar.
    """
    logits = scale * F.normalize(image.float(), dim=1) @ F.normalize(text.float(), dim=1).T
    if same is not None:
        own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(same & ~own, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def name_weights(names: Sequence[str], power: float = 0.5) -> Tensor:
    """(N,) float64 sampling weights, such that all photos of a name together weigh count**power.

    A power below 1 downsamples frequent class names in favour of free-form names.
    """
    _, inverse, counts = np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True,
                                   return_counts=True)
    return torch.from_numpy(counts[inverse] ** (power - 1.0))


def fit(
    features: Tensor,
    embeddings: Tensor,
    names: Sequence[str],
    steps: int = 1500,
    seed: int = 0,
    *,
    batch: int = 512,
    hidden: int = 768,
    text_head: nn.Linear | None = None,
    device: torch.device | str = "cpu",
) -> MatchingHead:
    """Trains a head that matches photos to the fixed embeddings of their names.

    Args:
        features: (N, F), or (N, A, F) with A views of each photo; every step draws one.
        embeddings: (N, E), or (N, L, E) with L names of each photo, such as English and Japanese, drawn likewise. A
            missing name is a row of NaN.
        names: N names; photos with equal names are not negatives of each other.
        steps: number of AdamW steps, with a cosine schedule.
        seed: for draws and initial weights.
        text_head: a linear map of the embeddings that is trained along with the head, for vectors that were not trained
            on pictures; by default embeddings are used as they are.

    Returns:
        The head, in eval mode.
    """
    features = features if features.dim() == 3 else features[:, None]
    embeddings = embeddings if embeddings.dim() == 3 else embeddings[:, None]
    if not len(features) == len(embeddings) == len(names):
        raise ValueError(f"{len(features)} features, {len(embeddings)} embeddings and {len(names)} names")
    dim = embeddings.shape[2] if text_head is None else text_head.out_features
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = MatchingHead(features=features.shape[2], embedding_dim=dim, hidden=hidden).to(device)
        head.standardize(features[:, 0].to(device))
        modules = [head] if text_head is None else [head, text_head.to(device)]
        optimizer = torch.optim.AdamW(
            [p for module in modules for p in module.parameters()], lr=1e-3, weight_decay=0.1
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.05)
        weights = name_weights(names)
        ids = torch.from_numpy(np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)[1])
        has = ~embeddings[..., 0].isnan()
        for _ in tqdm(range(steps), desc="matching head", unit=" steps", disable=None, leave=False):
            rows = torch.multinomial(weights, min(batch, len(names)), generator=generator)
            view = torch.randint(features.shape[1], (len(rows),), generator=generator)
            which = torch.multinomial(has[rows].float(), 1, generator=generator)[:, 0]
            text = embeddings[rows, which].to(device).float()
            image = head(features[rows, view].to(device))
            same = (ids[rows, None] == ids[rows]).to(device)
            loss = contrastive_loss(image, text if text_head is None else text_head(text), head.scale, same)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return head.eval()


@torch.inference_mode()
def image_features(
    photos: Photos, backbone: Backbone, cache: Path | None = None, view: int = 0
) -> NDArray[np.float16]:
    """`Backbone.pooled` of every photo, (N, F) float16.

    The backbone runs in bfloat16 if the machine supports it, which takes a third of the time.

    Args:
        cache: folder where features are kept, and read from if they have been computed before.
        view: 0 is the original photo; odd views are flipped, and those from 2 on are randomly augmented like the
            discriminator's pictures, each differently, since the generator's loss sees such pictures.
    """
    path = None if cache is None else cache / f"features-{_key(photos, backbone, view)}.npy"
    if path is not None and path.exists():
        stored: NDArray[np.float16] = np.load(path)
        return stored
    device = next(backbone.buffers(), next(backbone.parameters())).device
    out = np.empty((len(photos), backbone.features), np.float16)
    bf16 = torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))
    with torch.random.fork_rng(devices=[]), bf16:
        torch.manual_seed(view)
        for i in tqdm(range(0, len(photos), 32), desc="image features", unit=" x 32 photos", disable=None, leave=False):
            x = torch.from_numpy(np.array(photos.images[i : i + 32])).to(device)
            x = x.permute(0, 3, 1, 2).float() / 127.5 - 1
            if view >= 2:
                x = Augmentation.draw(len(x), device).apply(x)
            out[i : i + 32] = backbone.pooled(x.flip(3) if view % 2 else x).float().cpu().numpy()
    if path is not None:
        buffer = io.BytesIO()
        np.save(buffer, out)
        write_file(path, buffer.getvalue())
    return out


def has_bfloat16(device: torch.device) -> bool:
    """Returns whether this machine has native bfloat16 arithmetic; detected, not configured."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _key(photos: Photos, backbone: Backbone, view: int) -> str:
    how = "augmented" if view > 1 else ""
    digest = hashlib.sha256(
        f"{backbone.spec.name} {backbone.resolution} {photos.images.shape} {view} {how}".encode()
    )
    for image in photos.images:  # all of them: a file that is replaced under its name changes one
        digest.update(image)
    return digest.hexdigest()[:16]


def load_photos(data: Path, split: str, cache: Path | None) -> Photos:
    """Loads photographs for matching: those of at least MIN_PIXELS, or all if none is that large."""
    try:
        return load(data, RESOLUTION, split, cache, min_pixels=MIN_PIXELS)
    except DataError:
        return load(data, RESOLUTION, split, cache)
