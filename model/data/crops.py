"""Loads photographs cropped by a table, to the square that each one's vessel fills."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from model.checkpoint import write_file
from model.data.decoding import decode
from model.data.layouts import DataError, listing
from model.data.photos import Photos, load
from model.data.tables import read_table

COLUMNS = ("file", "row", "x", "y", "half")
DECODED = 512  # pixels that a photograph is decoded to before it is cut
_SHARD = re.compile(r"(.*\.parquet) row (\d+)")


@dataclass(frozen=True)
class Crop:
    """A square, in fractions of the side of a square photograph; it may extend beyond the frame."""

    x: float
    y: float
    half: float
    """Half its side."""


def read_crops(file: Path) -> dict[str, Crop]:
    """Reads a table of crops, keyed by a photograph's label in a listing ("validation-256.parquet row 12",
    "soups/pea_soup.jpg").

    Args:
        file: a tab-separated UTF-8 table with the columns file, row, x, y and half. The row is empty for photographs in
            files of their own.

    Raises:
        DataError: names the file, and the line if there is one.
    """
    crops = {}
    for place, record in read_table(file, COLUMNS, "crops"):
        try:
            crop = Crop(float(record["x"]), float(record["y"]), float(record["half"]))
        except (TypeError, ValueError):
            crop = Crop(0, 0, 0)
        if not (0 <= crop.x <= 1 and 0 <= crop.y <= 1 and 0 < crop.half <= 1):
            raise DataError(f"{place}: x and y have to be fractions from 0 to 1, half above 0")
        crops[photograph_label(record)] = crop
    return crops


def photograph_label(record: Mapping[str, str]) -> str:
    """The label in a listing of the photograph that a line of a table is about, by its columns file and row."""
    return f"{record['file']} row {record['row']}" if record["row"] else record["file"]


def write_crops(file: Path, crops: Mapping[str, Crop]) -> None:
    """Writes a table for `read_crops`, from crops keyed by a photograph's label in a listing.

    Raises:
        DataError: a file name contains a tab or a line break.
    """
    lines = ["\t".join(COLUMNS)]
    for label, crop in crops.items():
        if set(label) & set("\t\r\n"):
            raise DataError(f"{label!r} cannot stand in a table: rename the file")
        shard = _SHARD.fullmatch(label)
        name, row = shard.groups() if shard else (label, "")
        lines.append(f"{name}\t{row}\t{crop.x:.4f}\t{crop.y:.4f}\t{crop.half:.4f}")
    write_file(file, ("\n".join(lines) + "\n").encode())


def cut(picture: NDArray[np.uint8], crop: Crop, size: int) -> NDArray[np.uint8]:
    """(S, S, 3) uint8 → (size, size, 3) uint8 by Lanczos; anything beyond the frame is filled by reflection."""
    side = len(picture)
    left, top, right, bottom = (
        side * edge for edge in (crop.x - crop.half, crop.y - crop.half, crop.x + crop.half, crop.y + crop.half)
    )
    # Three pixels more, which the filter looks at.
    margin = max(0, int(np.ceil(max(-left, -top, right - side, bottom - side)))) + 3
    padded = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), "symmetric")
    box = (left + margin, top + margin, right + margin, bottom + margin)
    return np.asarray(Image.fromarray(padded).resize((size, size), Image.Resampling.LANCZOS, box))


def load_crops(
    data: Path | str, crops: dict[str, Crop], size: int, split: str = "validation", min_pixels: int = 0
) -> Photos:
    """Loads the photographs of a split that have a crop, cropped, (N, size, size, 3), in their order.

    Args:
        min_pixels: leaves out photographs that Parquet shards list as smaller, before cropping.

    Raises:
        DataError: none has a crop, or one that has cannot be decoded.
    """
    found = listing(data, split, min_pixels)
    kept, pictures = [], []
    pairs = zip(found.rows, found.photos(), strict=True)
    for row, photo in tqdm(pairs, f"cutting {Path(data).name}", len(found.rows), unit=" photos", disable=None):
        if row.label in crops:
            try:
                pictures.append(cut(decode(photo, DECODED).image, crops[row.label], size))
            except Exception as error:  # Pillow meets a damaged file with nearly any
                raise DataError(f"{data}: {row.label}: {error}") from error
            kept.append(row)
    if not kept:
        raise DataError(f"{data}: none of the {len(found.rows)} {split} photographs has one of the {len(crops)} crops")
    return Photos(
        np.stack(pictures),
        [row.name for row in kept],
        [row.translations for row in kept],
        [row.kind for row in kept],
        [row.source for row in kept],
    )


def load_training(data: Path | str, size: int, tables: Sequence[Path], min_pixels: int = 0) -> Photos:
    """Loads the training photographs; if there are tables of crops, only those listed in them, cropped.

    Raises:
        DataError: see `load_crops` and `model.data.photos.load`.
    """
    if not tables:
        return load(data, size, min_pixels=min_pixels)
    crops = {label: crop for table in tables for label, crop in read_crops(table).items()}
    return load_crops(data, crops, size, "train", min_pixels)
