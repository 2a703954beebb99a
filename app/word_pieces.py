"""Word pieces in readable form, since letters that are not among the model's pieces are spelled in bytes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence


def letters(pieces: Sequence[str]) -> list[tuple[list[int], str]]:
    """The pieces with their indices, where the bytes of a letter without a piece (<0xE5>…) are joined into that
    letter."""
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
