"""The discriminators: small heads over frozen features (Sauer et al. 2021), and a plain one over pixels.

The `Backbone` is shared with other modules; only the heads and the pixel discriminator are trained and shipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from model.features.backbone import TRAINING


class Heads(nn.Module):
    """One head per tap, each with an unconditional logit and a projection logit (Miyato & Koyama 2018).

    The channels of every tap are first mixed by a fixed random matrix (the paper's CCM), so that no head can rely on
    the few channels that happen to separate best.

    Args:
        channels: of the backbone's taps, finest first.
        embedding_dim: E, width of the text encoder's embedding.
        width: channels of every head.
    """

    def __init__(
        self, *, channels: Sequence[int] = TRAINING.channels, embedding_dim: int = 256, width: int = 64
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "channels": list(channels), "embedding_dim": embedding_dim, "width": width
        }
        self.heads = nn.ModuleList(
            _Head(c, width, embedding_dim, halvings=len(channels) - 1 - i, deviation=d)
            for i, (c, d) in enumerate(zip(channels, TRAINING.deviations, strict=True))
        )

    def forward(self, taps: Sequence[Tensor]) -> list[Tensor]:
        """The heads' maps of the taps: a list of (B, width, 3, 3), for `realness` and `match` to score."""
        return [head(tap) for head, tap in self._each(taps)]

    def realness(self, maps: Sequence[Tensor]) -> Tensor:
        """Unconditional logits (B, heads * positions): does this look like a photograph?"""
        return self._join([h.realness(m) for h, m in self._each(maps)])

    def match(self, maps: Sequence[Tensor], embedding: Tensor) -> Tensor:
        """Conditional logits (B, heads * positions): does it look like a dish of this name, (B, E)?"""
        return self._join([h.score(m, embedding) for h, m in self._each(maps)])

    def _each(self, maps: Sequence[Tensor]) -> Iterator[tuple[_Head, Tensor]]:
        return zip(cast(Iterable[_Head], self.heads), maps, strict=True)

    @staticmethod
    def _join(logits: list[Tensor]) -> Tensor:
        return torch.cat([x.flatten(1) for x in logits], 1).float()


class _Head(nn.Module):
    def __init__(self, channels: int, width: int, embedding_dim: int, halvings: int, deviation: float) -> None:
        super().__init__()
        mix = torch.empty(width, channels, 1, 1)
        nn.init.kaiming_normal_(mix, nonlinearity="linear")
        self.mix: Tensor
        self.register_buffer("mix", mix / deviation)
        layers: list[nn.Module] = []
        for _ in range(halvings):
            layers += [spectral_norm(nn.Conv2d(width, width, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
        layers += [spectral_norm(nn.Conv2d(width, width, 3, padding=1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.unconditional = spectral_norm(nn.Conv2d(width, 1, 1))
        self.project = spectral_norm(nn.Linear(embedding_dim, width, bias=False))
        self.conditional = spectral_norm(nn.Conv2d(width, width, 1))

    def realness(self, maps: Tensor) -> Tensor:
        """(B, h, w)."""
        logits: Tensor = self.unconditional(maps)
        return logits[:, 0]

    def forward(self, tap: Tensor) -> Tensor:
        y: Tensor = self.layers(F.conv2d(tap, self.mix.to(tap.dtype)))
        return y

    def score(self, maps: Tensor, embedding: Tensor) -> Tensor:
        """The inner product of the name's projection with every position, (B, h, w)."""
        return torch.einsum("bchw,bc->bhw", self.conditional(maps), self.project(embedding))


class PixelDiscriminator(nn.Module):
    """A convolutional discriminator over pixels, like DCGAN's (Radford et al. 2016) but without normalization.

    A frozen network does not see everything that an eye sees: a generator trained only against its features
    oversharpens edges and adds fine woven patterns. This one learns what distinguishes fakes from photographs. It is
    unconditional.

    Args:
        width: channels after the first of four halvings.
    """

    def __init__(self, *, width: int = 32) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"width": width}
        widths = (3, width, 2 * width, 3 * width, 4 * width)
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 3, padding=1))
        for module in self.layers:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, 0.2)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> logits (B, H / 16 * W / 16) float32."""
        logits: Tensor = self.layers(images)
        return logits.flatten(1).float()
