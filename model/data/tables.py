"""Reads tab-separated tables of what was found or judged by eye."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from model.data.layouts import DataError


def read_table(file: Path, columns: Sequence[str], content: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Reads a tab-separated UTF-8 table.

    Args:
        columns: that it must have.
        content: named in the error for a file that cannot be read.

    Yields the place of each line for error messages, and the line by columns.

    Raises:
        DataError: names the file.
    """
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: {content} cannot be read: {error}") from error
    reader = csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    if missing := set(columns) - set(reader.fieldnames or ()):
        raise DataError(f"{file}: no column {' and no column '.join(sorted(missing))}; {', '.join(columns)} are needed")
    for record in reader:
        yield f"{file}: line {reader.line_num}", record
