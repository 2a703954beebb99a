"""Pairs of names of one dish in two languages, and the held-out names that no training text may contain."""

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
from model.languages import DEFAULT, LANGUAGES, OTHERS, Language
from model.words import compose

WORDS = Path(__file__).parents[1] / "words.tsv"


@dataclass(frozen=True)
class Pair:
    """The names of one dish."""

    name: str
    """In the default language."""
    translations: tuple[str, ...]
    """In another: variants, the commonest first."""
    language: Language
    """Of the translations."""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.translations)


def read_pairs(table: Path, split: str | None = None) -> list[Pair]:
    """Reads pairs from a tab-separated table with a column per language (`en`, `ja`) and optionally `split`. Variants
    are separated by a bar. Languages other than the default may be missing.

    Raises:
        DataError: the table cannot be read or lacks a column.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{table}: the table of names cannot be read: {error}") from error
    if not rows:
        return []
    others = [language for language in OTHERS if language in rows[0]]
    if not others or not {DEFAULT, *(["split"] if split else [])} <= rows[0].keys():
        raise DataError(f"{table}: expected the columns {', '.join(LANGUAGES)} and split, found {', '.join(rows[0])}")
    return [
        Pair(row[DEFAULT], tuple(filter(None, row[language].split("|"))), language)
        for row in rows
        for language in others
        if (split is None or row["split"] == split) and row[DEFAULT] and row[language]
    ]


def composed_pairs(table: Path, count: int, seed: int = 0) -> list[Pair]:
    """Pairs of names for `count` composed dishes, from `model.words.compose`, kept in `table`.

    They are stored beside the teacher's vectors, which are costly to compute; an existing table is read.
    """
    if not table.exists():
        rng = random.Random(seed)
        dishes: dict[str, dict[Language, str]] = {}
        while len(dishes) < count:
            names = compose(rng)
            dishes.setdefault(names[DEFAULT], names)
        lines = [LANGUAGES, *(names.values() for names in dishes.values())]
        write_file(table, "".join("\t".join(line) + "\n" for line in lines).encode())
    return read_pairs(table)[: count * len(OTHERS)]


def key(name: str) -> str:
    """A key that is equal for all spellings of a name."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def held_out(pairs: Iterable[Pair], photos: Photos | None, classes: Collection[str] = ()) -> set[str]:
    """Keys of the names that no training text may contain.

    Args:
        pairs: those of the validation split.
        photos: of the validation split; their class names, which also occur in training, are not held out.
        classes: further names allowed in training, such as the class names of its photos.
    """
    free = set(map(key, classes))
    names = {key(name) for pair in pairs for name in pair.names}
    if photos is not None:
        for name, translations, kind in zip(photos.names, photos.translations, photos.kinds, strict=True):
            own = set(map(key, [name, *translations.values()]))
            if kind == "class":
                free |= own
            else:
                names |= own
    return names - free


def rows_in(photos: Photos, language: Language) -> list[int]:
    """Indices of the photos that have a name in a language."""
    return [i for i, name in enumerate(photos.names_in(language)) if name]


def class_names(photos: Photos) -> set[str]:
    """The names of the photos' classes, in every language."""
    rows = zip(photos.names, photos.translations, photos.kinds, strict=True)
    return {name for own, others, kind in rows if kind == "class" for name in (own, *others.values())}


def read_names(data: Path, split: str) -> list[Pair]:
    """Reads the pairs in names.tsv beside the photographs; none if there is no such table."""
    table = (data if data.is_dir() else data.parent) / "names.tsv"
    return read_pairs(table, split) if table.exists() else []
