"""What a CUDA graph needs of a step, as far as it can be seen without a GPU, and the graphs where there is one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from model.features.backbone import TRAINING, Backbone
from model.generators import Stage2Generator
from model.training import stage1, stage2
from model.training.discriminator import PixelDiscriminator
from model.training.stage import StackGANStage
from model.training.stage1 import LatentEncoder, Stage1
from model.training.stage2 import Stage2
from model.training.step_graphs import GraphedStep
from model.training.text_match import TextMatchLoss
from tests.test_stages import (
    LATENT,
    embeddings,
    first,
    heads,
    make_stage1,
    make_stage2,
    matching,
    moved,
    step,
    weights,
)

MAKERS: dict[str, Callable[[], Stage1 | Stage2]] = {"stage1": make_stage1, "stage2": make_stage2}
# Each makes a GPU wait for the processor, or fetches a number from its memory.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "equal", "is_nonzero")


class Operations(TorchDispatchMode):
    """The names of all operations, backward passes included."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket._qualified_op_name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


@pytest.fixture(params=MAKERS)
def settled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> StackGANStage:
    monkeypatch.setattr(TextMatchLoss, "NAMES", 16)
    stage = MAKERS[request.param]()
    assert isinstance(stage, StackGANStage)
    steps = 0
    while not stage.settled(50.0):
        step(stage)
        steps += 1
    assert steps <= 20 and not stage.settled(0.1)
    return stage


def test_a_settled_step_is_the_same_every_time_and_waits_for_nothing(settled: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.optim.Adam, "step", lambda _optimizer: None)  # a GPU has one of its own
    kinds: dict[bool, list[list[str]]] = {}
    for _ in range(10):
        measures = settled.balancer.measures()
        with Operations() as seen:
            step(settled)
        kinds.setdefault(measures, []).append(seen.names)
    for measures, runs in kinds.items():
        assert all(run == runs[0] for run in runs), measures
        assert not set(runs[0]) & set(WAITING), set(runs[0]) & set(WAITING)
    assert len(kinds[False]) > len(kinds[True]) > 0


def test_what_a_settled_step_remembers_stays_where_it_is(settled: Any) -> None:
    def places() -> list[int]:
        tensors: list[Tensor] = [settled.text_match.names, *(mean for mean, _ in settled.balancer.norms.values())]
        return [tensor.data_ptr() for tensor in tensors]

    before, names = places(), settled.text_match.names.clone()
    for _ in range(9):
        step(settled)
    assert places() == before
    assert not torch.equal(settled.text_match.names, names)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
@pytest.mark.parametrize("name", MAKERS)
def test_replayed_steps_go_on_learning_and_looking_at_what_they_are_given(name: str) -> None:
    gpu = torch.device("cuda")
    eyes, match = Backbone(TRAINING), matching()
    stage: Stage1 | Stage2
    pixels = PixelDiscriminator(width=4)
    if name == "stage1":
        encoder, config = LatentEncoder(z_dim=8), stage1.Stage1Config()
        stage = Stage1(first(), heads(), pixels, encoder, eyes, match, config, gpu, True)
    else:
        sampler = Stage2Generator(**LATENT, channels=(16, 16, 16), depth=1)
        config2 = stage2.Stage2Config()
        stage = Stage2(sampler, heads(), heads(), pixels, first(), eyes, match, config2, gpu, True)
    replay, batch = GraphedStep(stage), 64

    def play(photos: Tensor) -> dict[str, Tensor]:
        return replay.step(photos, embeddings(batch).to(gpu), embeddings(batch // 2).to(gpu), 50.0)

    grey = torch.zeros(batch, 3, stage.size, stage.size, device=gpu)
    while not replay.graphs.keys() >= {True, False}:
        play(grey)
    networks = {name: weights(module) for name, module in stage.modules().items()}
    history = [{name: float(value) for name, value in play(grey).items()} for _ in range(20)]
    assert all(math.isfinite(value) for row in history for value in row.values())
    assert len({row["g_loss"] for row in history}) == 20  # every replay draws anew
    for part, module in stage.modules().items():
        assert moved(networks[part], module), part
    # Of black and white squares, 16 px wide, a generator that has seen grey only makes nothing.
    squares = (torch.arange(stage.size, device=gpu) // 16 % 2 * 2.0 - 1).expand_as(grey)
    near = "colour" if name == "stage1" else "pixels"
    assert float(play(squares)[near]) > 2 * history[-1][near]
