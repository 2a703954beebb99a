"""The layouts that photographs and their names come in.

Four layouts are understood (`find` tells them apart by what it finds):

* Parquet shards with an image column, as Hugging Face datasets has them: `train-*.parquet`,
  `validation-*.parquet` in a folder (or its `data/`), or a single `.parquet` file.
  Columns: an image ({bytes, path} or bytes), `name`, and optionally `name_ja`, `kind`, `source`, `pixels`.
* A folder of photos that are named after their dishes: `smoky_beetroot_ramen.jpg`. HEIC too, as phones make it.
* A folder of photos with a `metadata.csv` or `metadata.jsonl`: `file_name`, `name`, optionally `name_ja`.
* torchvision's Food101: `food-101/images/<class>/*.jpg` and `food-101/meta/*.json`.
"""

import csv
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.names import InvalidName, normalize

BATCH = 64  # photos read at once
EXTENSIONS = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".png", ".webp", ".avif", ".heic", ".heif", ".hif",
    ".tif", ".tiff", ".bmp", ".gif",
}  # fmt: skip
RAW = {".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"}

# " (2)" of file managers and "copy" of macOS and Windows, after the second photo of one name.
_NUMBERED = re.compile(
    r"(\s*[(（]\s*\d+\s*[)）]|\s*-\s*(copy|コピー)|\s+copy(\s+\d+)?|\s?のコピー(\s*\d+)?)+$", re.IGNORECASE
)


class DataError(ValueError):
    """Photographs cannot be had from the place that was named; the message says why and what to do."""


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


def listing(data: Path | str, split: str = "train") -> Listing:
    """The names of one split and its photographs as they are, undecoded; raises as `load` does."""
    return find(existing(data), split, 0)[1]()


def existing(data: Path | str) -> Path:
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    return path


# ---- the layouts -----------------------------------------------------------------------------------------


def find(data: Path, split: str, min_pixels: int) -> tuple[list[Path], Callable[[], Listing]]:
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
    except InvalidName:
        return ""
    return text


def _label(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()
