"""What both stages' games have in common: the adversary, the generator's average, the conditional ramp."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import parallel
from model.checkpoint import Network
from model.discriminator import Heads
from model.losses import ADVERSARIAL, alike, mismatched
from model.matching import MatchingHead

BETAS = (0.0, 0.99)  # of Adam, for generators and heads
MATCH_SCALE = 15.0  # of cosines in the text-match loss; the head's own 35 is meant for photographs, not for first tries


@dataclass(frozen=True)
class Rules:
    """What the adversary is told to do; the experiments take these away one at a time.

    loss: "hinge" or "bce".
    mismatched: share of photographs under another dish's name among what the conditional logit has to refuse; 0 for
        fakes only.
    ramp: kimg at which the conditional logit begins to count, and at which it counts in full.
    frozen: heads that do not learn, those over the finest taps first, as when few photographs are all there is to
        learn from (FreezeD, Mo et al. 2020).
    """

    loss: str = "hinge"
    learning_rate: float = 4e-4
    mismatched: float = 0.5
    ramp: tuple[float, float] = (5.0, 40.0)
    frozen: int = 0


class Adversary:
    """Discriminator heads with their loss and their optimiser."""

    def __init__(self, heads: Heads, rules: Rules, device: torch.device) -> None:
        self.heads = place(heads, device)
        self.rules = rules
        self.loss = ADVERSARIAL[rules.loss]
        self.learning = heads.requires_grad_(False).heads[rules.frozen :]
        self.optimizer = adam(self.learning.parameters(), rules.learning_rate, device)

    def update(
        self, real_taps: Sequence[Tensor], fake_taps: Sequence[Tensor], names: Tensor, texts: Tensor, kimg: float
    ) -> dict[str, Tensor]:
        """One step of the heads: photographs against fakes, and under their own names against other names.

        Args:
            real_taps, fake_taps: the backbone's maps of the photographs and of the fakes; no gradient leaves here.
            names, texts: (B, E), embeddings of the photographs' names and of the fakes'.
        """
        heads, loss, share = self.heads, self.loss, self.rules.mismatched
        self.learning.requires_grad_(True)
        real, fake = heads([t.detach() for t in real_taps]), heads([t.detach() for t in fake_taps])
        real_logits, fake_logits = heads.realness(real), heads.realness(fake)
        real_match, fake_match = heads.match(real, names), heads.match(fake, texts)
        others, differ = mismatched(names)
        wrong_match, no_mismatch = heads.match(real, others), ~differ[:, None]
        counted = differ.float().mean().clamp(min=1 / len(names))
        conditional = loss.real(real_match) + (1 - share) * loss.fake(fake_match)
        if share:
            # Names that are alike do not count: no loss has anything against minus infinity.
            refused = wrong_match.masked_fill(no_mismatch, -torch.inf)
            conditional = conditional + share * loss.fake(refused) / counted
        total = loss.real(real_logits) + loss.fake(fake_logits) + ramp(kimg, self.rules.ramp) * conditional
        descend(self.optimizer, total)
        heads.requires_grad_(False)
        return {
            "d_loss": total, "real": real_logits.mean(), "fake": fake_logits.mean(), "real_match": real_match.mean(),
            "fake_match": fake_match.mean(),
            "wrong_match": wrong_match.masked_fill(no_mismatch, 0.0).mean() / counted,
        }  # fmt: skip

    def judge(self, fake_taps: Sequence[Tensor], texts: Tensor, kimg: float) -> Tensor:
        """The generator's loss; gradients flow to the fakes and not into the heads."""
        maps = self.heads(fake_taps)
        realness = self.loss.generator(self.heads.realness(maps))
        return realness + ramp(kimg, self.rules.ramp) * self.loss.generator(self.heads.match(maps, texts))


class Naming:
    """The text-match loss: how badly a frozen head tells by the fakes which name is whose (AttnGAN's DAMSM, Xu et al.
    2018), among the names of the batch and of the steps before it, as in MoCo (He et al. 2020): telling sixteen names
    apart was seen to be learnt from the colour alone.
    """

    NAMES = 512

    def __init__(self, matching: MatchingHead, device: torch.device) -> None:
        self.matching = matching.to(device).requires_grad_(False).eval()
        self.names: Tensor | None = None

    @property
    def full(self) -> bool:
        """Whether as many names are kept as ever will be."""
        return self.names is not None and len(self.names) == self.NAMES

    def loss(self, features: Tensor, texts: Tensor) -> Tensor:
        """In nats; once a step, since the names are kept for the next.

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
        """What a resumed run goes on with."""
        return {"names": self.names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        names = state.get("names")
        self.names = names if names is None else names.to(next(self.matching.parameters()).device)


def ramp(kimg: float, span: tuple[float, float]) -> float:
    """0 before the span, 1 behind it, linear in between."""
    start, end = span
    return min(1.0, max(0.0, (kimg - start) / (end - start))) if end > start else float(kimg >= start)


class Balancer:
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
        self.pulls: dict[str, tuple[Tensor, int]] = {}  # mean norm, number of measurements

    @property
    def settled(self) -> bool:
        """Whether every loss has been measured as often as it is in its first steps."""
        return bool(self.pulls) and all(count >= self.FIRST for _, count in self.pulls.values())

    def measures(self, losses: Iterable[str] = ()) -> bool:
        """Whether the next step, of these losses, tells their pulls apart."""
        return not self.settled or not self.pulls.keys() >= set(losses) or self.steps % self.EVERY == 0

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
                mean, count = self.pulls.get(name, (gradient.new_zeros(()), 0))
                keep = min(self.DECAY, count / (count + 1))  # at first a plain mean
                self.pulls[name] = mean.mul_(keep).add_((1 - keep) * parallel.norm(gradient)), count + 1
        self.steps += 1
        share = sum(weight for weight, _ in losses.values())
        parts = [weight / share / (self.pulls[name][0] + 1e-12) * loss for name, (weight, loss) in active.items()]
        (total,) = torch.autograd.grad(torch.stack(parts).sum(), images)
        return total

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on with."""
        pulls = {name: (mean.clone(), count) for name, (mean, count) in self.pulls.items()}
        return {"steps": self.steps, "pulls": pulls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state.get("steps", 0)
        self.pulls = {name: (mean.to(self.device), count) for name, (mean, count) in state.get("pulls", {}).items()}


class Stateful(Protocol):
    """What takes part in training and is no module: an optimiser, or a balancer."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Stage(Protocol):
    """What the training loop needs of a stage."""

    size: int  # side of the photographs that it is shown
    collapsed: float  # a spread below this is a collapse

    def modules(self) -> dict[str, nn.Module]:
        """All that is trained or averaged, by name: what a run's state holds."""

    def optimizers(self) -> Mapping[str, Stateful]:
        """By name, likewise: what has a state of its own without being a module."""

    def shipped(self) -> dict[str, nn.Module]:
        """What goes into a checkpoint folder, by the name of its file."""

    def step(self, photos: Tensor, names: Tensor, imagined: Tensor, kimg: float) -> dict[str, Tensor]:
        """One update of every player.

        Args:
            photos: (B, 3, size, size) in [-1, 1].
            names: (B, E), embeddings of their names.
            imagined: (B - B // 2, E), embeddings of dishes that do not exist.
            kimg: thousands of photographs shown so far.

        Returns:
            Scalars for the log, among them `spread`: the mean deviation of a pixel over the batch of fakes.
            Photographs have about 0.5; when it dwindles, every name gets the same picture.
        """

    def paint(self, embedding: Tensor, latent: Tensor) -> Tensor:
        """The averaged generator's pictures (B, 3, size, size) of embeddings (B, E) and latents (B, L)."""

    latent_dim: int


class Recordable(ABC):
    """What both of our stages share: a step of which `model.graphs` can record all but the average.

    bf16: run convolutions and products in bfloat16.
    ramped: kimg at which whatever is ramped in at the start of training is in.
    half_life: of the average, in kimg.
    """

    device: torch.device
    bf16: bool
    generator: nn.Module
    average: nn.Module
    balancer: Balancer
    naming: Naming
    ramped: float
    half_life: float

    @abstractmethod
    def update(self, photos: Tensor, names: Tensor, imagined: Tensor, kimg: float) -> dict[str, Tensor]:
        """`Stage.step` without the average. Once `settled`, the same operations on the same tensors every time, but
        for those in which the balancer measures; and nothing waits for a number from the device."""

    def step(self, photos: Tensor, names: Tensor, imagined: Tensor, kimg: float) -> dict[str, Tensor]:
        """See `Stage`."""
        stats = self.update(photos, names, imagined, kimg)
        self.follow(len(photos), kimg)
        return stats

    def follow(self, images: int, kimg: float) -> None:
        """Moves the average, whose pace depends on `kimg`."""
        follow(self.average, self.generator, images, kimg, self.half_life)

    def autocast(self) -> torch.autocast:
        """Around whatever of a step runs in bfloat16."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def settled(self, kimg: float) -> bool:
        """Whether all is in that is ramped in, measured at first, or gathered."""
        return kimg >= self.ramped and self.balancer.settled and self.naming.full


def place(module: Network, device: torch.device) -> Network:
    """Moves a network to the device, its weights laid out as convolutions like them best."""
    return module.to(device).to(memory_format=torch.channels_last)


def adam(parameters: Iterable[nn.Parameter], rate: float, device: torch.device) -> torch.optim.Adam:
    """The optimiser of every player; on a GPU one that `model.graphs` can record."""
    gpu = device.type == "cuda"
    return torch.optim.Adam(parameters, rate, BETAS, fused=gpu, capturable=gpu)


def descend(
    optimizer: torch.optim.Optimizer, loss: Tensor, images: Tensor | None = None, gradient: Tensor | None = None
) -> None:
    """One step down the loss, on gradients that all processes agree on.

    Args:
        images, gradient: pictures that are pulled back with this gradient besides, from `Balancer`.
    """
    optimizer.zero_grad(set_to_none=True)
    if images is None:
        loss.backward()
    else:
        torch.autograd.backward([loss, images], [None, gradient])
    parallel.average_gradients(p for group in optimizer.param_groups for p in group["params"])
    optimizer.step()


@torch.no_grad()
def follow(average: nn.Module, module: nn.Module, images: int, kimg: float, half_life: float) -> None:
    """Moves the exponential moving average towards the weights and buffers of `module`.

    Args:
        images: shown to this process in this step.
        half_life: in kimg; a young run has a shorter one, so that the average is not made of its first noise.
    """
    keep = 0.5 ** (images * parallel.count() / 1000 / min(half_life, 0.05 * kimg + 1e-3))
    means, values = average.state_dict(), module.state_dict()
    moving = [name for name, mean in means.items() if mean.is_floating_point()]
    torch._foreach_lerp_([means[name] for name in moving], [values[name] for name in moving], 1 - keep)
    for name in means.keys() - moving:
        means[name].copy_(values[name])
