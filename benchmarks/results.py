"""What benchmarks leave: figures in a page of the documentation, and strips of pictures."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from model.checkpoint import write_file

MARKS = ("<!-- results -->\n", "<!-- end of results -->\n")


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
