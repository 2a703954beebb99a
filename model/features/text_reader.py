"""From names to embeddings, by what reads names in a checkpoint folder."""

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
    """Embeddings (N, E) float32 of names, by the text encoder of a checkpoint folder."""
    tokenizer, encoder = reader(checkpoint)
    return text_encoder.embed(encoder.to(device).eval(), tokenizer, names).to(device)


def reader(checkpoint: Path) -> tuple[NameTokenizer, NameEncoder]:
    """What reads names for a checkpoint folder: its text encoder, or the teacher itself. Raises ValueError, naming the
    file, where it cannot be read."""
    if "store" in read_config(checkpoint).get("text", {}):
        return ByteTokenizer(), load_network(checkpoint, "text", TeacherEncoder)
    return Tokenizer.load(checkpoint / TOKENIZER), load_network(checkpoint, "text", TextEncoder)
