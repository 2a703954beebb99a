"""Balances losses by their gradients with respect to the pictures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from model.training import distributed


class GradientBalancer:
    """Weights losses by their gradients at the pictures, not by their values (EnCodec section 3.4, Defossez et al.
    2022).

    Each loss's gradient with respect to the pictures is normalized by a moving average of its norm, and then weighted.
    A weight is thus a share of the total gradient, however large the adversarial loss is: without balancing, the
    adversary's gradient outweighed the reconstruction's until nothing was reconstructed.

    Measuring the gradients separately takes one backward pass per loss, so it is done only in every eighth step, and in
    the first steps of a loss. Other steps use a single pass for all.
    """

    EVERY = 8  # steps
    FIRST = 16  # steps of a loss in which its pull is always measured
    DECAY = 0.9  # of the moving average, per measurement

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = device
        self.steps = 0
        self.norms: dict[str, tuple[Tensor, int]] = {}  # mean norm, number of measurements

    @property
    def settled(self) -> bool:
        """True if every loss has been through its first steps, in which it is measured every time."""
        return bool(self.norms) and all(count >= self.FIRST for _, count in self.norms.values())

    def measures(self, losses: Iterable[str] = ()) -> bool:
        """Returns whether the next step, with these losses, measures their gradients separately."""
        return not self.settled or not self.norms.keys() >= set(losses) or self.steps % self.EVERY == 0

    def gradient(self, losses: dict[str, tuple[float, Tensor]], images: Tensor) -> Tensor:
        """The balanced gradient (B, 3, H, W) to backpropagate from `images`.

        Args:
            losses: weight and value of each, by name. A weight of 0 leaves one out.
            images: the pictures that all losses were computed from.
        """
        active = {name: (weight, loss) for name, (weight, loss) in losses.items() if weight}
        if self.measures(active):
            for name, (_, loss) in active.items():
                (gradient,) = torch.autograd.grad(loss, images, retain_graph=True)
                mean, count = self.norms.get(name, (gradient.new_zeros(()), 0))
                keep = min(self.DECAY, count / (count + 1))  # at first a plain mean
                self.norms[name] = mean.mul_(keep).add_((1 - keep) * distributed.norm(gradient)), count + 1
        self.steps += 1
        share = sum(weight for weight, _ in losses.values())
        parts = [weight / share / (self.norms[name][0] + 1e-12) * loss for name, (weight, loss) in active.items()]
        (total,) = torch.autograd.grad(torch.stack(parts).sum(), images)
        return total

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run continues with."""
        norms = {name: (mean.clone(), count) for name, (mean, count) in self.norms.items()}
        return {"steps": self.steps, "pulls": norms}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state.get("steps", 0)
        self.norms = {name: (mean.to(self.device), count) for name, (mean, count) in state.get("pulls", {}).items()}
