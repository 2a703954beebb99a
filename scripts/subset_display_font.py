"""Cuts the pages' display face into web fonts: `python scripts/subset_display_font.py KaiseiDecol-Bold.ttf`.

Needs fonttools with brotli. static/fonts/ was made with it from Kaisei Decol Bold of github.com/Font-Kai/Kaisei (as
packed in npm's @expo-google-fonts/kaisei-decol 0.4.1), under the Open Font License, which reserves no name of it.

Browsers fetch only the files whose characters a page shows: Latin; kana with the kanji of headings and of the menu;
the kanji that dishes are otherwise written with; the rest of JIS level 1. static/fonts/kaisei-decol.css, which this
writes, says which character is in which.
"""

import ast
import sys
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "static" / "fonts"
NAMES = map(ord, "日本語空想食堂")  # on English pages too
LATIN = (range(0x20, 0x7F), range(0xA0, 0x100), range(0x2010, 0x2040), (0x152, 0x153, 0x2192, 0x2212, 0x00D7))
KANA = (range(0x3000, 0x3020), range(0x3041, 0x3097), range(0x30A0, 0x3100), (0xFF01, 0xFF08, 0xFF09, 0xFF0B, 0xFF1F))


def jis_level_1() -> set[int]:
    """The 2,965 kanji of JIS X 0208's rows 16 to 47, which take in all that menus are written with."""
    return {
        ord(bytes((row, cell)).decode("euc_jp"))
        for row in range(0xB0, 0xD0)
        for cell in range(0xA1, 0xFF)
        if (row, cell) < (0xCF, 0xD4)
    }


def ranges(codes: set[int]) -> str:
    """`codes` as CSS's unicode-range has them."""
    runs: list[list[int]] = []
    for code in sorted(codes):
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return ", ".join(f"U+{a:X}" if a == b else f"U+{a:X}-{b:X}" for a, b in runs)


def cut(source: str, name: str, codes: set[int], covers: str = "") -> str:
    """Saves the file of these characters; its rule for the style sheet, which `covers` them or more."""
    font = TTFont(source)
    codes &= font.getBestCmap().keys()
    subsetter = Subsetter(Options(layout_features=["kern", "vert"], hinting=False))
    subsetter.populate(unicodes=codes)
    subsetter.subset(font)
    font.flavor = "woff2"
    font.save(TARGET / f"{name}.woff2")
    print(f"{name}: {(TARGET / name).with_suffix('.woff2').stat().st_size:,} bytes, {len(codes):,} characters")
    return (
        f'@font-face {{ font-family: "Kaisei Decol"; font-weight: 400 700; font-display: swap; '
        f'src: url("{name}.woff2") format("woff2"); unicode-range: {covers or ranges(codes)}; }}\n'
    )


def kanji(*texts: str) -> set[int]:
    return {ord(letter) for text in texts for letter in text if "\u4e00" <= letter <= "\u9fff"}


def main(source: str) -> None:
    # Headings, labels and buttons: texts that are short.
    tree = ast.parse((ROOT / "app" / "texts.py").read_text())
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    short = [text for text in texts if len(text) <= 32]
    own = kanji(*short, (ROOT / "app" / "featured.py").read_text())
    food = kanji((ROOT / "model" / "words.tsv").read_text()) - own
    TARGET.mkdir(exist_ok=True)
    # The later of two rules has its characters, so that the whole block can be the rest's.
    rules = [
        cut(source, "kaisei-decol-kanji", jis_level_1() - own - food, "U+4E00-9FFF"),
        cut(source, "kaisei-decol-food", food),
        cut(source, "kaisei-decol-kana", own.union(*KANA)),
        cut(source, "kaisei-decol-latin", set().union(*LATIN, NAMES)),
    ]
    (TARGET / "kaisei-decol.css").write_text("".join(rules))


if __name__ == "__main__":
    main(*sys.argv[1:])
