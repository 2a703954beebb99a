"""Cuts a Japanese font down to what captions need: `python scripts/subset_font.py BIZUDPGothic-Regular.ttf`.

Needs fonttools. model/fonts/BIZUDPGothic-captions.ttf was made with it from BIZ UDPGothic Regular of
github.com/googlefonts/morisawa-biz-ud-gothic (as packed in npm's @expo-google-fonts/biz-udpgothic 0.4.2),
under the Open Font License, which reserves no name of this font.
"""

import sys
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

TARGET = Path(__file__).parent.parent / "model" / "fonts" / "BIZUDPGothic-captions.ttf"
LATIN_GREEK_CYRILLIC = (range(0x20, 0x7F), range(0xA0, 0x250), range(0x370, 0x460), range(0x1E00, 0x1F00))
SYMBOLS_AND_KANA = (range(0x2000, 0x2300), range(0x2460, 0x2670), range(0x3000, 0x3100))


def jis_x_0208() -> set[int]:
    """Kanji levels 1 and 2, kana, Greek, Cyrillic and symbols: 6,879 characters."""
    codes = range(0xA1, 0xFF)
    texts = (bytes((row, cell)).decode("euc_jp", "ignore") for row in codes for cell in codes)
    return {ord(text) for text in texts if len(text) == 1}


def main(source: str) -> None:
    font = TTFont(source)
    subsetter = Subsetter(Options(layout_features=[], hinting=False, notdef_outline=False))
    subsetter.populate(unicodes=jis_x_0208().union(*LATIN_GREEK_CYRILLIC, *SYMBOLS_AND_KANA))
    subsetter.subset(font)
    # What the font lacks is drawn as nothing: no outline and no width, where most fonts draw a box.
    font["hmtx"][".notdef"] = (0, 0)
    TARGET.parent.mkdir(exist_ok=True)
    font.save(TARGET)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes, {len(font.getBestCmap()):,} characters")


if __name__ == "__main__":
    main(*sys.argv[1:])
