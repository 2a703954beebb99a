"""The text encoder's figures: `python -m model.evaluate_text --checkpoint C --data PATH`.

On the validation rows, which no training text contains: does a Japanese name find its English one and the
other way round, and does a name find its photograph among 100? Beside the student stands the teacher, in the
best of several whitenings and, for photographs, through a linear head trained on the same image features.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import teacher
from model.backbone import Backbone
from model.checkpoint import TOKENIZER, load_network, read_config
from model.commands import plainly
from model.data.photos import DataError, Photos, default_cache, load
from model.matching import MatchingHead, fit, image_features
from model.pairs import Pair, held_out, key, read_pairs
from model.text import TextEncoder, Tokenizer, embed

AMONG = 100
DRAWS = 200
RESOLUTION = 160  # of the photographs whose features the names are matched with
MIN_PIXELS = 128  # smaller photos are the discriminator's business
WHITENINGS = ((256, 1.0), (384, 0.3), (384, 1.0), (384, 10.0), (384, 1e6))  # dimensions, shrinkage

Embed = Callable[[Sequence[str]], Tensor]

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


def recall(queries: Tensor, answers: Tensor, names: Sequence[str]) -> float:
    """R@1: the share of queries (N, E) whose nearest answer (N, E), by cosine, has the name of its own row."""
    nearest = (F.normalize(queries, dim=1) @ F.normalize(answers, dim=1).T).argmax(1)
    return float(np.mean([names[i] == names[j] for i, j in enumerate(nearest.tolist())]))


def recall_among(
    text: Tensor, images: Tensor, names: Sequence[str], among: int = AMONG, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """R@1 of names among `among` photos of as many different names: mean and spread (one sigma) over draws.

    Args:
        text, images: (N, E); row i of both belongs to `names[i]`.
    """
    rng = np.random.default_rng(seed)
    scores = F.normalize(text, dim=1) @ F.normalize(images, dim=1).T
    by_name: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        by_name.setdefault(name, []).append(i)
    photos = list(by_name.values())
    among = min(among, len(photos))
    found = []
    for _ in range(draws):
        rows = torch.tensor([rng.choice(photos[k]) for k in rng.choice(len(photos), among, replace=False)])
        found.append((scores[rows][:, rows].argmax(1) == torch.arange(among)).float().mean())
    return float(torch.stack(found).mean()), float(torch.stack(found).std())


def retrieval(embedder: Embed, pairs: Sequence[Pair]) -> tuple[float, float]:
    """R@1 of Japanese names among the English ones and of English names among the Japanese ones."""
    english = embedder([pair.en for pair in pairs])
    japanese = embedder([pair.ja[0] for pair in pairs])
    return (
        recall(japanese, english, [pair.en for pair in pairs]),
        recall(english, japanese, [pair.ja[0] for pair in pairs]),
    )


def japanese_rows(photos: Photos) -> list[int]:
    """The photos that have a name in either language."""
    return [i for i, name in enumerate(photos.names_ja) if name]


@dataclass(frozen=True)
class Row:
    """One line of the table: shares in [0, 1], and the spreads of the last two."""

    who: str
    ja_en: float
    en_ja: float
    photo_en: tuple[float, float]
    photo_ja: tuple[float, float]


def measure(
    who: str, embedder: Embed, pairs: Sequence[Pair], photos: Photos, images: Tensor, to_images: Embed
) -> Row:
    """The figures of one embedder; `to_images` embeds names where it meets `images`, (N, E) of the photos."""
    rows = japanese_rows(photos)
    return Row(
        who,
        *(retrieval(embedder, pairs) if pairs else (float("nan"), float("nan"))),
        recall_among(to_images(photos.names), images, photos.names),
        recall_among(
            to_images([photos.names_ja[i] or "" for i in rows]), images[rows], [photos.names[i] for i in rows]
        ),
    )


def measure_student(checkpoint: Path, pairs: Sequence[Pair], photos: Photos, cache: Path | None) -> tuple[Row, Embed]:
    """The figures of a checkpoint's encoder, with the matching head that was trained with it."""
    encoder, tokenizer = load_encoder(checkpoint)
    resolution = read_config(checkpoint).get("features", {}).get("matching", {}).get("resolution", RESOLUTION)
    head = load_network(checkpoint, "matching", MatchingHead).eval()
    with torch.inference_mode():
        features = image_features(photos, Backbone("lite0", resolution=resolution), cache or default_cache())
        images = head(torch.from_numpy(features))

    def embedder(names: Sequence[str]) -> Tensor:
        return embed(encoder, tokenizer, names)

    return measure("student", embedder, pairs, photos, images, embedder), embedder


def load_encoder(checkpoint: Path) -> tuple[TextEncoder, Tokenizer]:
    """A checkpoint's encoder, in eval mode, and its tokenizer."""
    return load_network(checkpoint, "text", TextEncoder).eval(), Tokenizer.load(checkpoint / TOKENIZER)


def measure_teacher(
    data: Path, store: Path, pairs: Sequence[Pair], photos: Photos, cache: Path | None, steps: int, seed: int
) -> list[Row]:
    """The teacher's figures: each whitening, and the alignment that the student learns from.

    All of it is fit on training names and training photographs alone.
    """
    train = load_photos(data, "train", cache)
    backbone = Backbone("lite0", resolution=RESOLUTION)
    features = torch.from_numpy(image_features(train, backbone, cache or default_cache()))
    validation = torch.from_numpy(image_features(photos, backbone, cache or default_cache()))
    forbidden = held_out(pairs, photos, class_names(train))
    known = [p for p in read_names(data, "train") if not forbidden & {key(p.en), *map(key, p.ja)}]
    names = list(dict.fromkeys([*train.names, *(n for p in known for n in (p.en, *p.ja))]))
    names = [name for name in names if key(name) not in forbidden]
    raw = teacher.vectors(names, store)

    def whitened(dimensions: int, shrinkage: float) -> Embed:
        whitening = teacher.Whitening.fit(names, raw, dimensions, shrinkage)
        return lambda wanted: torch.from_numpy(whitening(wanted, teacher.vectors(wanted, store)))

    def matched(who: str, embedder: Embed) -> Row:
        english, japanese = embedder(train.names), embedder([name or "-" for name in train.names_ja])
        japanese[[name is None for name in train.names_ja]] = torch.nan
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            linear = nn.Linear(english.shape[1], 256)
        head = fit(features, torch.stack([english, japanese], 1), train.names, steps, seed, text_head=linear)
        with torch.inference_mode():
            images = head(validation)
            return measure(who, embedder, pairs, photos, images, lambda wanted: linear(embedder(wanted)))

    rows = [
        matched(f"teacher, {dimensions} dimensions, shrinkage {shrinkage:g}", whitened(dimensions, shrinkage))
        for dimensions, shrinkage in WHITENINGS
    ]
    if known:
        white = whitened(teacher.DIMENSIONS, 1.0)
        matrix = teacher.align(white([p.en for p in known]), white([p.ja[0] for p in known]), seed=seed)
        rows.append(matched("teacher, aligned on the pairs", lambda wanted: F.normalize(white(wanted) @ matrix, dim=1)))
    return rows


def best_of(rows: Sequence[Row]) -> Row:
    """The best figure of each column over the teacher's whitenings: what the student has to reach.

    The aligned teacher stands apart: it has learned from the same pairs as the student.
    """
    return Row(
        "teacher, the best whitening of each",
        max(row.ja_en for row in rows),
        max(row.en_ja for row in rows),
        max(row.photo_en for row in rows),
        max(row.photo_ja for row in rows),
    )


def load_photos(data: Path, split: str, cache: Path | None) -> Photos:
    """Photographs for matching: those of at least MIN_PIXELS, or all where none is so large."""
    try:
        return load(data, RESOLUTION, split, cache, min_pixels=MIN_PIXELS)
    except DataError:
        return load(data, RESOLUTION, split, cache)


def class_names(photos: Photos) -> set[str]:
    """The names of the photos' classes, in both languages."""
    rows = zip(photos.names, photos.names_ja, photos.kinds, strict=True)
    return {name for en, ja, kind in rows if kind == "class" for name in (en, ja) if name}


def read_names(data: Path, split: str) -> list[Pair]:
    """The pairs of names.tsv beside the photographs; none where there is no such table."""
    table = (data if data.is_dir() else data.parent) / "names.tsv"
    return read_pairs(table, split) if table.exists() else []


def table(rows: Sequence[Row]) -> str:
    """The rows as text, in per cent."""
    width = max(len(row.who) for row in rows)
    lines = [f"{'':{width}}  ja→en  en→ja  name→photo, English  Japanese"]
    for row in rows:
        (en, en_spread), (ja, ja_spread) = row.photo_en, row.photo_ja
        lines.append(
            f"{row.who:{width}}  {100 * row.ja_en:5.1f}  {100 * row.en_ja:5.1f}"
            f"  {100 * en:8.1f} ± {100 * en_spread:3.1f}      {100 * ja:5.1f} ± {100 * ja_spread:3.1f}"
        )
    return "\n".join(lines)


def checks(embedder: Embed) -> str:
    """For some made-up names: the cosine with the name they should lie by, and with one they should not."""
    lines = []
    for name, near, far in CHECKS:
        a, b, c = F.normalize(embedder([name, near, far]), dim=1)
        lines.append(f"{'ok' if a @ b > a @ c else '--'}  {name}: {near} {a @ b:.2f}, {far} {a @ c:.2f}")
    return "\n".join(lines)


@click.command(context_settings={"show_default": True})
@click.option("--checkpoint", type=click.Path(path_type=Path), required=True, help="Folder with the encoder.")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Photographs, names.tsv beside them.")
@click.option("--teacher", "store", type=click.Path(path_type=Path), help="Folder of the teacher's vectors; "
              "without it only the student is measured.")
@click.option("--cache", type=click.Path(path_type=Path), help="Of photographs and image features.")
@click.option("--steps", type=click.IntRange(min=1), default=1000, help="Of each of the teacher's matching heads.")
@click.option("--seed", type=int, default=0, help="Of the teacher's heads.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Also write the figures here.")
def main(
    checkpoint: Path, data: Path, store: Path | None, cache: Path | None, steps: int, seed: int,
    json_path: Path | None,
) -> None:
    """Measures a text encoder beside its teacher, on the validation rows."""
    with plainly(data):
        pairs = read_names(data, "validation")
        photos = load_photos(data, "validation", cache)
        student, embedder = measure_student(checkpoint, pairs, photos, cache)
        rows = measure_teacher(data, store, pairs, photos, cache, steps, seed) if store else []
    rows = [student, *([best_of(rows[: len(WHITENINGS)]), *rows] if rows else [])]
    click.echo(f"R@1 in per cent: {len(pairs)} pairs of names; {AMONG} of {len(photos)} photographs, ± one sigma of")
    click.echo(f"{DRAWS} draws. {len(japanese_rows(photos))} photographs have Japanese names.\n")
    click.echo(table(rows))
    click.echo("\nMade-up names\n" + checks(embedder))
    if json_path:
        json_path.write_text(json.dumps([asdict(row) for row in rows], indent=2), "utf-8")


if __name__ == "__main__":
    main()
