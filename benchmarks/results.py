"""Where a page of the documentation holds what a benchmark has measured."""

from pathlib import Path

from model.checkpoint import write_file

MARKS = ("<!-- results -->\n", "<!-- end of results -->\n")


def fill(page: Path, results: str) -> None:
    """Puts these results, which end with a line break, in place of those between the marks of a page."""
    text = page.read_text("utf-8")
    start, end = text.index(MARKS[0]) + len(MARKS[0]), text.index(MARKS[1])
    write_file(page, (text[:start] + results + text[end:]).encode())
