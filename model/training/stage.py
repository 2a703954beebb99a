"""What both stages have in common: what the loop needs of them, their optimisers, the generator's average."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from model.checkpoint import Network
from model.training import distributed
from model.training.gradient_balancer import GradientBalancer

BETAS = (0.0, 0.99)  # of Adam, for generators and heads


def ramp(kimg: float, span: tuple[float, float]) -> float:
    """0 before the span, 1 behind it, linear in between."""
    start, end = span
    return min(1.0, max(0.0, (kimg - start) / (end - start))) if end > start else float(kimg >= start)


class Stateful(Protocol):
    """What takes part in training and is no module: an optimiser, or a balancer."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Gathering(Protocol):
    """What keeps things of the steps before."""

    @property
    def full(self) -> bool:
        """Whether as many are kept as ever will be."""


class Stage(Protocol):
    """What the training loop needs of a stage."""

    name: str  # under which a checkpoint's config says how long it was trained
    size: int  # side of the photographs that it is shown
    collapsed: float  # a spread below this is a collapse

    def modules(self) -> dict[str, nn.Module]:
        """All that is trained or averaged, by name: what a run's state holds."""

    def optimizers(self) -> Mapping[str, Stateful]:
        """By name, likewise: what has a state of its own without being a module."""

    def shipped(self) -> dict[str, nn.Module]:
        """What goes into a checkpoint folder, by the name of its file."""

    def step(self, photos: Tensor, names: Tensor, imagined: Tensor, kimg: float) -> dict[str, Tensor]:
        """One update of every network.

        Args:
            photos: (B, 3, size, size) in [-1, 1].
            names: (B, E), embeddings of their names.
            imagined: (B - B // 2, E), embeddings of dishes that do not exist.
            kimg: thousands of photographs shown so far.

        Returns:
            Scalars for the log, among them `spread`: the mean deviation of a pixel over the batch of fakes.
            Photographs have about 0.5; when it dwindles, every name gets the same picture.
        """

    def sample(self, embedding: Tensor, latent: Tensor) -> Tensor:
        """The averaged generator's pictures (B, 3, size, size) of embeddings (B, E) and latents (B, L)."""

    latent_dim: int


class StackGANStage(ABC):
    """What both of our stages share: a step of which `model.training.step_graphs` can record all but the average.

    bf16: run convolutions and products in bfloat16.
    gathering: what keeps things of the steps before.
    ramped: kimg at which whatever is ramped in at the start of training is in.
    half_life: of the average, in kimg.
    """

    device: torch.device
    bf16: bool
    generator: nn.Module
    average: nn.Module
    balancer: GradientBalancer
    gathering: tuple[Gathering, ...]
    ramped: float
    half_life: float

    @abstractmethod
    def update(self, photos: Tensor, names: Tensor, imagined: Tensor, kimg: float) -> dict[str, Tensor]:
        """`Stage.step` without the average. Once `settled`, the same operations on the same tensors every time, but
        for those in which the balancer measures; and nothing waits for a number from the device."""

    def step(self, photos: Tensor, names: Tensor, imagined: Tensor, kimg: float) -> dict[str, Tensor]:
        """See `Stage`."""
        stats = self.update(photos, names, imagined, kimg)
        self.update_ema(len(photos), kimg)
        return stats

    def update_ema(self, images: int, kimg: float) -> None:
        """Moves the average, whose pace depends on `kimg`."""
        update_ema(self.average, self.generator, images, kimg, self.half_life)

    def autocast(self) -> torch.autocast:
        """Around whatever of a step runs in bfloat16."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def settled(self, kimg: float) -> bool:
        """Whether all is in that is ramped in, measured at first, or gathered."""
        return kimg >= self.ramped and self.balancer.settled and all(part.full for part in self.gathering)


def to_device(module: Network, device: torch.device) -> Network:
    """Moves a network to the device, its weights laid out as convolutions like them best."""
    return module.to(device).to(memory_format=torch.channels_last)


def adam(parameters: Iterable[nn.Parameter], rate: float, device: torch.device) -> torch.optim.Adam:
    """The optimiser of every network; on a GPU one that `model.training.step_graphs` can record."""
    gpu = device.type == "cuda"
    return torch.optim.Adam(parameters, rate, BETAS, fused=gpu, capturable=gpu)


def optimizer_step(
    optimizer: torch.optim.Optimizer, loss: Tensor, images: Tensor | None = None, gradient: Tensor | None = None
) -> None:
    """One step down the loss, on gradients that all processes agree on.

    Args:
        images, gradient: pictures that are pulled back with this gradient besides, from `GradientBalancer`.
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
        half_life: in kimg; a young run has a shorter one, so that the average is not made of its first noise.
    """
    keep = 0.5 ** (images * distributed.count() / 1000 / min(half_life, 0.05 * kimg + 1e-3))
    means, values = average.state_dict(), module.state_dict()
    moving = [name for name, mean in means.items() if mean.is_floating_point()]
    torch._foreach_lerp_([means[name] for name in moving], [values[name] for name in moving], 1 - keep)
    for name in means.keys() - moving:
        means[name].copy_(values[name])
