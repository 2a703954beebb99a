"""Tables of ratings by eye of pictures that a checkpoint makes."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from model.data.layouts import DataError

COLUMNS = ("name", "seed", "rating")


@dataclass(frozen=True)
class Rating:
    """How good the picture of a name and a seed looks, on any scale on which more is better."""

    name: str
    seed: int
    rating: float


def read_ratings(file: Path) -> list[Rating]:
    """Reads a tab-separated UTF-8 table with the columns name, seed and rating.

    Raises:
        DataError: names the file, and the line of a bad value.
    """
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: ratings cannot be read: {error}") from error
    reader = csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    if missing := set(COLUMNS) - set(reader.fieldnames or ()):
        raise DataError(f"{file}: no column {' and no column '.join(sorted(missing))}; {', '.join(COLUMNS)} are needed")
    ratings = []
    for record in reader:
        place = f"{file}: line {reader.line_num}"
        try:
            found = Rating(record["name"] or "", int(record["seed"] or ""), float(record["rating"] or ""))
        except ValueError:
            raise DataError(f"{place}: the seed is not a whole number, or the rating not a number") from None
        if not found.name.strip() or found.seed < 0 or not math.isfinite(found.rating):
            raise DataError(f"{place}: a name, a seed of 0 or more and a finite rating are needed")
        ratings.append(found)
    return ratings
