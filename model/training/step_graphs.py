"""CUDA graphs: launches a whole training step at once.

A step consists of some three thousand small kernels. Launched one by one from Python, they kept a GPU busy for a tenth
of the time; recorded once and replayed, for all of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.training.stage import StackGANStage


class GraphedStep:
    """Runs a stage's steps on one GPU, as graphs once the stage has settled. All batches have the same size."""

    def __init__(self, stage: StackGANStage) -> None:
        self.stage = stage
        self.stream = torch.cuda.Stream()
        self.inputs: tuple[Tensor, Tensor, Tensor] | None = None
        self.graphs: dict[bool, tuple[torch.cuda.CUDAGraph, tuple[str, ...], Tensor]] = {}

    def step(self, photos: Tensor, names: Tensor, imagined: Tensor, kimg: float) -> dict[str, Tensor]:
        """See `Stage.step`."""
        stage, given = self.stage, (photos, names, imagined)
        if not stage.settled(kimg):
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):  # where gradients are gathered has to be where they are recorded
                stats = stage.update(*given, kimg)
            torch.cuda.current_stream().wait_stream(self.stream)
        else:
            if self.inputs is None:
                self.inputs = (photos.clone(), names.clone(), imagined.clone())
            for mine, tensor in zip(self.inputs, given, strict=True):
                mine.copy_(tensor)
            measures = stage.balancer.measures()
            if measures not in self.graphs:
                self.graphs[measures] = self._record(*self.inputs, kimg)
            else:
                stage.balancer.steps += 1
            graph, keys, values = self.graphs[measures]
            graph.replay()
            stats = dict(zip(keys, values.clone().unbind(), strict=True))
        stage.update_ema(len(photos), kimg)
        return stats

    def _record(
        self, photos: Tensor, names: Tensor, imagined: Tensor, kimg: float
    ) -> tuple[torch.cuda.CUDAGraph, tuple[str, ...], Tensor]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            stats = self.stage.update(photos, names, imagined, kimg)
            values = torch.stack([value.float() for value in stats.values()])
        return graph, tuple(stats), values
