"""Finds the training data nearest to a dish, by its name and by its picture, and how novel the dish is.

The index is one safetensors file in the checkpoint's folder. It contains names and a few numbers per photograph, but no
photographs: it says that a dish exists and that some photograph has such colours, not what it looked like.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from model.checkpoint import CheckpointError, read_file, weights_path, write_file
from model.languages import DEFAULT, LANGUAGES, OTHERS, Language

FILE = "names-index"
MAX_BYTES = 3 * 2**20
MAX_NAMES = 36_000
NAME_DIMENSIONS = 56
MAX_PHOTOS = 16_000
LOOK_DIMENSIONS = 32
SHOWN = 8
_QUANTILES = 101


class NamedPhotos(Protocol):
    """The part of `model.data.photos.Photos` needed here."""

    @property
    def images(self) -> np.ndarray[Any, Any]: ...  # (N, size, size, 3) uint8
    @property
    def names(self) -> list[str]: ...
    @property
    def translations(self) -> Sequence[Mapping[Language, str]]: ...


def write_index(folder: Path | str, photos: NamedPhotos, embed: Callable[[Sequence[str]], Tensor]) -> int:
    """Writes the folder's index of these photographs; returns the number of names in it.

    `embed` is `Pipeline.embed` of the same folder. Each name is in the index once, whatever its language. Beyond
    MAX_NAMES, those with the most photographs are kept; beyond MAX_PHOTOS, an even selection.
    """
    titles = [_one_line(name) for name in photos.names]
    others = [{of: _one_line(name) for of, name in names.items()} for names in photos.translations]
    every = [*titles, *(names[language] for language in OTHERS for names in others if language in names)]
    counts = Counter(map(str.casefold, every))
    spelled = {name.casefold(): name for name in reversed(every)}
    names = [spelled[key] for key, _ in counts.most_common(MAX_NAMES)]
    index = NamesIndex.build(names, torch.cat([embed(names[at : at + 256]) for at in range(0, len(names), 256)]))
    place = {name.casefold(): k for k, name in enumerate(names)}
    named = [k for k, title in enumerate(titles) if title.casefold() in place]
    count = min(len(named), MAX_PHOTOS)
    chosen = [named[k * len(named) // count] for k in range(count)]
    looks = torch.cat([look(_pictures(photos.images[chosen[at : at + 256]])) for at in range(0, count, 256)])
    own = [place[titles[k].casefold()] for k in chosen]
    translated = [
        [place.get(others[k].get(language, "").casefold(), own[i]) for i, k in enumerate(chosen)] for language in OTHERS
    ]
    index.add_looks(looks, own, *translated)
    index.save(folder)
    return len(names)


def look(pictures: Tensor) -> Tensor:
    """Colours and layout of pictures (B, 3, H, W) in [0, 1], as (B, 112) of about unit size.

    A histogram of 4x4x4 colours, in square roots (Swain and Ballard 1991), and a thumbnail of 4x4 pixels. Using no
    network, it is cheap enough for serving, but knows nothing about food: among 8,000 photographs of 219 classes the
    nearest is of the same class for 4 in 100, six times as often as by chance. It does find copies.
    """
    small = F.adaptive_avg_pool2d(pictures, 64)
    bins = (small * 4).long().clamp(0, 3)
    codes = (bins[:, 0] * 16 + bins[:, 1] * 4 + bins[:, 2]).flatten(1)
    shares = torch.zeros(len(codes), 64).scatter_add_(1, codes, torch.full(codes.shape, 1 / codes.shape[1]))
    return torch.cat([shares.sqrt(), F.adaptive_avg_pool2d(small, 4).flatten(1) / 2], 1)


class Nearest(NamedTuple):
    """The nearest `names` with their cosine distances (0: the same, 1: nothing in common), and `novelty` in percent:
    the share of the index whose nearest neighbour is closer than the nearest of these is to the dish. `exists` if the
    exact name is in the index; it then comes first."""

    names: list[tuple[str, float]]
    novelty: int
    exists: bool = False


def _number(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        raise ValueError(f"its numbers are of the type {tensor.dtype}")
    return tensor.float()


@dataclass(frozen=True)
class _Space:
    """Unit vectors (N, D); the centre and the projection (E, D) that map E-dimensional values to them; and quantiles of
    the distances to their nearest neighbours. On disk vectors are int8, which changes distances by less than 0.001."""

    vectors: Tensor
    centre: Tensor
    projection: Tensor
    quantiles: Tensor

    @classmethod
    def build(cls, values: Tensor, centre: Tensor, dimensions: int) -> _Space:
        """Builds a space from values (N, E), reduced to their principal components about the centre (PCA)."""
        moved = values.float() - centre
        _, directions = torch.linalg.eigh(moved.T @ moved)
        projection = directions[:, -min(dimensions, values.shape[1]) :].half().float()
        vectors = F.normalize(_int8(moved @ projection).float(), dim=1)
        distances = []
        for start in range(0, len(vectors), 1024):
            part = vectors[start : start + 1024]
            cosines = part @ vectors.T
            cosines[torch.arange(len(part)), torch.arange(start, start + len(part))] = -1
            distances.append(1 - cosines.amax(1))
        quantiles = torch.quantile(torch.cat(distances), torch.linspace(0, 1, _QUANTILES))
        return cls(vectors, centre.half().float(), projection, quantiles)

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        return {
            f"{prefix}vectors": _int8(self.vectors),
            f"{prefix}centre": self.centre.half(),
            f"{prefix}projection": self.projection.half().contiguous(),
            f"{prefix}quantiles": self.quantiles,
        }

    @classmethod
    def read(cls, tensors: dict[str, Tensor], prefix: str = "") -> _Space:
        vectors, projection, quantiles, centre = (
            _number(tensors[prefix + part]) for part in ("vectors", "projection", "quantiles", "centre")
        )
        if (vectors.shape[-1:], centre.shape) != (projection.shape[1:], projection.shape[:1]):
            raise ValueError("its parts do not fit each other")
        if not all(part.isfinite().all() for part in (vectors, projection, quantiles, centre)):
            raise ValueError("it has numbers that are not finite")
        return cls(F.normalize(vectors, dim=1), centre, projection, quantiles)

    def nearest(self, value: Tensor, count: int) -> tuple[list[tuple[int, float]], int]:
        """Indices with distances, nearest first, and the novelty in percent."""
        vector = F.normalize((value.float() - self.centre) @ self.projection, dim=0)
        distances = (1 - self.vectors @ vector).clamp(0, 2)
        found = distances.topk(min(count, len(distances)), largest=False)
        below = int(torch.searchsorted(self.quantiles, found.values[0].contiguous()))
        places = [(int(k), round(float(d), 3)) for d, k in zip(found.values, found.indices, strict=True)]
        return places, min(below, 100)


class NamesIndex:
    """N names in the text encoder's space, and P photographs in that of looks, with the indices of their names, (L, P)
    int32: of each one's own name, and of its name in each other language if it has one."""

    def __init__(
        self, names: Sequence[str], words: _Space, photographs: tuple[_Space, Tensor] | None = None
    ) -> None:
        self.names = list(names)
        self._words, self._photographs = words, photographs
        self._places = {_key(name): k for k, name in reversed(list(enumerate(self.names)))}

    @classmethod
    def build(cls, names: Sequence[str], embeddings: Tensor, dimensions: int = NAME_DIMENSIONS) -> NamesIndex:
        """Builds an index from N distinct names and their text embeddings (N, E). N is at least 2."""
        if len(names) != len(embeddings) or len(names) < 2:
            raise ValueError(f"{len(names)} names with {len(embeddings)} embeddings: two or more of each are needed")
        return cls(names, _Space.build(embeddings, torch.zeros(embeddings.shape[1]), dimensions))

    def add_looks(self, looks: Tensor, own: Sequence[int], *translated: Sequence[int]) -> None:
        """Adds looks of photographs (P, 112), with the indices of each one's name and of its name in each of OTHERS; by
        default the name itself."""
        owners = torch.tensor([list(own), *map(list, translated or [own] * len(OTHERS))], dtype=torch.int32)
        self._photographs = _Space.build(looks, looks.mean(0), LOOK_DIMENSIONS), owners

    def save(self, folder: Path | str) -> None:
        """Writes `names-index.safetensors`. Raises CheckpointError if it would exceed MAX_BYTES."""
        path = weights_path(folder, FILE)
        text = zlib.compress("\n".join(self.names).encode(), 9)
        tensors = {"names": torch.frombuffer(bytearray(text), dtype=torch.uint8), **self._words.tensors()}
        if self._photographs:
            looks, owners = self._photographs
            tensors |= looks.tensors("look.") | {"look.owners": owners}
        data = safetensors.torch.save(tensors, {"format": "pt"})
        if len(data) > MAX_BYTES:
            raise CheckpointError(
                f"{path} would have {len(data) / 2**20:.1f} MiB, and may have {MAX_BYTES // 2**20}: leave names out"
            )
        write_file(path, data)

    @classmethod
    def load(cls, folder: Path | str, embedding_dim: int) -> NamesIndex | None:
        """Loads the folder's index; None if it has none. Raises CheckpointError if it is unusable."""
        path = weights_path(folder, FILE)
        if not path.exists():
            return None
        photographs = None
        try:
            tensors = safetensors.torch.load(read_file(path))
            names = _names(tensors["names"])
            words = _Space.read(tensors)
            if "look.owners" in tensors:
                looks, owners = _Space.read(tensors, "look."), tensors["look.owners"]
                known = bool(((owners >= 0) & (owners < len(names))).all())
                if owners.shape[1:] != (len(looks.vectors),) or not 0 < len(owners) <= len(LANGUAGES) or not known:
                    raise ValueError("its photographs have no names")
                # In a language that came after the index, photographs have the names that they had before.
                owners = torch.cat([owners, owners[:1].repeat(len(LANGUAGES) - len(owners), 1)])
                photographs = looks, owners
        except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError, IndexError, zlib.error) as error:
            raise CheckpointError(f"{path} is no index of names, or a damaged one: {error}") from error
        if (len(names), embedding_dim) != (len(words.vectors), len(words.centre)):
            raise CheckpointError(f"{path} does not fit the text encoder of this folder: make it again")
        return cls(names, words, photographs)

    def nearest(self, embedding: Tensor, name: str = "", count: int = SHOWN) -> Nearest:
        """The names nearest to an embedding (E). If `name` itself is in the index, its novelty is 0."""
        places, novelty = self._words.nearest(embedding, count)
        own = self._places.get(_key(name))
        if own is None:
            return Nearest([(self.names[k], distance) for k, distance in places], novelty)
        others = [(self.names[k], distance) for k, distance in places if k != own]
        return Nearest([(self.names[own], 0.0), *others][:count], 0, exists=True)

    def alike(
        self, picture: np.ndarray[Any, Any], count: int = SHOWN, *, language: Language = DEFAULT
    ) -> Nearest | None:
        """The names of the photographs whose colours and layout are nearest to those of a picture (H, W, 3) uint8. Each
        name is listed once, in a language if known; None if the index has no photographs."""
        if self._photographs is None:
            return None
        looks, owners = self._photographs
        (value,) = look(_pictures(picture[None]))
        places, novelty = looks.nearest(value, 16 * count)
        names: dict[str, float] = {}
        own = owners[(DEFAULT, *OTHERS).index(language)]
        for photo, distance in places:
            names.setdefault(self.names[own[photo]], distance)
        return Nearest(list(names.items())[:count], novelty)


def _key(name: str) -> str:
    """The form in which names are compared for equality."""
    return unicodedata.normalize("NFKC", name).casefold()


def _one_line(name: str) -> str:
    return " ".join(name.split())


def _pictures(images: np.ndarray[Any, Any]) -> Tensor:
    return torch.tensor(np.asarray(images)).permute(0, 3, 1, 2).float() / 255


def _int8(vectors: Tensor) -> Tensor:
    """Quantizes vectors. Only directions matter, so each row is scaled to the full range."""
    return (127 * vectors / vectors.abs().amax(1, keepdim=True).clamp_min(1e-12)).round().to(torch.int8)


def _names(stored: Tensor) -> list[str]:
    inflate = zlib.decompressobj()
    data = inflate.decompress(stored.numpy().tobytes(), 8 * MAX_BYTES)  # so that a small file cannot fill the memory
    return data.decode("utf-8").split("\n")
