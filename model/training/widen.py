"""Widening a trained generator without changing its pictures (Net2WiderNet, Chen et al. 2016).

A checkpoint that two cores have trained is narrow at high resolution, where width costs time. On a GPU training goes on
wider: what the network had keeps its weights, and what is new is not listened to until training lets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from model.generators import GROUP, Stage1Generator, Stage2Generator

Generator = TypeVar("Generator", Stage1Generator, Stage2Generator)


@torch.no_grad()
def widen(narrow: Generator, channels: Sequence[int]) -> Generator:
    """A generator of the same pictures that has at least so many channels at each resolution.

    Old channels hear old channels only; new ones hear everything, with the weights of a network from nothing. Raises
    ValueError where a width that grows is no multiple of 16: the groups that are normalised together would be torn;
    and where neighbours that were equally wide would not be any more, or the other way round: only those that differ
    have a convolution between them to skip a block by.
    """
    now = narrow.config["channels"]
    widths = [max(pair) for pair in zip(now, channels, strict=True)]
    if widths == now:
        return narrow
    if torn := [a for a, b in zip(now, widths, strict=True) if a < b and (a % GROUP or b % GROUP)]:
        raise ValueError(f"{torn[0]} channels cannot grow: only multiples of {GROUP} can, to multiples of {GROUP}")
    wide = type(narrow)(**{**narrow.config, "channels": widths})
    old, new = narrow.state_dict(), wide.state_dict()
    if old.keys() != new.keys():
        raise ValueError(f"{now} cannot grow to {widths}: neighbours stay equally wide, or unequally")
    parts = narrow.axis_parts()
    for name, tensor in old.items():
        grown, (rows, columns) = new[name], parts.get(name, (1, 1))
        own = _places(tensor.shape[0], grown.shape[0], rows)
        if tensor.dim() == 1:
            grown[own] = tensor
            continue
        heard = _places(tensor.shape[1], grown.shape[1], columns)
        grown[own] = 0.0
        grown[own[:, None], heard] = tensor
    return wide


def _places(old: int, new: int, parts: int) -> Tensor:
    """Where among `new` rows or columns the old ones stand: each of the equal parts grows at its own end."""
    before, after = old // parts, new // parts
    return torch.cat([torch.arange(before) + part * after for part in range(parts)])
