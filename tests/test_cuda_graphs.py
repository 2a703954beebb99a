"""Batches in buckets: with a recording that only says it is one, and with CUDA graphs where there is a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model import cuda_graphs
from model.cuda_graphs import BATCH_SIZES, Buckets
from model.pipeline import Pipeline


class Sum(nn.Module):
    """Rows (B, 3) and (B, 1) -> (B, 3)."""

    def forward(self, wide: Tensor, narrow: Tensor) -> Tensor:
        return wide + narrow


class Recorder:
    """Stands in for `buckets.record`: a replay reads the tensors it was recorded with and fills the one it gave."""

    def __init__(self) -> None:
        self.recorded: list[int] = []
        self.replayed: list[int] = []

    def __call__(self, network: nn.Module, *inputs: Tensor) -> tuple[Callable[[], None], Tensor]:
        output: Tensor = network(*inputs)
        self.recorded.append(len(output))

        def replay() -> None:
            self.replayed.append(len(output))
            output.copy_(network(*inputs))

        return replay, output


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(cuda_graphs, "record", recorder)
    return recorder


def test_each_batch_is_copied_into_the_next_size_and_its_rows_are_cut_out(recorder: Recorder) -> None:
    network = Buckets(Sum(), ((3,), (1,)), torch.device("cpu"))
    assert sorted(recorder.recorded) == sorted(BATCH_SIZES) and not recorder.replayed
    for count in range(BATCH_SIZES[-1], 0, -1):  # so that below each batch lies a larger one
        wide, narrow = torch.randn(count, 3), torch.randn(count, 1)
        assert torch.equal(network(wide, narrow), wide + narrow)
        assert recorder.replayed.pop() == min(size for size in BATCH_SIZES if size >= count)
    assert not recorder.replayed
    assert len(recorder.recorded) == len(BATCH_SIZES)


def test_a_cpu_records_nothing(recorder: Recorder, tiny_checkpoint: Path) -> None:
    pipeline = Pipeline.load(tiny_checkpoint, "cpu")
    before = pipeline.generate(["鮭"], [1])
    pipeline.record()
    assert np.array_equal(pipeline.generate(["鮭"], [1]), before)
    assert not recorder.recorded


def test_recorded_stages_make_the_same_pictures(
    recorder: Recorder, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "BATCH_SIZES", (1, 4))
    pipeline = Pipeline.load(tiny_checkpoint, "cpu")
    names, seeds = ["鮭", "pea soup", "抹茶ラーメン"], [3, 2, 1]
    expected = pipeline.generate(names, seeds).astype(int)
    pipeline.batch_size = 4  # as on a GPU
    pipeline.record()
    assert recorder.recorded == [1, 4, 1, 4]
    assert np.abs(pipeline.generate(names, seeds) - expected).max() <= 1
    assert recorder.replayed == [4, 4]


def test_a_gpu_that_refuses_paints_without(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_inputs: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(cuda_graphs, "record", refuse)
    pipeline = Pipeline.load(tiny_checkpoint, "cpu")
    before = pipeline.generate(["tea"], [1])
    pipeline.batch_size = BATCH_SIZES[-1]
    pipeline.record()
    assert "not permitted" in caplog.text
    assert np.array_equal(pipeline.generate(["tea"], [1]), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
def test_a_gpu_replays_what_a_cpu_paints(tiny_checkpoint: Path) -> None:
    cpu, gpu = Pipeline.load(tiny_checkpoint, "cpu"), Pipeline.load(tiny_checkpoint, "cuda")
    gpu.record()
    for count in (32, 1, 5, 40):  # 40 are two batches
        names, seeds = [f"soup {k}" for k in range(count)], list(range(count))
        for size in (64, 256):
            made, expected = (pipeline.generate(names, seeds, size).astype(int) for pipeline in (gpu, cpu))
            assert np.abs(made - expected).max() <= 1
