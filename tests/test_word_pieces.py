"""Word pieces as people read them."""

from __future__ import annotations

from app import word_pieces

BOWL = [f"<0x{byte:02X}>" for byte in "🍜".encode()]


def test_a_letter_that_is_spelled_in_bytes_is_one_letter() -> None:
    pieces = ["▁ramen", *BOWL, "▁hot"]
    assert word_pieces.letters(pieces) == [([0], "▁ramen"), ([1, 2, 3, 4], "🍜"), ([5], "▁hot")]


def test_what_the_model_does_not_know_is_named_once() -> None:
    assert word_pieces.unknown([*BOWL, "▁ramen", *BOWL]) == "🍜"
    assert word_pieces.unknown(["▁ramen", "卵"]) == ""
    assert word_pieces.unknown(["▁ramen", *BOWL[:2]]) == ""  # a name was cut within it
