"""What benchmarks leave: figures in a page of the documentation, and strips of pictures."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from model.checkpoint import write_file


def fill(page: Path, results: str, section: str = "results") -> None:
    """Puts these results, which end with a line break, in place of those between a section's marks in a page:
    <!-- results --> and <!-- end of results -->, each on a line of its own."""
    text = page.read_text("utf-8")
    mark = f"<!-- {section} -->\n"
    start, end = text.index(mark) + len(mark), text.index(f"<!-- end of {section} -->\n")
    write_file(page, (text[:start] + results + text[end:]).encode())


def leave_strip(file: Path, pictures: np.ndarray) -> None:
    """Writes pictures (N, S, S, 3) uint8 side by side into a PNG file."""
    strip = io.BytesIO()
    Image.fromarray(np.concatenate(list(pictures), 1)).save(strip, "PNG")
    write_file(file, strip.getvalue())
