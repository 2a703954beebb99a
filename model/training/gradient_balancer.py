"""Balancing losses by their gradients with respect to the pictures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from model.training import distributed


class GradientBalancer:
    """Mixes losses by what each pulls at the pictures, not by its value (EnCodec section 3.4, Defossez et al. 2022).

    Every loss's gradient with respect to the pictures is brought to unit size by a moving average of its norm, and
    then weighted. So a weight is a share of the say, whatever the adversary's temper: unbalanced, the adversary's
    gradient was seen to outweigh the reconstruction's until nothing was reconstructed.

    Telling the losses' pulls apart takes a backward pass for each, so it is done in every eighth step, and in the
    first ones of a loss; in between, one pass carries them all.
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
        """Whether every loss has been measured as often as it is in its first steps."""
        return bool(self.norms) and all(count >= self.FIRST for _, count in self.norms.values())

    def measures(self, losses: Iterable[str] = ()) -> bool:
        """Whether the next step, of these losses, tells their pulls apart."""
        return not self.settled or not self.norms.keys() >= set(losses) or self.steps % self.EVERY == 0

    def gradient(self, losses: dict[str, tuple[float, Tensor]], images: Tensor) -> Tensor:
        """The gradient (B, 3, H, W) that `images` should be pulled back with.

        Args:
            losses: weight and value of each, by name. A weight of 0 leaves one out.
            images: the pictures that all of them were computed from.
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
        """What a resumed run goes on with."""
        norms = {name: (mean.clone(), count) for name, (mean, count) in self.norms.items()}
        return {"steps": self.steps, "pulls": norms}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state.get("steps", 0)
        self.norms = {name: (mean.to(self.device), count) for name, (mean, count) in state.get("pulls", {}).items()}
