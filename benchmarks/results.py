"""Writes the figures of benchmarks into a page of the documentation, and strips of pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
from PIL import Image

from model.checkpoint import write_file

Command = TypeVar("Command", bound=Callable[..., Any])
MARKS = ("<!-- results -->\n", "<!-- end of results -->\n")


def page_option(help_text: str = "Gets the table.") -> Callable[[Command], Command]:
    """The option --page of a benchmark that writes its results into the documentation."""
    kind = click.Path(path_type=Path, exists=True)
    return click.option("--page", type=kind, default="docs/benchmarks.md", show_default=True, help=help_text)


def fill(page: Path, results: str, marks: tuple[str, str] = MARKS) -> None:
    """Puts these results, which end with a line break, in place of those between the marks of a page."""
    text = page.read_text("utf-8")
    start, end = text.index(marks[0]) + len(marks[0]), text.index(marks[1])
    write_file(page, (text[:start] + results + text[end:]).encode())


def leave_strip(file: Path, pictures: np.ndarray) -> None:
    """Writes pictures (N, S, S, 3) uint8 side by side into a PNG file."""
    strip = io.BytesIO()
    Image.fromarray(np.concatenate(list(pictures), 1)).save(strip, "PNG")
    write_file(file, strip.getvalue())
