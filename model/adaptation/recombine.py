"""Makes up new dish names from given ones: a word of one dish, and the form of another."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from model.words import joined

_ASIDE = re.compile(r"[(（\[].*?[)）\]]")
_JOINERS = frozenset("a al alla and au con da de di en et in la no of on or the to with à".split())
# What Japanese names are joined with. の and と only after what is not hiragana: きのこ and とろとろ are words.
_PARTICLES = re.compile(r"[・、,&＆\s]+|(?<=[^ぁ-ん])[のと]|風(?!味)|入り|添え|付き|または")
_KATAKANA = re.compile(r"[ァ-ヺー]+")
_KANA = re.compile(r"[ぁ-ゖァ-ヺー]")


def recombine(names: Sequence[str], count: int, seed: int, pieces: Callable[[str], Sequence[str]]) -> list[str]:
    """Returns at most `count` distinct names that are not among the given ones: "apple strudel" and "lamb biriyani"
    give "apple biriyani".

    Names are split at spaces, Japanese ones at particles. The form is at the end of the name, or before "with".
    `pieces` (`Tokenizer.pieces`) may split the rest, such as バナナマフィン, if each piece is long enough to be a word.
    The same arguments give the same names.
    """
    words: dict[bool, list[str]] = {True: [], False: []}  # by whether they are joined by a space
    forms: dict[bool, list[str]] = {True: [], False: []}
    for name in dict.fromkeys(names):
        plain = _ASIDE.sub("", name).strip()
        spaced = plain.isascii() or " " in plain
        parts = plain.split() if spaced else [w for part in _PARTICLES.split(plain) for w in _words(part, pieces)]
        end = next((i for i, part in enumerate(parts) if i and part.lower() == "with"), len(parts))
        content = [part for part in parts if part.lower() not in _JOINERS]
        if not content:
            continue
        form = parts[end - 1] if parts[end - 1] in content else content[-1]
        forms[spaced].append(form)
        words[spaced] += [part for part in content if part != form]
    taken = {name.casefold() for name in names}
    rng = random.Random(seed)
    made: list[str] = []
    choices = [
        f"{word} {form}" if spaced else joined(word, form)
        for spaced in (True, False)
        for word in dict.fromkeys(words[spaced])
        for form in rng.sample(sorted(set(forms[spaced])), min(8, len(set(forms[spaced]))))
        if word.casefold() != form.casefold()
    ]
    rng.shuffle(choices)
    for name in choices:
        if name.casefold() not in taken and len(made) < count:
            taken.add(name.casefold())
            made.append(name)
    return made


def _words(part: str, pieces: Callable[[str], Sequence[str]]) -> list[str]:
    """Splits a part of a Japanese name into pieces if all look like words: at least three katakana or two other
    letters. A single kana does not count."""
    if not part or _KANA.fullmatch(part):
        return []
    cut = [bare for piece in pieces(part) if (bare := piece.strip("▁"))]
    whole = any(piece.startswith("<0x") or len(piece) < (3 if _KATAKANA.fullmatch(piece) else 2) for piece in cut)
    return [part] if whole else cut
