"""Tables of ratings by eye of pictures that a checkpoint makes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from model.data.layouts import DataError
from model.data.tables import read_table

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
    ratings = []
    for place, record in read_table(file, COLUMNS, "ratings"):
        try:
            found = Rating(record["name"] or "", int(record["seed"] or ""), float(record["rating"] or ""))
        except ValueError:
            raise DataError(f"{place}: the seed is not a whole number, or the rating not a number") from None
        if not found.name.strip() or found.seed < 0 or not math.isfinite(found.rating):
            raise DataError(f"{place}: a name, a seed of 0 or more and a finite rating are needed")
        ratings.append(found)
    return ratings
