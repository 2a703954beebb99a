"""Contact sheets: many pictures on one sheet, with captions."""

import math
import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model.generators import PICTURE_SIZE

FONT = Path(__file__).parent / "fonts" / "BIZUDPGothic-captions.ttf"
MAX_PIXELS = 50_000_000
# Of a picture on the sheet: the largest that fits into MAX_PIXELS.
SIDES = tuple(PICTURE_SIZE * eighths // 8 for eighths in (8, 6, 4, 3))
GAP = 8
MAX_LINES = 3
PAPER, INK, FAINT = "#ffffff", "#221c18", "#8a7f78"


class ContactSheet:
    """A sheet of groups: one name's pictures side by side, with a caption and a fainter note below.

    Args:
        captions: one per group. Characters that the font lacks, such as emoji, are left out.
        notes: one a group, short enough for one line.
        variants: pictures in each group.

    `shown` is the number of groups that fit; pasting into a later one does nothing.
    """

    def __init__(self, captions: Sequence[str], notes: Sequence[str], variants: int = 1) -> None:
        self._across = variants if variants <= 4 else math.ceil(math.sqrt(variants))
        self._down = math.ceil(variants / self._across)
        for self.side in SIDES:
            self._size = max(11, self.side // 14)
            self._line = self._size * 5 // 4
            width = self._across * (self.side + GAP) - GAP
            lines = [_wrap(drawable(caption), self._size, width) for caption in captions]
            height = self._down * (self.side + GAP) + self._line * (max(map(len, lines), default=0) + 1)
            self._pitch = width + 2 * GAP, height + 2 * GAP
            most = max(1, MAX_PIXELS // (self._pitch[0] * self._pitch[1]))
            if len(captions) <= most:
                break
        self.shown = min(len(captions), most)
        wide = math.sqrt(1.4 * self.shown * self._pitch[1] / self._pitch[0])  # 1.4 times as wide as high
        self._columns = max(1, min(self.shown, round(wide)))
        rows = max(1, math.ceil(self.shown / self._columns))
        self.image = Image.new("RGB", (self._columns * self._pitch[0], rows * self._pitch[1]), PAPER)
        draw = ImageDraw.Draw(self.image)
        for group in range(self.shown):
            x, y = self._corner(group)
            y += self._down * (self.side + GAP)
            for line in lines[group]:
                draw.text((x, y), line, INK, _font(self._size))
                y += self._line
            draw.text((x, y), notes[group], FAINT, _font(self._size - 2))

    def paste(self, group: int, variant: int, picture: np.ndarray) -> None:
        """Pastes a picture (H, W, 3) uint8 into its place."""
        if group >= self.shown:
            return
        x, y = self._corner(group)
        row, column = divmod(variant, self._across)
        place = x + column * (self.side + GAP), y + row * (self.side + GAP)
        resized = Image.fromarray(picture).resize((self.side, self.side), Image.Resampling.BICUBIC)
        self.image.paste(resized, place)

    def _corner(self, group: int) -> tuple[int, int]:
        row, column = divmod(group, self._columns)
        return column * self._pitch[0] + GAP, row * self._pitch[1] + GAP


def drawable(text: str) -> str:
    """The text without characters that the font lacks; a letter whose accent it lacks loses the accent."""
    kept = (letter if _has(letter) else _base(letter) for letter in text)
    return " ".join("".join(kept).split())


def _base(letter: str) -> str:
    first = unicodedata.normalize("NFKD", letter)[0]
    return first if _has(first) else ""


@lru_cache(maxsize=2**15)
def _has(letter: str) -> bool:
    return _font(16).getlength(letter) > 0  # the font's own "missing" glyph has no width


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT, size, layout_engine=ImageFont.Layout.BASIC)


def _wrap(text: str, size: int, width: int) -> list[str]:
    """Breaks text into at most MAX_LINES lines no wider than `width`, between words and between kanji or kana."""
    font = _font(size)
    lines = [""]
    for piece in re.findall(r"[!-~\u00a1-\u024f\u1e00-\u1eff]+|\s|.", text):
        if font.getlength(lines[-1] + piece) <= width:
            lines[-1] += piece
        elif font.getlength(piece) <= width:
            lines.append(piece)
        else:
            for letter in piece:  # a word wider than the line
                if font.getlength(lines[-1] + letter) > width:
                    lines.append("")
                lines[-1] += letter
    lines = [line for line in map(str.strip, lines) if line]
    if len(lines) > MAX_LINES:
        last = lines[MAX_LINES - 1]
        while font.getlength(last + "…") > width:
            last = last[:-1]
        lines[MAX_LINES - 1 :] = [last + "…"]
    return lines
