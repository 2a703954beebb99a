"""Which dishes of the training data a dish is nearest to, and how new it is: an index of their names.

The index is one safetensors file in the checkpoint's folder. Names only, no photographs: it says that a dish
exists, not what it looked like.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from model.checkpoint import CheckpointError, read_file, weights_path, write_file

FILE = "names-index"
MAX_BYTES = 3 * 2**20
DIMENSIONS = 64
MAX_NAMES = 20_000  # with 64 dimensions in float16, some 2.8 MB
SHOWN = 8
_QUANTILES = 101


def write_index(folder: Path | str, names: Sequence[str], embed: Callable[[Sequence[str]], Tensor]) -> int:
    """Makes the folder's index of these names, as of `photos.names`; the number of names that are in it.

    `embed` is `Pipeline.embed` of the same folder. A name that comes several times stands in the index once, and
    of more than MAX_NAMES an even choice does.
    """
    distinct = list({name.casefold(): name for name in reversed(names) if "\n" not in name}.values())[::-1]
    count = min(len(distinct), MAX_NAMES)
    chosen = [distinct[k * len(distinct) // count] for k in range(count)]
    NamesIndex.build(chosen, torch.cat([embed(chosen[at : at + 256]) for at in range(0, count, 256)])).save(folder)
    return count


class Nearest(NamedTuple):
    """`names` with their cosine distances (0: the same, 1: nothing in common), and `novelty` in percent: how
    many of the training names have a neighbour that is nearer to them than the nearest of these is."""

    names: list[tuple[str, float]]
    novelty: int


class NamesIndex:
    """Unit vectors (N, D) of N names, the projection (E, D) that made them from embeddings, and the quantiles of
    each name's distance to its nearest other."""

    def __init__(self, names: Sequence[str], vectors: Tensor, projection: Tensor, quantiles: Tensor) -> None:
        self.names = list(names)
        self._vectors, self._projection, self._quantiles = vectors, projection, quantiles
        self._exact = {name.casefold() for name in names}

    @classmethod
    def build(cls, names: Sequence[str], embeddings: Tensor, dimensions: int = DIMENSIONS) -> NamesIndex:
        """From N distinct names and their embeddings (N, E), the text encoder's. N is at least 2.

        Embeddings are cut to the directions in which they differ most (PCA about the origin, so that cosines
        stay what they are as nearly as `dimensions` allow).
        """
        if len(names) != len(embeddings) or len(names) < 2:
            raise ValueError(f"{len(names)} names with {len(embeddings)} embeddings: two or more of each are needed")
        values = embeddings.float()
        _, directions = torch.linalg.eigh(values.T @ values)
        projection = directions[:, -min(dimensions, values.shape[1]) :].half().float()
        vectors = torch.nn.functional.normalize(values @ projection, dim=1).half().float()
        distances = []
        for start in range(0, len(vectors), 1024):
            part = vectors[start : start + 1024]
            cosines = part @ vectors.T
            cosines[torch.arange(len(part)), torch.arange(start, start + len(part))] = -1
            distances.append(1 - cosines.amax(1))
        quantiles = torch.quantile(torch.cat(distances), torch.linspace(0, 1, _QUANTILES))
        return cls(names, vectors, projection, quantiles)

    def save(self, folder: Path | str) -> None:
        """Writes `names-index.safetensors`; CheckpointError where it would be over MAX_BYTES."""
        path = weights_path(folder, FILE)
        text = zlib.compress("\n".join(self.names).encode(), 9)
        tensors = {
            "names": torch.frombuffer(bytearray(text), dtype=torch.uint8),
            "vectors": self._vectors.half().contiguous(),
            "projection": self._projection.half().contiguous(),
            "quantiles": self._quantiles.float(),
        }
        data = safetensors.torch.save(tensors, {"format": "pt"})
        if len(data) > MAX_BYTES:
            raise CheckpointError(
                f"{path} would have {len(data) / 2**20:.1f} MiB, and may have {MAX_BYTES // 2**20}: leave names out"
            )
        write_file(path, data)

    @classmethod
    def load(cls, folder: Path | str, embedding_dim: int) -> NamesIndex | None:
        """The folder's index, or None where it has none. CheckpointError where there is one that cannot be used."""
        path = weights_path(folder, FILE)
        if not path.exists():
            return None
        try:
            tensors = safetensors.torch.load(read_file(path))
            names = _names(tensors["names"])
            vectors, projection = tensors["vectors"].float(), tensors["projection"].float()
            quantiles = tensors["quantiles"].float()
        except (safetensors.SafetensorError, KeyError, ValueError, zlib.error) as error:
            raise CheckpointError(f"{path} is no index of names, or a damaged one: {error}") from error
        if (len(names), embedding_dim, vectors.shape[-1]) != (len(vectors), *projection.shape):
            raise CheckpointError(f"{path} does not fit the text encoder of this folder: make it again")
        return cls(names, vectors, projection, quantiles)

    def nearest(self, embedding: Tensor, name: str = "", count: int = SHOWN) -> Nearest:
        """The nearest names to an embedding (E). `name`, where it is in the index itself, is not new at all."""
        vector = torch.nn.functional.normalize(embedding.float() @ self._projection, dim=0)
        distances = (1 - self._vectors @ vector).clamp(0, 2)
        found = distances.topk(min(count, len(self.names)), largest=False)
        names = [
            (self.names[int(k)], round(float(d), 3)) for d, k in zip(found.values, found.indices, strict=True)
        ]
        if name.casefold() in self._exact and names[0][1] < 0.01:
            return Nearest(names, 0)
        below = int(torch.searchsorted(self._quantiles, found.values[0].contiguous()))
        return Nearest(names, min(below, 100))


def _names(stored: Tensor) -> list[str]:
    inflate = zlib.decompressobj()
    data = inflate.decompress(stored.numpy().tobytes(), 8 * MAX_BYTES)  # so that a small file cannot fill the memory
    return data.decode("utf-8").split("\n")
