"""CUDA graphs for serving: runs a network on a GPU in batches of a few fixed sizes.

Launching the kernels of a small batch one by one takes longer than running them: a single picture took 4.5 ms on an
H200, and 2.4 ms as one launch (docs/benchmarks.md). A graph has fixed tensor shapes and addresses, so each size is
recorded once, and every batch is copied into the next larger size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

BATCH_SIZES = (1, 2, 4, 8, 16, 32)


class Buckets:
    """A network whose rows are independent of each other, recorded at every size. Not thread-safe."""

    @torch.inference_mode()
    def __init__(self, network: nn.Module, shapes: Sequence[tuple[int, ...]], device: torch.device) -> None:
        """`shapes` are those of one row of each input. Replays use the precision and algorithms in effect now."""
        self._inputs = [torch.zeros(BATCH_SIZES[-1], *shape, device=device) for shape in shapes]
        self._recorded = {
            size: record(network, *(rows[:size] for rows in self._inputs)) for size in BATCH_SIZES
        }

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> Tensor:
        """1 to BATCH_SIZES[-1] rows of each input, on any device -> as many rows of output, valid until the next
        call."""
        count = len(inputs[0])
        for rows, given in zip(self._inputs, inputs, strict=True):
            rows[:count].copy_(given)  # below them stays whatever was there
        replay, output = self._recorded[next(size for size in BATCH_SIZES if size >= count)]
        replay()
        return output[:count]


def record(network: nn.Module, *inputs: Tensor) -> tuple[Callable[[], None], Tensor]:
    """Records a CUDA graph of `network` on these very tensors; returns its replay function, and the tensor for its
    output."""
    with torch.cuda.device(inputs[0].device):
        stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # while recording, nothing can be set up and no algorithms be timed
                network(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph, stream=stream):
            output = network(*inputs)
    return graph.replay, output
