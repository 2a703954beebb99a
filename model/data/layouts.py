"""Finds photographs and their names in several layouts.

Four layouts are supported (`find` detects which one it is):

* Parquet shards with an image column, as in Hugging Face datasets: `train-*.parquet`, `validation-*.parquet` in a
  folder (or its `data/`), or a single `.parquet` file. Columns: an image ({bytes, path} or bytes), `name`, and
  optionally `kind`, `source`, `pixels`, and names in other languages (`name_ja`, see `TRANSLATED`).
* A folder of photos named after their dishes: `smoky_beetroot_ramen.jpg`, or `beetroot ramen/1.jpg`. HEIC, as from
  phones, is supported. `model.data.file_names` reads the names.
* A folder of photos with a `metadata.csv`, `.tsv` or `.jsonl`: `file_name`, `name`, optionally `name_ja` etc.
* torchvision's Food101: `food-101/images/<class>/*.jpg` and `food-101/meta/*.json`.
"""

import csv
import io
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.data.file_names import dish_names
from model.data.folder_contents import EXTENSIONS, Contents, contents, label
from model.languages import LANGUAGES, OTHERS, Language, written_in
from model.names import InvalidName, normalize

TRANSLATED: dict[Language, str] = {language: f"name_{language}" for language in OTHERS}
"""The columns of names in other languages than the default one's, which is in `name`."""
NAMES = ("name", *TRANSLATED.values())
BATCH = 64  # photos read at once
NAMED = 5  # how many files that are not read are named one by one
NO_NAME = "neither it nor its folder has a dish's name"


class DataError(ValueError):
    """No photographs can be read from the given place; the message says why and what to do."""


@dataclass(frozen=True)
class Row:
    """The data about a photo that is available before it is decoded. `label` identifies it in messages."""

    label: str
    name: str
    """In the default language, or the only one given."""
    translations: Mapping[Language, str] = field(default_factory=dict)
    """Names in the other languages that there is one in."""
    kind: str = "free"
    source: str = ""


@dataclass(frozen=True)
class Listing:
    """The photographs found by a layout: rows, and an iterator over their photos (bytes or a path), in the same
    order."""

    rows: list[Row]
    photos: Callable[[], Iterator[bytes | Path]]
    skipped: list[str]
    """Each with the reason."""
    unnamed: list[tuple[str, Path]] = field(default_factory=list)
    """Photos that nobody has named after a dish, and what they are called in a message."""
    passed: dict[str, int] = field(default_factory=dict)
    """The number of files of each kind that other programs keep beside the photos."""


def listing(data: Path | str, split: str = "train", min_pixels: int = 0) -> Listing:
    """Lists the names and undecoded photographs of one split; raises like `load`. `min_pixels` leaves out photographs
    that Parquet shards list as smaller."""
    return find(existing(data), split, min_pixels)[1]()


def passed_over(kinds: dict[str, int]) -> str:
    """One line about the files of other programs that were skipped."""
    return ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items()))


def existing(data: Path | str) -> Path:
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    return path


# ---- the layouts -----------------------------------------------------------------------------------------


def find(data: Path, split: str, min_pixels: int) -> tuple[list[Path], Callable[[], Listing]]:
    """The files of the split, and a function that lists their photos if they have to be decoded."""
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
    inside = contents(root, {"train", "validation"} if root == data else set())
    if not inside.photos:
        reasons = f" ({'; '.join(inside.unread[:NAMED])})" if inside.unread else ""
        raise DataError(
            f"{root}: no photographs there{reasons}; expected {split}-*.parquet, or pictures "
            f"({', '.join(sorted(extension[1:] for extension in EXTENSIONS))}) named after their dishes"
        )
    if not inside.tables:
        return inside.photos, partial(_list_folder, root, inside)
    table, *others = inside.tables
    inside.unread += [f"{label(other, root)}: not read, since there is {table.name} too" for other in others]
    return [*inside.photos, table], partial(_list_metadata, root, table, inside)


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
            wanted = [column for column in (*NAMES, "kind", "source", "pixels") if column in names]
            table = shard.read(columns=wanted).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file}: not a readable Parquet file: {error}") from error
        kept: list[bool] = []
        for index, record in enumerate(table):
            label = f"{file.name} row {index}"
            name, translations = _names(record)
            pixels = record.get("pixels")
            small = pixels is not None and pixels < min_pixels
            if not small and not name:
                skipped.append(f"{label}: it has no name")
            kept.append(not small and bool(name))
            if kept[-1]:
                kind, source = record.get("kind") or "free", record.get("source") or file.stem
                rows.append(Row(label, name, translations, kind, source))
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
    for column in schema:
        if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
            return str(column.name)
    for column in schema:
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            return str(column.name)
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


def _list_folder(root: Path, inside: Contents) -> Listing:
    rows: list[Row] = []
    kept: list[Path] = []
    unnamed: list[tuple[str, Path]] = []
    names = dish_names([path.relative_to(root) for path in inside.photos])
    for path, name in zip(inside.photos, map(_clean, names), strict=True):
        if name:
            kept.append(path)
            rows.append(Row(label(path, root), name, source=root.name))
        else:
            unnamed.append((label(path, root), path))
    return Listing(rows, lambda: iter(kept), inside.unread, unnamed, dict(inside.passed))


def _list_metadata(root: Path, table: Path, inside: Contents) -> Listing:
    photo_of = _finder(root, inside.photos)
    rows: list[Row] = []
    found: list[Path] = []
    skipped = list(inside.unread)
    unlisted = dict.fromkeys(inside.photos)
    for line, record in _read_table(table):
        if isinstance(record, str):
            skipped.append(f"{table.name} line {line}: {record}")
            continue
        file_name = str(record.get("file_name") or "").strip()
        name, translations = _names({column: _unquoted(record.get(column)) for column in NAMES})
        path = photo_of(file_name)
        if path is None:
            skipped.append(f"{table.name} line {line}: no photo {file_name!r} in {root}")
            continue
        unlisted.pop(path, None)
        if not name:
            skipped.append(f"{table.name} line {line}: {file_name} has no name")
            continue
        rows.append(Row(label(path, root), name, translations, source=root.name))
        found.append(path)
    skipped += [f"{label(path, root)}: it is not in {table.name}" for path in unlisted]
    return Listing(rows, lambda: iter(found), skipped, passed=dict(inside.passed))


def _finder(root: Path, photos: list[Path]) -> Callable[[str], Path | None]:
    """Returns a function that finds the photo that a table refers to.

    macOS stores file names decomposed (NFD); a table written on Windows or by hand may differ in case or slashes, or
    omit the folder or the extension. Each difference is ignored if only one photo fits.
    """
    places = {unicodedata.normalize("NFC", path.relative_to(root).as_posix()): path for path in photos}
    alike: defaultdict[str, list[Path]] = defaultdict(list)
    for place, path in places.items():
        whole = place.casefold()
        name = whole.rpartition("/")[2]
        for spelling in {whole, name, whole.rpartition(".")[0], name.rpartition(".")[0]} - {""}:
            alike[spelling].append(path)

    def find(file_name: str) -> Path | None:
        asked = unicodedata.normalize("NFC", file_name)
        if asked in places:
            return places[asked]
        asked = asked.replace("\\", "/").removeprefix("./")
        for spelling in (asked, asked.rpartition("/")[2]):
            if len(fitting := alike[spelling.casefold()]) == 1:
                return fitting[0]
        return None

    return find


def _read_table(table: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Reads a table: line numbers with their record, or with what is wrong."""
    try:
        content = table.read_bytes()
        # Spreadsheets save "Unicode text" as UTF-16.
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{table}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if table.suffix.lower() in (".csv", ".tsv"):
        yield from _read_csv(table, text)
        return
    # Only "\n" ends a line of JSON Lines: U+2028, U+0085 and others may stand in its strings.
    for line, entry in enumerate(text.split("\n"), 1):
        if not entry.strip():
            continue
        try:
            record = json.loads(entry)
        except ValueError as error:
            raise DataError(f"{table}: line {line} is not JSON: {error}") from error
        if not isinstance(record, dict) or not {"file_name", "name"} <= record.keys():
            raise DataError(f"{table}: line {line} is not an object with file_name and name")
        yield line, record


def _read_csv(table: Path, text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    declared = re.match("\"?sep=(.)\"?\n", text)  # Excel's own
    head = text.partition("\n")[0] if declared is None else ""
    # Spreadsheets put semicolons or tabs where a comma is the decimal point.
    mark = declared[1] if declared else max(",;\t|", key=head.count)
    start = declared.end() if declared else 0
    # What stands between a delimiter and a quotation mark would make the mark a part of the name.
    edge, blank = re.escape(mark), r"[^\S\n\t]+"
    text = re.sub(rf'(^|{edge}){blank}(?=")', r"\1", text[start:], flags=re.MULTILINE)
    text = re.sub(rf'"{blank}(?={edge}|$)', '"', text, flags=re.MULTILINE)
    first = 1 if declared else 0
    try:
        reader = csv.reader(io.StringIO(text), delimiter=mark, strict=True)
        columns = [re.sub(r"[\s-]+", "_", column.strip().lower()) for column in next(reader, [])]
        missing = {"file_name", "name"} - set(columns)
        if missing:
            raise DataError(
                f"{table}: no column {' and no column '.join(sorted(missing))} (it has {', '.join(columns) or 'none'})"
            )
        for values in reader:
            if any(value.strip() for value in values):
                record = _record(columns, values, mark)
                if not isinstance(record, str) and "\n" in f"{record['file_name']}{record['name']}":
                    raise csv.Error("a name has a line break in it")
                yield reader.line_num + first, record
    except csv.Error as error:
        raise DataError(
            f"{table}: line {reader.line_num + first}: {error}; is a quotation mark not closed?"
        ) from error


QUOTE = 'put quotation marks around a name with "{}" in it'


def _record(columns: list[str], values: list[str], mark: str) -> dict[str, str] | str:
    """A row as a record, or what is wrong with it: a delimiter in a name must be quoted."""
    while len(values) > len(columns) and not values[-1].strip():
        values = values[:-1]
    if len(values) > len(columns):
        if columns[-1] != "name":
            return f"{len(values)} values for {len(columns)} columns; {QUOTE.format(mark)}"
        last = len(columns) - 1  # nothing comes after the name: all of it is the name
        values = [*values[:last], mark.join(values[last:])]
    record = dict(zip(columns, [*values, *[""] * (len(columns) - len(values))], strict=True))
    for language, column in TRANSLATED.items():
        name = record.get(column, "")
        if name[:1].isspace() and LANGUAGES[language].letters and written_in(name) != language:
            return f"{column} would be {name.strip()!r}; {QUOTE.format(mark)}"
    return record


def _unquoted(name: object) -> object:
    """A name without quotation marks around the whole of it."""
    if not isinstance(name, str):
        return name
    whole = re.fullmatch("\\s*(?:“(.*)”|„(.*)[“”]|‘(.*)’|\"(.*)\"|'([^']*)')\\s*", name, re.DOTALL)
    return next(filter(None, whole.groups()), "") if whole else name


def _names(record: Mapping[str, object]) -> tuple[str, dict[Language, str]]:
    """The name in the default language, or else the first available one, or ""; and the names in other languages."""
    translations = {language: name for language, column in TRANSLATED.items() if (name := _clean(record.get(column)))}
    return _clean(record.get("name")) or next(iter(translations.values()), ""), translations


def _clean(name: object) -> str:
    """A name in composed form with single spaces; "" if it is missing or not a valid name (`model.names.normalize`)."""
    text = " ".join(unicodedata.normalize("NFC", name).split()) if isinstance(name, str) else ""
    try:
        normalize(text)
    except InvalidName:
        return ""
    return text

