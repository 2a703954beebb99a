"""Typesetting for pictures that the server draws: which bundled font has the letters, and where lines break."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from PIL import ImageFont

from model.contact_sheet import FONT, drawable

# The pages' display face, in the parts that browsers fetch it in. It has fewer kanji than the face of captions.
DISPLAY = tuple(sorted((Path(__file__).resolve().parent.parent / "static" / "fonts").glob("*.woff2")))
LEADING = 1.3  # from line to line, in sizes
# A line ends between words: Latin ones, and in Japanese where hiragana, which end a phrase, give way to other letters.
HIRAGANA, KATAKANA, KANJI = "\u3041-\u309f", "\u30a1-\u30fa\u30fc-\u30ff", "\u3005\u3400-\u9fff\uf900-\ufaff"
# The signs and amounts of a dish's title stay with their word.
WORD = re.compile(
    r"\s+|(?:[+−→] (?:[0-9.]+ )?)?"
    rf"(?:[!-~\u00a1-\u024f\u1e00-\u1eff]+|[{KATAKANA}]+[{HIRAGANA}ー]*|[{KANJI}]+[{HIRAGANA}]*|[{HIRAGANA}ー]+|.)"
)
# What never begins a line, or ends one (JIS X 4051): marks, small kana, iteration marks.
NOT_FIRST = "、。，．・：；！？」』）〕］｝〉》】ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ々ゝゞヽヾ,.:;!?)]}”’…%"
NOT_LAST = "「『（〔［｛〈《【([{“‘"


class Face:
    """A typeface at a size, in one font file, or in several that split its characters."""

    def __init__(self, files: tuple[Path, ...], size: int) -> None:
        self.size = size
        self._files = files

    def has(self, text: str) -> bool:
        return all(any(_has(file, letter) for file in self._files) for letter in text)

    def runs(self, text: str) -> list[tuple[ImageFont.FreeTypeFont, str]]:
        """The text split into runs whose letters are in the same font file."""
        files = (next((f for f in self._files if _has(f, letter)), self._files[0]) for letter in text)
        cut = groupby(zip(files, text, strict=True), key=itemgetter(0))
        return [(_font(file, self.size), "".join(letter for _, letter in run)) for file, run in cut]

    def width(self, text: str) -> float:
        return sum(font.getlength(run) for font, run in self.runs(text))


def face(text: str, size: int) -> Face:
    """The display face if it has every letter of `text`, else the caption face."""
    if DISPLAY and (display := Face(DISPLAY, size)).has(text):
        return display
    return Face((FONT,), size)


def fit(text: str, sizes: tuple[int, ...], width: int, height: int) -> tuple[Face, list[str]]:
    """The largest of `sizes` at which the lines of `text` fit into a box, and the lines, of about equal length.

    Words are broken only if the box cannot hold them whole at any size, and then only at the smaller sizes. If even the
    smallest size is too large, the end of the text is left out. Characters that no bundled font has, such as emoji, are
    left out as well; there may be no lines.
    """
    text = drawable(text)
    for candidates, whole in ((sizes, True), (sizes[len(sizes) // 2 :], False)):
        for size in candidates:
            chosen = face(text, size)
            lines = wrap(text, chosen, width, whole=whole)
            if lines is not None and len(lines) * size * LEADING <= height:
                return chosen, _balanced(text, chosen, width, len(lines), whole) if lines else []
    lines = wrap(text, chosen, width, whole=False) or []
    lines = lines[: int(height / (chosen.size * LEADING))]
    while chosen.width(f"{lines[-1]}…") > width:
        lines[-1] = lines[-1][:-1]
    return chosen, [*lines[:-1], f"{lines[-1].rstrip()}…"]


def wrap(text: str, face: Face, width: float, *, whole: bool) -> list[str] | None:
    """Breaks text into lines of at most `width` pixels. A wider word is broken or, if words must stay `whole`, the
    result is None."""
    lines = [""]
    for piece in _pieces(text):
        if face.width((lines[-1] + piece).rstrip()) <= width:
            lines[-1] += piece
        elif face.width(piece.rstrip()) <= width:
            lines.append(piece)
        elif whole:
            return None
        else:
            for letter in piece:
                if lines[-1] and letter not in NOT_FIRST and face.width(lines[-1] + letter) > width:
                    lines.append("")
                lines[-1] += letter
    return [line for line in map(str.strip, lines) if line]


def _balanced(text: str, face: Face, width: int, count: int, whole: bool) -> list[str]:
    """Breaks text into `count` lines, with the widest one as narrow as possible."""
    step = max(face.size // 4, 1)
    for limit in range(int(face.width(text) / count), width + step, step):
        lines = wrap(text, face, min(limit, width), whole=whole)
        if lines is not None and len(lines) == count:
            return lines
    raise AssertionError("the last of these widths has as many")


def _pieces(text: str) -> list[str]:
    """The text split wherever a line may end."""
    pieces: list[str] = []
    for found in WORD.findall(text):
        if pieces and (found[0] in NOT_FIRST or found.isspace() or pieces[-1].rstrip()[-1:] in tuple(NOT_LAST)):
            pieces[-1] += found
        else:
            pieces.append(found)
    return pieces


@lru_cache(maxsize=64)  # a megabyte for each size of the largest file
def _font(file: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=2**15)
def _has(file: Path, letter: str) -> bool:
    """Returns whether the font file has this letter; bundled fonts draw nothing for others. A space counts as a Latin
    letter."""
    return any(_font(file, 16).getmask("n" if letter == " " else letter))
