"""Names of one dish in two languages, and the names that no training text may contain."""

from __future__ import annotations

import csv
import random
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from model.checkpoint import write_file
from model.data.photos import DataError, Photos
from model.words import compose

WORDS = Path(__file__).with_name("words.tsv")


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
        with table.open(encoding="utf-8", newline="") as file:
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
