"""Embeds names with the text encoder of a checkpoint folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from model import text_encoder
from model.checkpoint import TOKENIZER, load_network, read_config
from model.features.text_teacher import ByteTokenizer, TeacherEncoder
from model.text_encoder import NameEncoder, NameTokenizer, TextEncoder, Tokenizer


def embed(names: Sequence[str], checkpoint: Path, device: torch.device) -> Tensor:
    """Embeds names, (N, E) float32, with the text encoder of a checkpoint folder."""
    tokenizer, encoder = reader(checkpoint)
    return text_encoder.embed(encoder.to(device).eval(), tokenizer, names).to(device)


def reader(checkpoint: Path) -> tuple[NameTokenizer, NameEncoder]:
    """Loads the text encoder of a checkpoint folder, which may be the teacher itself. Raises ValueError, naming the
    file, if it cannot be read."""
    if "store" in read_config(checkpoint).get("text", {}):
        return ByteTokenizer(), load_network(checkpoint, "text", TeacherEncoder)
    return Tokenizer.load(checkpoint / TOKENIZER), load_network(checkpoint, "text", TextEncoder)
