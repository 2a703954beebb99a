"""Photographs and their names, decoded once into a memory-mapped array.

Four layouts are understood (`load` tells them apart by what it finds):

* Parquet shards with an image column, as Hugging Face datasets has them: `train-*.parquet`,
  `validation-*.parquet` in a folder (or its `data/`), or a single `.parquet` file.
  Columns: an image ({bytes, path} or bytes), `name`, and optionally `name_ja`, `kind`, `source`, `pixels`.
* A folder of photos that are named after their dishes: `smoky_beetroot_ramen.jpg`. HEIC too, as phones make it.
* A folder of photos with a `metadata.csv` or `metadata.jsonl`: `file_name`, `name`, optionally `name_ja`.
* torchvision's Food101: `food-101/images/<class>/*.jpg` and `food-101/meta/*.json`.
"""

import contextlib
import csv
import hashlib
import io
import itertools
import json
import logging
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from PIL import Image, ImageCms, ImageOps
from pillow_heif import register_heif_opener
from tqdm import tqdm

from model.names import NameError_, normalize

log = logging.getLogger(__name__)

# Part of every cache key: raise it when the same files would be decoded to other pixels or names.
CACHE_FORMAT = 2
EXTENSIONS = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".png", ".webp", ".avif", ".heic", ".heif", ".hif",
    ".tif", ".tiff", ".bmp", ".gif",
}  # fmt: skip
RAW = {".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"}
NAMED = 5  # how many photos that are left out are named one by one
BATCH = 64

# " (2)" of file managers and "copy" of macOS and Windows, after the second photo of one name.
_NUMBERED = re.compile(
    r"(\s*[(（]\s*\d+\s*[)）]|\s*-\s*(copy|コピー)|\s+copy(\s+\d+)?|\s?のコピー(\s*\d+)?)+$", re.IGNORECASE
)
MOST_PIXELS = 300_000_000  # of a photo; telephones make 200 million, and three bytes each are in memory at once

register_heif_opener()
Image.MAX_IMAGE_PIXELS = None  # Pillow's own bound is below a telephone's; `decode` has MOST_PIXELS


class DataError(ValueError):
    """Photographs cannot be had from the place that was named; the message says why and what to do."""


@dataclass(frozen=True)
class Photos:
    """Square photographs and the names of their dishes; entry i of each list belongs to image i."""

    images: np.ndarray
    """(N, size, size, 3) uint8, memory-mapped read-only from the cache."""
    names: list[str]
    """English, or the only name given."""
    names_ja: list[str | None]
    """Japanese, where there is one."""
    kinds: list[str]
    """"free" (a name of its own) or "class" (one of a few dish classes, shared by many photographs)."""
    sources: list[str]

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def unnamed(cls, images: np.ndarray) -> "Photos":
        """Pictures, (N, size, size, 3) uint8, of which nothing else is known."""
        n = len(images)
        return cls(images, [""] * n, [None] * n, [""] * n, [""] * n)

    def take(self, rows: Iterable[int]) -> "Photos":
        """Some of the photographs, in the order of these rows; their pixels are copied."""
        at = list(map(int, rows))
        return Photos(
            np.asarray(self.images[at]),
            [self.names[row] for row in at],
            [self.names_ja[row] for row in at],
            [self.kinds[row] for row in at],
            [self.sources[row] for row in at],
        )


@dataclass(frozen=True)
class Row:
    """What is known of a photo before it is decoded. `label` is what it is called in a message."""

    label: str
    name: str
    name_ja: str | None = None
    kind: str = "free"
    source: str = ""


@dataclass(frozen=True)
class Listing:
    """What a layout found: rows, and what yields the photo of each (bytes or a path), in that order."""

    rows: list[Row]
    photos: Callable[[], Iterator[bytes | Path]]
    skipped: list[str]


class _TooSmall(Exception):
    pass


def listing(data: Path | str, split: str = "train") -> Listing:
    """The names of one split and its photographs as they are, undecoded; raises as `load` does."""
    return _find(_existing(data), split, 0)[1]()


def load(
    data: Path | str, size: int, split: str = "train", cache: Path | None = None, min_pixels: int = 0
) -> Photos:
    """Reads the photographs of one split, from the cache where they have been decoded before.

    Photos are turned upright as their EXIF says, cropped to their central square, resized to `size` pixels
    (Lanczos, antialiased; smaller ones are enlarged) and converted to RGB. Unreadable ones are named in a
    warning, counted and left out.

    Args:
        data: a folder of Parquet shards, a Parquet file, a folder of photos or a Food-101 folder.
        size: side of the decoded pictures, in pixels.
        split: "train" or "validation" (Food-101 calls that one "test"). A single Parquet file is one split by
            itself and taken whole; a plain folder of photos is "train" unless it has a `validation/` folder.
        cache: folder for the decoded pixels, N * size * size * 3 bytes a set, which replaces what the same place
            held before its files changed; by default `$XDG_CACHE_HOME/imaginary-cafeteria` or
            `~/.cache/imaginary-cafeteria`.
        min_pixels: leaves out photos whose shorter side is less than this.

    Raises:
        DataError: nothing there, nothing readable, or no room for the cache.
    """
    data = _existing(data)
    folder = default_cache() if cache is None else cache
    files, found = _find(data, split, min_pixels)
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


def _existing(data: Path | str) -> Path:
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    return path


def default_cache() -> Path:
    """The folder that decoded photographs are kept in when none is given."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "imaginary-cafeteria"


# ---- the layouts -----------------------------------------------------------------------------------------


def _find(data: Path, split: str, min_pixels: int) -> tuple[list[Path], Callable[[], Listing]]:
    """The files that make up the split, and what lists their photos when they must be decoded."""
    if data.is_file():
        if data.suffix != ".parquet":
            raise DataError(f"{data}: neither a folder nor a .parquet file")
        return [data], partial(_list_parquet, [data], min_pixels)

    shards = sorted([*data.glob("*.parquet"), *data.glob("data/*.parquet")])
    if shards:
        chosen = [shard for shard in shards if shard.name.startswith(f"{split}-")]
        if not chosen:
            raise DataError(
                f"{data}: no {split}-*.parquet among its {len(shards)} Parquet files; "
                "rename the shards, or name one file instead of the folder"
            )
        return chosen, partial(_list_parquet, chosen, min_pixels)

    for food101 in (data / "food-101", data):
        meta = food101 / "meta" / ("train.json" if split == "train" else "test.json")
        if (food101 / "images").is_dir() and (food101 / "meta").is_dir():
            if not meta.is_file():
                raise DataError(f"{meta}: Food-101's list of photos is missing")
            return [meta], partial(_list_food101, food101, meta)

    root = data / split if (data / split).is_dir() else data
    if root == data and split != "train":
        raise DataError(
            f"{data}: no photographs for the {split} split; "
            f"put them into {split}-*.parquet or into a folder {split}/ in it"
        )
    others = {"train", "validation"} if root == data else set()
    files = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in EXTENSIONS | RAW
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.relative_to(root).parts[0] not in others
        and path.is_file()
    )
    photos = [path for path in files if path.suffix.lower() in EXTENSIONS]
    unread = [path for path in files if path.suffix.lower() in RAW]
    raw = [f"{_label(path, root)}: a camera's raw file; export it as JPEG" for path in unread]
    if not photos:
        raise DataError(
            f"{root}: no photographs there; expected {split}-*.parquet, or pictures "
            f"({', '.join(sorted(extension[1:] for extension in EXTENSIONS))}) named after their dishes"
        )
    for table in (root / "metadata.csv", root / "metadata.jsonl"):
        if table.is_file():
            return [*files, table], partial(_list_metadata, root, table, photos, raw)
    return files, partial(_list_folder, root, photos, raw)


def _list_parquet(files: list[Path], min_pixels: int) -> Listing:
    rows: list[Row] = []
    keep: list[list[bool]] = []
    columns: list[str] = []
    skipped: list[str] = []
    for file in files:
        try:
            shard = pq.ParquetFile(file)
            names = shard.schema_arrow.names
            if "name" not in names:
                raise DataError(f"{file}: no column `name` (it has {', '.join(names)})")
            columns.append(_image_column(file, shard.schema_arrow))
            wanted = [column for column in ("name", "name_ja", "kind", "source", "pixels") if column in names]
            table = shard.read(columns=wanted).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file}: not a readable Parquet file: {error}") from error
        kept: list[bool] = []
        for index, record in enumerate(table):
            label = f"{file.name} row {index}"
            name, name_ja = _clean(record["name"]), _clean(record.get("name_ja"))
            pixels = record.get("pixels")
            small = pixels is not None and pixels < min_pixels
            if not small and not (name or name_ja):
                skipped.append(f"{label}: it has no name")
            kept.append(not small and bool(name or name_ja))
            if kept[-1]:
                kind, source = record.get("kind") or "free", record.get("source") or file.stem
                rows.append(Row(label, name or name_ja, name_ja or None, kind, source))
        keep.append(kept)

    def photos() -> Iterator[bytes | Path]:
        for file, column, kept in zip(files, columns, keep, strict=True):
            flags = iter(kept)
            try:
                # Batches, since a shard of large photos need not fit into memory.
                for batch in pq.ParquetFile(file).iter_batches(BATCH, columns=[column]):
                    for value in batch.column(0):
                        if next(flags):
                            content = value.as_py()
                            yield (content.get("bytes") if isinstance(content, dict) else content) or b""
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"{file}: damaged: {error}") from error

    return Listing(rows, photos, skipped)


def _image_column(file: Path, schema: pa.Schema) -> str:
    for field in schema:
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            return str(field.name)
    for field in schema:
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            return str(field.name)
    raise DataError(f"{file}: no column of images as {{bytes, path}} (it has {', '.join(schema.names)})")


def _list_food101(root: Path, meta: Path) -> Listing:
    try:
        classes: dict[str, list[str]] = json.loads(meta.read_text("utf-8"))
        entries = [(name, entry) for name, listed in sorted(classes.items()) for entry in listed]
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{meta}: not Food-101's list of photos: {error}") from error
    rows = [
        Row(f"{entry}.jpg", _clean(name.replace("_", " ")), kind="class", source="food101")
        for name, entry in entries
    ]
    return Listing(rows, lambda: (root / "images" / f"{entry}.jpg" for _, entry in entries), [])


def _list_folder(root: Path, photos: list[Path], raw: list[str]) -> Listing:
    rows: list[Row] = []
    kept: list[Path] = []
    skipped = list(raw)
    for path in photos:
        name = _clean(_NUMBERED.sub("", unicodedata.normalize("NFC", path.stem).replace("_", " ")))
        if name:
            kept.append(path)
            rows.append(Row(_label(path, root), name, source=root.name))
        else:
            skipped.append(f"{_label(path, root)}: no name can be read from its file name")
    return Listing(rows, lambda: iter(kept), skipped)


def _list_metadata(root: Path, table: Path, photos: list[Path], raw: list[str]) -> Listing:
    # macOS stores file names decomposed (NFD), whoever wrote the table did not: compare them composed.
    by_name = {unicodedata.normalize("NFC", path.relative_to(root).as_posix()): path for path in photos}
    # A table written on Windows or by hand may differ in case, which is of no account where one photo alone fits.
    cases = Counter(name.casefold() for name in by_name)
    folded = {name.casefold(): path for name, path in by_name.items() if cases[name.casefold()] == 1}
    rows: list[Row] = []
    found: list[Path] = []
    skipped = list(raw)
    unlisted = dict.fromkeys(photos)
    for line, record in _read_table(table):
        file_name = unicodedata.normalize("NFC", str(record.get("file_name") or ""))
        file_name = (file_name if file_name in by_name else file_name.replace("\\", "/")).removeprefix("./")
        name, name_ja = _clean(record.get("name")), _clean(record.get("name_ja"))
        path = by_name.get(file_name) or folded.get(file_name.casefold())
        if path is None:
            skipped.append(f"{table.name} line {line}: no photo {file_name!r} in {root}")
            continue
        unlisted.pop(path, None)
        if not (name or name_ja):
            skipped.append(f"{table.name} line {line}: {file_name} has no name")
            continue
        rows.append(Row(_label(path, root), name or name_ja, name_ja or None, source=root.name))
        found.append(path)
    skipped += [f"{_label(path, root)}: it is not in {table.name}" for path in unlisted]
    return Listing(rows, lambda: iter(found), skipped)


def _read_table(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = table.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{table}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    if table.suffix == ".csv":
        head = text.partition("\n")[0]
        # Spreadsheets put semicolons or tabs where a comma is the decimal point.
        delimiter = max(",;\t", key=head.count)
        reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
        columns = reader.fieldnames = [column.strip().lower() for column in reader.fieldnames or ()]
        missing = {"file_name", "name"} - set(columns)
        if missing:
            raise DataError(
                f"{table}: no column {' and no column '.join(sorted(missing))} (it has {', '.join(columns) or 'none'})"
            )
        try:
            for record in reader:
                if any("\n" in str(record[column]) for column in ("file_name", "name")):
                    raise csv.Error("a name has a line break in it")
                yield reader.line_num, record
        except csv.Error as error:
            raise DataError(f"{table}: line {reader.line_num}: {error}; is a quotation mark not closed?") from error
        return
    for line, entry in enumerate(text.splitlines(), 1):
        if not entry.strip():
            continue
        try:
            record = json.loads(entry)
        except ValueError as error:
            raise DataError(f"{table}: line {line} is not JSON: {error}") from error
        if not isinstance(record, dict) or not {"file_name", "name"} <= record.keys():
            raise DataError(f"{table}: line {line} is not an object with file_name and name")
        yield line, record


def _clean(name: object) -> str:
    """A name in composed form with single spaces; "" for what is missing or no name (`model.names.normalize`)."""
    text = " ".join(unicodedata.normalize("NFC", name).split()) if isinstance(name, str) else ""
    try:
        normalize(text)
    except NameError_:
        return ""
    return text


def _label(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()


# ---- decoding --------------------------------------------------------------------------------------------


def _decode(listing: Listing, stem: Path, data: Path, size: int, min_pixels: int) -> None:
    """Decodes every photo into `stem`.npy and then, as the sign that it is whole, writes `stem`.json."""
    shape = (len(listing.rows), size, size, 3)
    needed = int(np.prod(shape, dtype=np.int64))
    free = shutil.disk_usage(stem.parent).free
    if needed > free:  # writing past the end of a full disk through a memory map kills the process
        raise DataError(
            f"{stem.parent}: the decoded photographs need {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free; make room, or set XDG_CACHE_HOME to a folder on another disk"
        )
    part = stem.with_suffix(".npy.part")
    skipped = list(listing.skipped)
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
                    if isinstance(result, np.ndarray):
                        images[len(kept)] = result
                        kept.append(row)
                    elif isinstance(result, _TooSmall):
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
    record = {
        "names": [row.name for row in kept],
        "names_ja": [row.name_ja for row in kept],
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


def _try_decode(photo: bytes | Path, size: int, min_pixels: int) -> np.ndarray | Exception:
    # Pillow meets a damaged file with nearly any exception; whichever it is, the photo is left out and named.
    try:
        return decode(photo, size, min_pixels)
    except Exception as error:
        return error


def decode(photo: bytes | Path, size: int, min_pixels: int = 0) -> np.ndarray:
    """One encoded photo (its bytes or its file) → (size, size, 3) uint8: upright, central square, RGB."""
    with Image.open(io.BytesIO(photo) if isinstance(photo, bytes) else photo) as image:
        if min(image.size) < min_pixels:
            raise _TooSmall(f"{min(image.size)} pixels")
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"too large: {image.width * image.height // 10**6} megapixels")
        # A JPEG can be read at a fraction of its size, which is far faster; twice the target suits Lanczos.
        image.draft("RGB", (2 * size, 2 * size))
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright.convert("RGBA"))
        square = ImageOps.fit(_eight_bit(upright).convert("RGB"), (size, size), Image.Resampling.LANCZOS)
        if profile := image.info.get("icc_profile"):
            # A profile that is broken, or is of grey or of inks, says nothing of these colours.
            srgb = ImageCms.createProfile("sRGB")
            with contextlib.suppress(ImageCms.PyCMSError, OSError):
                ImageCms.profileToProfile(square, ImageCms.ImageCmsProfile(io.BytesIO(profile)), srgb, inPlace=True)
        return np.asarray(square)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Greys of 16 and 32 bits, which Pillow would cut off at 255 instead of scaling them."""
    if not image.mode.startswith(("I", "F")):
        return image
    greys = np.asarray(image).astype(np.float32)
    top = 65535.0 if image.mode.startswith("I;16") else float(greys.max(initial=0))
    top = next((bound for bound in (1.0, 255.0, 65535.0) if top <= bound), top)
    return Image.fromarray((greys.clip(0) * (255 / top)).round().astype(np.uint8))


def _summary(skipped: list[str], small: int, min_pixels: int) -> str:
    parts = []
    if skipped:
        more = f"; and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
        parts.append(f"{len(skipped)} left out ({'; '.join(skipped[:NAMED])}{more})")
    if small:
        parts.append(f"{small} smaller than {min_pixels} pixels")
    return ", ".join(parts) or f"none of at least {min_pixels} pixels"


# ---- the cache -------------------------------------------------------------------------------------------


def _keys(files: list[Path], data: Path, min_pixels: int) -> tuple[str, str]:
    """Where photographs come from, and in which state their files are."""
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
        photos = Photos(images[: len(names)], names, record["names_ja"], record["kinds"], record["sources"])
    except (FileNotFoundError, ValueError, KeyError):
        return None  # absent or damaged: decode
    return photos if len(photos.images) == len(names) else None
