"""Grows a trained generator without changing its pictures (Net2WiderNet, Chen et al. 2016).

A checkpoint trained on two cores is narrow at high resolution, where width costs time. Training continues wider on a
GPU: existing channels keep their weights, and new ones have no effect until they are trained. Neither have the spatial
forms that a checkpoint of an earlier version is given.
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
    """Returns a generator of the same pictures with at least this many channels at each resolution.

    Old channels take input from old channels only; new ones from all, with freshly initialized weights. Raises
    ValueError if a growing width is not a multiple of 16, which would split normalization groups, or if neighbouring
    widths would go from equal to different or vice versa, since only blocks between different widths have a convolution
    in their skip connection.
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


def add_forms(generator: Stage1Generator, forms: int) -> Stage1Generator:
    """Returns a generator of the same pictures with this many `SpatialForms` before every block; the same generator if
    it has some."""
    if not forms or "forms" in generator.config:
        return generator
    grown = Stage1Generator(**{**generator.config, "forms": forms})
    grown.load_state_dict({**grown.state_dict(), **generator.state_dict()})
    return grown


def _places(old: int, new: int, parts: int) -> Tensor:
    """The indices of the old rows or columns among the `new` ones: each of the equal parts grows at its own end."""
    before, after = old // parts, new // parts
    return torch.cat([torch.arange(before) + part * after for part in range(parts)])
