"""Names of one dish in two languages, and the names that no training text may contain."""

from __future__ import annotations

import csv
import random
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from model.checkpoint import write_file
from model.data.layouts import DataError
from model.data.photos import Photos
from model.words import compose

WORDS = Path(__file__).parents[1] / "words.tsv"


@dataclass(frozen=True)
class Pair:
    """The names of one dish."""

    en: str
    ja: tuple[str, ...]
    """Variants, the commonest first."""


def read_pairs(table: Path, split: str | None = None) -> list[Pair]:
    """Pairs of a tab-separated table with columns `en`, `ja` (variants joined by a bar) and perhaps `split`.

    Raises:
        DataError: the table cannot be read or lacks a column.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{table}: the table of names cannot be read: {error}") from error
    if rows and not {"en", "ja", *(["split"] if split else [])} <= rows[0].keys():
        raise DataError(f"{table}: expected the columns en, ja and split, found {', '.join(rows[0])}")
    kept = (row for row in rows if split is None or row["split"] == split)
    return [Pair(row["en"], tuple(filter(None, row["ja"].split("|")))) for row in kept if row["en"] and row["ja"]]


def composed_pairs(table: Path, count: int, seed: int = 0) -> list[Pair]:
    """`count` names of dishes that nobody cooked, from `model.words.compose`, kept in `table`.

    They stand beside the teacher's vectors, since those are what is costly: once written, the table is read.
    """
    if not table.exists():
        rng = random.Random(seed)
        names: dict[str, str] = {}
        while len(names) < count:
            en, ja = compose(rng)
            names.setdefault(en, ja)
        lines = ["en\tja", *(f"{en}\t{ja}" for en, ja in names.items())]
        write_file(table, ("\n".join(lines) + "\n").encode())
    return read_pairs(table)[:count]


def key(name: str) -> str:
    """What two spellings of one name have in common."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def held_out(pairs: Iterable[Pair], photos: Photos | None, classes: Collection[str] = ()) -> set[str]:
    """Keys of the names that no training text may contain.

    Args:
        pairs: those of the validation split.
        photos: of the validation split; their class names, which training has too, are not held out.
        classes: further names that training may have, as those of the training photos' classes.
    """
    free = set(map(key, classes))
    names = {key(name) for pair in pairs for name in (pair.en, *pair.ja)}
    if photos is not None:
        for en, ja, kind in zip(photos.names, photos.names_ja, photos.kinds, strict=True):
            if kind == "class":
                free |= {key(en), key(ja or en)}
            else:
                names |= {key(en), key(ja or en)}
    return names - free


def japanese_rows(photos: Photos) -> list[int]:
    """The photos that have a name in either language."""
    return [i for i, name in enumerate(photos.names_ja) if name]


def class_names(photos: Photos) -> set[str]:
    """The names of the photos' classes, in both languages."""
    rows = zip(photos.names, photos.names_ja, photos.kinds, strict=True)
    return {name for en, ja, kind in rows if kind == "class" for name in (en, ja) if name}


def read_names(data: Path, split: str) -> list[Pair]:
    """The pairs of names.tsv beside the photographs; none where there is no such table."""
    table = (data if data.is_dir() else data.parent) / "names.tsv"
    return read_pairs(table, split) if table.exists() else []
