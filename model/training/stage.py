"""Shared by both GAN stages: their interface to the loop, their optimizers, and the generator's moving average."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from model.checkpoint import Network
from model.training import distributed
from model.training.gradient_balancer import GradientBalancer
from model.training.text_match import TextMatchLoss

BETAS = (0.0, 0.99)  # of Adam, for generators and heads


def ramp(kimg: float, span: tuple[float, float]) -> float:
    """0 before the span, 1 after it, linear in between."""
    start, end = span
    return min(1.0, max(0.0, (kimg - start) / (end - start))) if end > start else float(kimg >= start)


class Stateful(Protocol):
    """Takes part in training without being a module: an optimizer, or a balancer."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Stage(Protocol):
    """The interface of a stage to the training loop."""

    name: str  # under which a checkpoint's config says how long it was trained
    size: int  # side of the photographs that it is shown
    collapsed: float  # a spread below this is a collapse

    def modules(self) -> dict[str, nn.Module]:
        """Everything that is trained or averaged, by name, as stored in a run's state."""

    def optimizers(self) -> Mapping[str, Stateful]:
        """Everything that has a state without being a module, by name, likewise."""

    def shipped(self) -> dict[str, nn.Module]:
        """The modules that go into a checkpoint folder, by file name."""

    def step(self, photos: Tensor, names: Tensor, imagined: Tensor, kimg: float) -> dict[str, Tensor]:
        """Updates every network once.

        Args:
            photos: (B, 3, size, size) in [-1, 1].
            names: (B, E), embeddings of their names.
            imagined: (B - B // 2, E), embeddings of dishes that do not exist.
            kimg: thousands of photographs shown so far.

        Returns:
            Scalars for the log, among them `spread`: the mean deviation of a pixel over the batch of fakes. For
            photographs it is about 0.5; when it shrinks, every name is getting the same picture.
        """

    def sample(self, embedding: Tensor, latent: Tensor) -> Tensor:
        """Samples pictures (B, 3, size, size) from the averaged generator, for embeddings (B, E) and latents (B, L)."""

    latent_dim: int


class StackGANStage(ABC):
    """Base class of our two stages: everything in a step but the average can be recorded by
    `model.training.step_graphs`.

    bf16: run convolutions and matrix products in bfloat16.
    ramped: kimg at which all ramps at the start of training are over.
    half_life: of the moving average, in kimg.
    """

    device: torch.device
    bf16: bool
    generator: nn.Module
    average: nn.Module
    balancer: GradientBalancer
    text_match: TextMatchLoss
    ramped: float
    half_life: float

    @abstractmethod
    def update(self, photos: Tensor, names: Tensor, imagined: Tensor, kimg: float) -> dict[str, Tensor]:
        """`Stage.step` without the average. Once `settled`, it performs the same operations on the same tensors every
        time, except in steps where the balancer measures, and never waits for a value from the device."""

    def step(self, photos: Tensor, names: Tensor, imagined: Tensor, kimg: float) -> dict[str, Tensor]:
        """See `Stage`."""
        stats = self.update(photos, names, imagined, kimg)
        self.update_ema(len(photos), kimg)
        return stats

    def update_ema(self, images: int, kimg: float) -> None:
        """Updates the average; its half-life depends on `kimg`."""
        update_ema(self.average, self.generator, images, kimg, self.half_life)

    def autocast(self) -> torch.autocast:
        """The context for the parts of a step that run in bfloat16."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def settled(self, kimg: float) -> bool:
        """Returns whether all ramps, initial measurements and gathering are complete."""
        return kimg >= self.ramped and self.balancer.settled and self.text_match.full


def to_device(module: Network, device: torch.device) -> Network:
    """Moves a network to the device, in the memory format that is fastest for its convolutions."""
    return module.to(device).to(memory_format=torch.channels_last)


def adam(
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]], rate: float, device: torch.device
) -> torch.optim.Adam:
    """The optimizer of every network, of its parameters or groups of them; on a GPU it can be recorded by
    `model.training.step_graphs`."""
    gpu = device.type == "cuda"
    return torch.optim.Adam(parameters, rate, BETAS, fused=gpu, capturable=gpu)


def optimizer_step(
    optimizer: torch.optim.Optimizer, loss: Tensor, images: Tensor | None = None, gradient: Tensor | None = None
) -> None:
    """Takes one optimizer step on the loss, with gradients averaged over all processes.

    Args:
        images, gradient: pictures to also backpropagate from, with this gradient from `GradientBalancer`.
    """
    optimizer.zero_grad(set_to_none=True)
    if images is None:
        loss.backward()
    else:
        torch.autograd.backward([loss, images], [None, gradient])
    distributed.average_gradients(p for group in optimizer.param_groups for p in group["params"])
    optimizer.step()


@torch.no_grad()
def update_ema(average: nn.Module, module: nn.Module, images: int, kimg: float, half_life: float) -> None:
    """Moves the exponential moving average towards the weights and buffers of `module`.

    Args:
        images: shown to this process in this step.
        half_life: in kimg; shorter early in a run, so that the average is not dominated by the initial noise.
    """
    keep = 0.5 ** (images * distributed.count() / 1000 / min(half_life, 0.05 * kimg + 1e-3))
    means, values = average.state_dict(), module.state_dict()
    moving = [name for name, mean in means.items() if mean.is_floating_point()]
    torch._foreach_lerp_([means[name] for name in moving], [values[name] for name in moving], 1 - keep)
    for name in means.keys() - moving:
        means[name].copy_(values[name])
