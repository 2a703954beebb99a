"""Computes all metrics of a text encoder, and of its teacher, on the validation rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.checkpoint import TOKENIZER, load_network, read_config
from model.data.name_pairs import Pair, class_names, held_out, key, read_names, rows_in
from model.data.photos import Photos, default_cache
from model.features import text_teacher
from model.features.backbone import TRAINING, Backbone
from model.features.matching import RESOLUTION, MatchingHead, fit, image_features, load_photos
from model.features.retrieval import Embed, recall_among, retrieval
from model.languages import DEFAULT, LANGUAGES, OTHERS, Language
from model.text_encoder import TextEncoder, Tokenizer, embed

WHITENINGS = ((256, 1.0), (384, 0.3), (384, 1.0), (384, 10.0), (384, 1e6))  # dimensions, shrinkage

CHECKS = (
    # name, a name it should lie by, a name it should lie farther from
    ("tomato ramen", "トマトラーメン", "matcha ramen"),
    ("matcha ramen", "抹茶ラーメン", "tomato ramen"),
    ("beetroot soup", "ビーツのスープ", "pea soup"),
    ("pea soup", "えんどう豆のスープ", "beetroot soup"),
    ("ピリ辛サーモンパフェ", "spicy salmon parfait", "spicy salmon"),
    ("ピリ辛サーモンパフェ", "spicy salmon parfait", "strawberry parfait"),
    ("ピリ辛サーモン丼", "spicy salmon rice bowl", "spicy tuna rice bowl"),
    ("smoky beetroot ramen", "燻製ビーツのラーメン", "smoky pork ramen"),
    ("smoky eggplant parfait", "燻製なすのパフェ", "smoky eggplant dip"),
    ("blueberry pizza", "ブルーベリーピザ", "blueberry pancakes"),
    ("squid ink curry", "イカ墨カレー", "green curry"),
    ("green curry cake", "グリーンカレーケーキ", "green curry"),
)


@dataclass(frozen=True)
class RetrievalRow:
    """One line of the table: shares in [0, 1]."""

    who: str
    translation: dict[str, float]
    """From a language to another ("ja→en")."""
    photographs: dict[Language, tuple[float, float]]
    """By the language of the names, where there are any; with the spread."""


def measure(
    who: str, embedder: Embed, pairs: Sequence[Pair], photos: Photos, images: Tensor, to_images: Embed
) -> RetrievalRow:
    """The metrics of one embedder; `to_images` embeds names in the space of `images`, (N, E) of the photos."""
    translation: dict[str, float] = {}
    for language in OTHERS:
        own = [pair for pair in pairs if pair.language == language]
        back, forth = retrieval(embedder, own) if own else (float("nan"), float("nan"))
        translation |= {f"{language}→{DEFAULT}": back, f"{DEFAULT}→{language}": forth}
    found: dict[Language, tuple[float, float]] = {}
    for language in LANGUAGES:
        names = photos.names_in(language)
        if rows := rows_in(photos, language):
            text = to_images([names[i] or "" for i in rows])
            found[language] = recall_among(text, images[rows], [photos.names[i] for i in rows])
    return RetrievalRow(who, translation, found)


def measure_student(
    checkpoint: Path, pairs: Sequence[Pair], photos: Photos, cache: Path | None
) -> tuple[RetrievalRow, Embed]:
    """The metrics of a checkpoint's encoder, with the matching head that was trained with it."""
    encoder, tokenizer = load_encoder(checkpoint)
    resolution = read_config(checkpoint).get("features", {}).get("matching", {}).get("resolution", RESOLUTION)
    head = load_network(checkpoint, "matching", MatchingHead).eval()
    with torch.inference_mode():
        features = image_features(photos, Backbone(TRAINING, resolution=resolution), cache or default_cache())
        images = head(torch.from_numpy(features))

    def embedder(names: Sequence[str]) -> Tensor:
        return embed(encoder, tokenizer, names)

    return measure("student", embedder, pairs, photos, images, embedder), embedder


def load_encoder(checkpoint: Path) -> tuple[TextEncoder, Tokenizer]:
    """Loads a checkpoint's encoder, in eval mode, and its tokenizer."""
    return load_network(checkpoint, "text", TextEncoder).eval(), Tokenizer.load(checkpoint / TOKENIZER)


def measure_teacher(
    data: Path, store: Path, pairs: Sequence[Pair], photos: Photos, cache: Path | None, steps: int, seed: int
) -> list[RetrievalRow]:
    """The teacher's metrics: for each whitening, and for the alignment that the student learns from.

    Everything is fit on training names and training photographs only.
    """
    train = load_photos(data, "train", cache)
    backbone = Backbone(TRAINING, resolution=RESOLUTION)
    features = torch.from_numpy(image_features(train, backbone, cache or default_cache()))
    validation = torch.from_numpy(image_features(photos, backbone, cache or default_cache()))
    forbidden = held_out(pairs, photos, class_names(train))
    known = [p for p in read_names(data, "train") if not forbidden & {*map(key, p.names)}]
    names = list(dict.fromkeys([*train.names, *(n for p in known for n in p.names)]))
    names = [name for name in names if key(name) not in forbidden]
    raw = text_teacher.vectors(names, store)

    def whitened(dimensions: int, shrinkage: float) -> Embed:
        whitening = text_teacher.Whitening.fit(names, raw, dimensions, shrinkage)
        return lambda wanted: torch.from_numpy(whitening(wanted, text_teacher.vectors(wanted, store)))

    def matched(who: str, embedder: Embed) -> RetrievalRow:
        texts = []
        for listed in map(train.names_in, LANGUAGES):
            texts.append(embedder([name or "-" for name in listed]))
            texts[-1][[name is None for name in listed]] = torch.nan
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            linear = nn.Linear(texts[0].shape[1], 256)
        head = fit(features, torch.stack(texts, 1), train.names, steps, seed, text_head=linear)
        with torch.inference_mode():
            images = head(validation)
            return measure(who, embedder, pairs, photos, images, lambda wanted: linear(embedder(wanted)))

    rows = [
        matched(f"teacher, {dimensions} dimensions, shrinkage {shrinkage:g}", whitened(dimensions, shrinkage))
        for dimensions, shrinkage in WHITENINGS
    ]
    if known:
        white = whitened(text_teacher.DIMENSIONS, 1.0)
        translated = white([pair.translations[0] for pair in known])
        matrix = text_teacher.align(white([pair.name for pair in known]), translated, seed=seed)
        rows.append(matched("teacher, aligned on the pairs", lambda wanted: F.normalize(white(wanted) @ matrix, dim=1)))
    return rows


def best_of(rows: Sequence[RetrievalRow]) -> RetrievalRow:
    """The best value of each column over the teacher's whitenings: the target for the student.

    The aligned teacher is excluded, since it has learned from the same pairs as the student.
    """
    return RetrievalRow(
        "teacher, the best whitening of each",
        {way: max(row.translation[way] for row in rows) for way in rows[0].translation},
        {language: max(row.photographs[language] for row in rows) for language in rows[0].photographs},
    )


def table(rows: Sequence[RetrievalRow]) -> str:
    """Formats the rows as text, in per cent."""
    width = max(len(row.who) for row in rows)
    ways = "".join(f"  {way}" for way in rows[0].translation)
    languages = "".join(f"  {LANGUAGES[language].name:>12}" for language in rows[0].photographs)
    lines = [f"{'':{width}}{ways}  name→photo:{languages}"]
    for row in rows:
        shares = "".join(f"  {100 * share:5.1f}" for share in row.translation.values())
        found = "".join(f"  {100 * share:6.1f} ± {100 * sigma:3.1f}" for share, sigma in row.photographs.values())
        lines.append(f"{row.who:{width}}{shares}{'':13}{found}")
    return "\n".join(lines)


def checks(embedder: Embed) -> str:
    """For some made-up names: the cosine with a name that they should be close to, and with one that they should
    not."""
    lines = []
    for name, near, far in CHECKS:
        a, b, c = F.normalize(embedder([name, near, far]), dim=1)
        lines.append(f"{'ok' if a @ b > a @ c else '--'}  {name}: {near} {a @ b:.2f}, {far} {a @ c:.2f}")
    return "\n".join(lines)
