"""Word pieces as people read them."""

from __future__ import annotations

from app import word_pieces

BOWL = [f"<0x{byte:02X}>" for byte in "🍜".encode()]


def test_a_letter_that_is_spelled_in_bytes_is_one_letter() -> None:
    pieces = ["▁ramen", *BOWL, "▁hot"]
    assert word_pieces.letters(pieces) == [([0], "▁ramen"), ([1, 2, 3, 4], "🍜"), ([5], "▁hot")]
