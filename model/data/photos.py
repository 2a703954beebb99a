"""Loads photographs and their names, decoded once into a memory-mapped array. `model.data.layouts` finds them."""

import hashlib
import itertools
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from model.data.decoding import Decoded, TooSmall, decode
from model.data.layouts import NO_NAME, DataError, Listing, Row, existing, find, passed_over
from model.languages import DEFAULT, OTHERS, Language

log = logging.getLogger(__name__)

# Part of every cache key: raise it when the same files would be decoded to other pixels or names.
CACHE_FORMAT = 3
NAMED = 5  # how many photos that are left out are named one by one
BATCH = 64


@dataclass(frozen=True)
class Photos:
    """Square photographs and the names of their dishes; entry i of each list belongs to image i."""

    images: np.ndarray
    """(N, size, size, 3) uint8, memory-mapped read-only from the cache."""
    names: list[str]
    """In the default language, or the only one given."""
    translations: list[Mapping[Language, str]]
    """Names in the other languages that there is one in."""
    kinds: list[str]
    """"free" (a name of its own) or "class" (one of a few dish classes, shared by many photographs)."""
    sources: list[str]

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def unnamed(cls, images: np.ndarray) -> "Photos":
        """Wraps pictures, (N, size, size, 3) uint8, without names or other data."""
        n = len(images)
        return cls(images, [""] * n, [{}] * n, [""] * n, [""] * n)

    def names_in(self, language: Language) -> list[str | None]:
        """The names in one language, with None for missing ones."""
        return [*self.names] if language == DEFAULT else [names.get(language) for names in self.translations]

    def all_names(self) -> list[str]:
        """All photographs' names, followed by those in the other languages, one language after another."""
        return [*self.names, *(name for language in OTHERS for name in self.names_in(language) if name)]

    def name_table(self) -> str:
        """A text that identifies the names of a set of photographs: a line for each name in every language, even if
        empty."""
        return "\n".join([*self.names, *(name or "" for language in OTHERS for name in self.names_in(language))])

    def take(self, rows: Iterable[int]) -> "Photos":
        """A subset of the photographs, in the order of these rows; pixels are copied."""
        at = list(map(int, rows))
        return Photos(
            np.asarray(self.images[at]),
            [self.names[row] for row in at],
            [self.translations[row] for row in at],
            [self.kinds[row] for row in at],
            [self.sources[row] for row in at],
        )


def load(
    data: Path | str, size: int, split: str = "train", cache: Path | None = None, min_pixels: int = 0
) -> Photos:
    """Reads the photographs of one split, from the cache if they have been decoded before.

    Photos are rotated upright by EXIF, cropped to their central square, resized to `size` pixels (Lanczos, antialiased;
    smaller ones are enlarged) and converted to RGB. Unreadable and unnamed ones are left out, counted and listed in a
    warning; slightly truncated ones are listed too.

    Args:
        data: a folder of Parquet shards, a Parquet file, a folder of photos or a Food-101 folder.
        size: side of the decoded pictures, in pixels.
        split: "train" or "validation" (Food-101 calls that one "test"). A single Parquet file is one split by itself
            and used as a whole; a plain folder of photos is "train" unless it has a `validation/` folder.
        cache: folder for the decoded pixels, N * size * size * 3 bytes per set, which replaces that of the same place
            from before its files changed; by default `$XDG_CACHE_HOME/imaginary-cafeteria` or
            `~/.cache/imaginary-cafeteria`.
        min_pixels: leaves out photos whose shorter side is less than this.

    Raises:
        DataError: there are no photographs, none are readable, or there is no room for the cache.
    """
    data = existing(data)
    folder = default_cache() if cache is None else cache
    files, found = find(data, split, min_pixels)
    place, state = _keys(files, data, min_pixels)
    prefix = f"{_slug(data.stem)}-{split}-{size}-{place}"
    stem = folder / f"{prefix}-{state}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Several processes of one training run ask at once: the first decodes, the others wait for it.
        with FileLock(stem.with_suffix(".lock")):
            photos = _read_cache(stem)
            if photos is None:
                _decode(found(), stem, data, size, min_pixels)
                photos = _read_cache(stem)
                for stale in folder.glob(f"{prefix}-*.[nj]*"):
                    if stale.stem != stem.name:
                        stale.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: the decoded photographs cannot be cached there: {error}") from error
    assert photos is not None
    return photos


def default_cache() -> Path:
    """The default folder for decoded photographs."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "imaginary-cafeteria"


# ---- decoding --------------------------------------------------------------------------------------------


def _decode(listing: Listing, stem: Path, data: Path, size: int, min_pixels: int) -> None:
    """Decodes every photo into `stem`.npy, and then writes `stem`.json to mark it as complete."""
    shape = (len(listing.rows), size, size, 3)
    needed = int(np.prod(shape, dtype=np.int64))
    free = shutil.disk_usage(stem.parent).free
    if needed > free:  # writing past the end of a full disk through a memory map kills the process
        raise DataError(
            f"{stem.parent}: the decoded photographs need {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free; make room, or set XDG_CACHE_HOME to a folder on another disk"
        )
    part = stem.with_suffix(".npy.part")
    skipped = [*listing.skipped, *(f"{label}: {NO_NAME}" for label, _ in listing.unnamed)]
    cut: list[str] = []
    small = 0
    kept: list[Row] = []
    if listing.rows:
        images = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
        with (
            ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool,
            tqdm(total=len(listing.rows), desc=f"decoding {data.name}", unit=" photos", disable=None) as bar,
        ):
            pairs = zip(listing.rows, listing.photos(), strict=True)
            for batch in _batched(pairs):
                results = pool.map(lambda pair: _try_decode(pair[1], size, min_pixels), batch)
                for (row, _), result in zip(batch, results, strict=True):
                    if isinstance(result, Decoded):
                        images[len(kept)] = result.image
                        kept.append(row)
                        if result.lost:
                            cut.append(f"{row.label} (without {result.lost})")
                    elif isinstance(result, TooSmall):
                        small += 1
                    else:
                        skipped.append(f"{row.label}: {result}")
                bar.update(len(batch))
        images.flush()
        del images
    if not kept:
        part.unlink(missing_ok=True)
        raise DataError(f"{data}: no photograph could be used; " + _summary(skipped, small, min_pixels))
    os.replace(part, stem.with_suffix(".npy"))
    if skipped:
        log.warning("%s: %s", data, _summary(skipped, small, min_pixels))
    if cut:
        log.warning("%s: %d cut off and read all the same (%s)", data, len(cut), "; ".join(cut[:NAMED]))
    if listing.passed:
        log.warning("%s: passed over what other programs keep there: %s", data, passed_over(listing.passed))
    record = {
        "names": [row.name for row in kept],
        **{f"names_{language}": [row.translations.get(language) for row in kept] for language in OTHERS},
        "kinds": [row.kind for row in kept],
        "sources": [row.source for row in kept],
        "skipped": skipped,
    }
    part = stem.with_suffix(".json.part")
    part.write_text(json.dumps(record, ensure_ascii=False), "utf-8")
    os.replace(part, stem.with_suffix(".json"))


def _batched(pairs: Iterable[tuple[Row, bytes | Path]]) -> Iterator[list[tuple[Row, bytes | Path]]]:
    iterator = iter(pairs)
    while batch := list(itertools.islice(iterator, BATCH)):
        yield batch


def _try_decode(photo: bytes | Path, size: int, min_pixels: int) -> Decoded | Exception:
    # Pillow meets a damaged file with nearly any exception; whichever it is, the photo is left out and named.
    try:
        return decode(photo, size, min_pixels)
    except Exception as error:
        return error


def _summary(skipped: list[str], small: int, min_pixels: int) -> str:
    parts = []
    if skipped:
        more = f"; and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
        parts.append(f"{len(skipped)} left out ({'; '.join(skipped[:NAMED])}{more})")
    if small:
        parts.append(f"{small} smaller than {min_pixels} pixels")
    return ", ".join(parts) or f"none of at least {min_pixels} pixels"


def by_photo(names: Mapping[Language, Sequence[str | None]]) -> list[Mapping[Language, str]]:
    """Converts lists of names per language, with None for missing ones, to names per photograph, as in
    `Photos.translations`."""
    rows = zip(*names.values(), strict=True)
    return [{language: name for language, name in zip(names, row, strict=True) if name} for row in rows]


# ---- the cache -------------------------------------------------------------------------------------------


def _keys(files: list[Path], data: Path, min_pixels: int) -> tuple[str, str]:
    """Cache keys: where photographs come from, and the state of their files."""
    state = hashlib.sha256()
    for file in files:
        status = file.stat()
        line = f"{file.relative_to(data)} {status.st_size} {status.st_mtime_ns}\n"
        state.update(line.encode("utf-8", "surrogateescape"))
    place = hashlib.sha256(f"{CACHE_FORMAT} {min_pixels} ".encode() + os.fsencode(data.resolve()))
    return place.hexdigest()[:8], state.hexdigest()[:16]


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40] or "photos"


def _read_cache(stem: Path) -> Photos | None:
    try:
        record = json.loads(stem.with_suffix(".json").read_text("utf-8"))
        images = np.load(stem.with_suffix(".npy"), mmap_mode="r")
        names = record["names"]
        # Room was made for every photo found; the unreadable ones leave an unused end.
        translations = by_photo({language: record[f"names_{language}"] for language in OTHERS})
        photos = Photos(images[: len(names)], names, translations, record["kinds"], record["sources"])
    except (FileNotFoundError, ValueError, KeyError):
        return None  # absent or damaged: decode
    return photos if len(photos.images) == len(names) else None
