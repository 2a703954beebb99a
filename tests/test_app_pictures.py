"""Batches for a GPU, shown with a pipeline that only says it is on one."""

from __future__ import annotations

import threading

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


def test_the_models_thread_has_the_cpus_and_later_ones_have_one_each() -> None:
    before, found = torch.get_num_threads(), {}

    def work() -> None:
        PipelineModel(FakePipeline(), threads=3).warm()
        later = threading.Thread(target=lambda: found.update(later=torch.get_num_threads()))
        later.start()
        later.join()
        found["model"] = torch.get_num_threads()

    try:
        model = threading.Thread(target=work)
        model.start()
        model.join()
        assert found == {"model": 3, "later": 1}
    finally:
        torch.set_num_threads(before)
