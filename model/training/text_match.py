"""The text-match loss of both stages."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.features.matching import MatchingHead
from model.training.losses import alike

MATCH_SCALE = 15.0  # of cosines in the text-match loss; the head's own 35 is meant for photographs, not for first tries


class TextMatchLoss:
    """The text-match loss: how badly a frozen head matches fakes to their names (AttnGAN's DAMSM, Xu et al. 2018),
    among the names of this batch and of previous steps, as in MoCo (He et al. 2020). With only sixteen names, the task
    was learnt from colour alone.
    """

    NAMES = 512

    def __init__(self, matching: MatchingHead, device: torch.device) -> None:
        self.matching = matching.to(device).requires_grad_(False).eval()
        self.names: Tensor | None = None

    @property
    def full(self) -> bool:
        """True if the queue of names is full."""
        return self.names is not None and len(self.names) == self.NAMES

    def loss(self, features: Tensor, texts: Tensor) -> Tensor:
        """The loss in nats. Call once per step, since the names are kept for the next.

        Args:
            features: (B, F), `Backbone.pool` of the fakes' maps.
            texts: (B, E), embeddings of their names.
        """
        names = texts if self.names is None else torch.cat([texts, self.names])[: self.NAMES]
        if self.full and self.names is not None:
            self.names.copy_(names)
        else:
            self.names = names.detach().clone()
        own = torch.arange(len(texts), device=texts.device)
        logits = MATCH_SCALE * self.matching(features) @ F.normalize(names, dim=1).T
        same = alike(texts, names)
        same.fill_diagonal_(False)
        return F.cross_entropy(logits.masked_fill(same, -torch.inf), own)

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run continues with."""
        return {"names": self.names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        names = state.get("names")
        self.names = names if names is None else names.to(next(self.matching.parameters()).device)
