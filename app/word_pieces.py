"""Word pieces as people read them: some letters are not among the model's pieces, and are spelled in bytes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence


def letters(pieces: Sequence[str]) -> list[tuple[list[int], str]]:
    """The pieces with their places; the bytes of a letter that the model has no piece for (<0xE5>…) as that letter."""
    found: list[tuple[list[int], str]] = []
    places: list[int] = []
    spelled = b""
    for k, piece in enumerate(pieces):
        if not (byte := re.fullmatch("<0x([0-9A-F]{2})>", piece)):
            found.append(([k], piece))
            continue
        places.append(k)
        spelled += bytes.fromhex(byte[1])
        with contextlib.suppress(UnicodeDecodeError):  # until the letter is whole
            found.append((places, spelled.decode()))
            places, spelled = [], b""
    return found
