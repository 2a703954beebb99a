"""Encodes a dish's name into the embedding that conditions the generators.

`Tokenizer` splits a name into sentencepiece ids (unigram, Japanese and English, with byte fallback, so every string can
be encoded) and `TextEncoder`, a small pre-norm transformer, turns them into one vector. `model/training/text_stage.py`
trains it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import sentencepiece
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_TOKENS = 48
PAD = 0
_READABLE = ("Lu", "Ll", "Lt", "Lm", "Lo", "So")  # Unicode's letters and its symbols that are neither signs nor money


class NameTokenizer(Protocol):
    """The interface of a `Pipeline`'s tokenizer; see `Tokenizer` for what each method returns."""

    def encode(self, text: str) -> list[int]: ...
    def pieces(self, text: str) -> list[str]: ...
    def truncated(self, text: str) -> bool: ...
    def unknown(self, text: str) -> list[str]: ...


class NameEncoder(nn.Module):
    """The interface of a `Pipeline`'s text encoder: ids (B, T) int64, padded with 0 on the right -> embeddings (B, E)
    float32 of norm sqrt(E)."""

    embedding_dim: int


class Tokenizer:
    """Splits names into the pieces of a sentencepiece model, where id 0 is padding."""

    def __init__(self, processor: sentencepiece.SentencePieceProcessor) -> None:
        self._processor = processor

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer:
        """Reads a sentencepiece `.model` file.

        Raises:
            ValueError: the file is missing or damaged, or its padding is not id 0.
        """
        try:
            processor = sentencepiece.SentencePieceProcessor(model_proto=Path(path).read_bytes())
        except OSError as error:
            raise ValueError(f"{path}: the tokenizer cannot be read: {error.strerror}") from error
        except RuntimeError as error:
            raise ValueError(f"{path}: not a sentencepiece model, or a damaged one") from error
        if processor.pad_id() != PAD:
            raise ValueError(f"{path}: a sentencepiece model whose padding is id {processor.pad_id()}, not {PAD}")
        return cls(processor)

    def __len__(self) -> int:
        """The number of ids."""
        return int(self._processor.get_piece_size())

    def encode(self, text: str) -> list[int]:
        """The ids of a name, at most MAX_TOKENS, without padding; none for an empty name."""
        ids: list[int] = self._processor.encode(text)
        return ids[:MAX_TOKENS]

    def sample(self, text: str, alpha: float = 0.2) -> list[int]:
        """Like `encode`, with a randomly sampled segmentation (subword regularization, Kudo 2018), for training.

        `alpha` is the inverse temperature: 0 samples uniformly, a large value always gives the likeliest segmentation.
        """
        ids: list[int] = self._processor.encode(text, enable_sampling=True, alpha=alpha, nbest_size=-1)
        return ids[:MAX_TOKENS]

    @staticmethod
    def seed_samples(seed: int) -> None:
        """Seeds `sample`. Only affects threads that have not sampled yet, since each keeps its generator."""
        sentencepiece.set_random_generator_seed(seed)

    def pieces(self, text: str) -> list[str]:
        """The pieces behind the ids of `encode`, as text; "▁" stands for a space."""
        pieces: list[str] = self._processor.encode(text, out_type=str)
        return pieces[:MAX_TOKENS]

    def truncated(self, text: str) -> bool:
        """Returns whether the name has more than MAX_TOKENS pieces, so that its end is ignored."""
        return len(self._processor.encode(text)) > MAX_TOKENS

    def unknown(self, text: str) -> list[str]:
        """The distinct letters and symbols of a name that have no piece and are read as bytes, such as Korean or
        emoji."""
        if not any(map(self._processor.is_byte, self._processor.encode(text))):
            return []
        seen = (c for c in dict.fromkeys(text) if unicodedata.category(c) in _READABLE)
        return [c for c in seen if any(map(self._processor.is_byte, self._processor.encode(c)))]


def pad(ids: Sequence[Sequence[int]]) -> Tensor:
    """Sequences of ids as one (B, T) int64 tensor, padded with 0 on the right; T is at least 1."""
    length = max([1, *map(len, ids)])
    return torch.tensor([[*row, *[PAD] * (length - len(row))] for row in ids], dtype=torch.int64).view(-1, length)


class TextEncoder(NameEncoder):
    """A name's ids → its embedding.

    Consists of piece embeddings narrower than the network (as in ALBERT, Lan et al. 2020; otherwise most parameters
    would be in that table), learned positions, `layers` pre-norm transformer blocks and attention pooling. A learned
    token is prepended, so that an empty name has an embedding too.

    Args:
        vocabulary: number of ids.
        width: channels of the transformer; a multiple of `heads`.
        piece_width: channels of the table of pieces.
        layers, heads, hidden: blocks, attention heads, and channels of a block's inner layer.
        embedding_dim: E.
        dropout: after the table, in attention and in the inner layers; during training only.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int = 256,
        piece_width: int = 192,
        layers: int = 4,
        heads: int = 4,
        hidden: int = 768,
        embedding_dim: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "vocabulary": vocabulary,
            "width": width,
            "piece_width": piece_width,
            "layers": layers,
            "heads": heads,
            "hidden": hidden,
            "embedding_dim": embedding_dim,
            "dropout": dropout,
        }
        self.embedding_dim = embedding_dim
        self.table = nn.Embedding(vocabulary, piece_width, padding_idx=PAD)
        self.widen = nn.Linear(piece_width, width)
        self.first = nn.Parameter(torch.randn(width) * 0.02)
        self.positions = nn.Parameter(torch.randn(MAX_TOKENS + 1, width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, hidden, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.attention = nn.Linear(width, heads)
        self.out = nn.Linear(width, embedding_dim)
        nn.init.normal_(self.table.weight, std=0.5)
        with torch.no_grad():
            self.table.weight[PAD].zero_()

    def forward(self, tokens: Tensor) -> Tensor:
        """Embeds names.

        Args:
            tokens: (B, T) int64, padded with 0 on the right, T at most MAX_TOKENS.

        Returns:
            (B, E) float32 of L2 norm sqrt(E), so that a component has about unit size.
        """
        seen = F.pad(tokens != PAD, (1, 0), value=True)
        x = self.widen(self.table(tokens))
        x = torch.cat([self.first.expand(len(x), 1, -1).to(x.dtype), x], 1)
        x = self.dropout(x + self.positions[: x.shape[1]])
        for block in self.blocks:
            x = block(x, seen)
        x = self.norm(x)
        weights = self.attention(x).float().masked_fill(~seen[..., None], -torch.inf).softmax(1)  # (B, T, heads)
        parts = x.float().unflatten(2, (weights.shape[2], -1))
        pooled = (weights[..., None] * parts).sum(1).flatten(1)
        embedding: Tensor = F.normalize(self.out(pooled).float(), dim=1) * self.embedding_dim**0.5
        return embedding


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and a GELU layer, each with a residual connection (Xiong et al. 2020)."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """x (B, T, width), seen (B, T) bool, False at padding → (B, T, width)."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # Written out: on a CPU, the fused attention's backward pass takes several times as long for short names.
        scores = (q @ k.transpose(2, 3)).float() * q.shape[3] ** -0.5
        weights = scores.masked_fill(~seen[:, None, None], -torch.inf).softmax(3)
        mixed = weights.to(v.dtype) @ v
        x = x + self.dropout(self.merge(mixed.transpose(1, 2).flatten(2)))
        y: Tensor = x + self.dropout(self.outer(F.gelu(self.inner(self.norm2(x)))))
        return y


@torch.no_grad()  # and not inference mode: the generators are trained with these
def embed(encoder: NameEncoder, tokenizer: NameTokenizer, names: Sequence[str], batch: int = 256) -> Tensor:
    """Embeds names: (N, E) float32, on the CPU. The encoder's train or eval mode is left as it is."""
    device = next(encoder.parameters()).device
    ids = [tokenizer.encode(name) for name in names]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # so that little is padding
    out = torch.empty(len(ids), encoder.embedding_dim)
    for i in range(0, len(order), batch):
        rows = order[i : i + batch]
        out[rows] = encoder(pad([ids[row] for row in rows]).to(device)).float().cpu()
    return out
