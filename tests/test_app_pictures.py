"""Batches for a GPU, shown with a pipeline that only says it is on one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from app.pictures import BUCKETS, PipelineModel
from model.dishes import Dish
from tests.serving import FakePipeline

# What torch says of bfloat16 for a GPU that is not there.
pytestmark = pytest.mark.filterwarnings("ignore:.*CUDA is not available:UserWarning")


class Recorded(FakePipeline):
    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.shapes: list[tuple[str, int]] = []

    def sketch(self, embeddings: Tensor, latents: Tensor) -> Tensor:
        self.shapes.append(("sketch", len(latents)))
        return super().sketch(embeddings, latents)

    def refine(self, sketches: Tensor, embeddings: Tensor, latents: Tensor) -> Tensor:
        self.shapes.append(("refine", len(latents)))
        return super().refine(sketches, embeddings, latents)


def test_a_gpu_sees_only_batches_that_were_warmed() -> None:
    pipeline = Recorded("cuda:0")
    model = PipelineModel(pipeline)
    model.warm()
    warmed = set(pipeline.shapes)
    assert warmed == {(step, size) for step in ("sketch", "refine") for size in BUCKETS}
    for count in range(1, model.refine_batch + 1):
        items = [Dish("tea", seed) for seed in range(count)]
        sketches = model.sketch(items)
        pictures = model.refine(items, sketches)
        assert len(sketches) == len(pictures) == count
        alone = model.refine(items[-1:], model.sketch(items[-1:]))
        assert torch.equal(pictures[-1], alone[0])
    assert set(pipeline.shapes) == warmed


def test_a_cpu_fills_nothing_up() -> None:
    pipeline = Recorded("cpu")
    model = PipelineModel(pipeline)
    model.warm()
    pipeline.shapes.clear()
    items = [Dish("tea", seed) for seed in range(3)]
    model.refine(items[:1], model.sketch(items)[:1])
    assert pipeline.shapes == [("sketch", 3), ("refine", 1)]
