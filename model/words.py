"""The vocabulary of dish names, and names composed from it, in English and Japanese at once.

`words.tsv` has one word per line; `Word` explains its columns. A composed name is one dish in two languages: modifier ×
cuisine × sauce × method × ingredient × form, each language in its own order. The columns `before` and `after` have the
Japanese that fits into a name, which is not always the first in a dictionary (grilled: 焼き茄子, but 茄子の網焼き).
Words without them are never used in composed names ("dough", "gluten free").
"""

import csv
import functools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from model.languages import Language, by_language

ROLES = ("ingredient", "method", "form", "modifier", "sauce", "cuisine")

LONGEST = 60  # characters of an English name; the Japanese one is about half as long

# Names that contradict themselves: at most one word of each set may stand in a name.
_EXCLUSIVE = (
    {"hot", "warm", "cold", "chilled", "frozen", "iced", "snow", "ice", "shaved"},
    {"red", "white", "black", "green", "yellow", "golden", "pink", "purple", "blue", "dark", "brown"},
    {"spring", "summer", "autumn", "winter", "seasonal", "new"},
    {"mini", "giant", "jumbo", "baby", "bite", "double", "slider", "sliders"},
    {"beet", "beets", "beetroot"},
)


@dataclass(frozen=True)
class Word:
    """A word of the vocabulary, in both languages."""

    en: str
    """English, lower case, singular."""
    ja: tuple[str, ...]
    """Japanese, the commonest first."""
    role: str
    """One of `ROLES`."""
    colour: str
    """The plain colour that the word gives a dish ("red", "dark brown", …), or ""."""
    before: tuple[str, ...]
    """Japanese as it stands before another word of a name; empty: it does not."""
    after: tuple[str, ...]
    """Japanese as it ends a name; empty: it does not."""
    head: str
    """English as it ends a phrase ("tacos", "grilled sardines", "with teriyaki sauce"), or ""."""

    @property
    def title(self) -> dict[Language, str]:
        """The word on its own, in every language. Only for words with `before`."""
        return by_language(self.en, self.before[0])


@functools.cache
def vocabulary() -> tuple[Word, ...]:
    """Every word of words.tsv, in file order."""
    text = resources.files(__package__).joinpath("words.tsv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return tuple(
        Word(
            row["en"],
            _variants(row["ja"]),
            row["role"],
            row["colour"],
            _variants(row["before"]),
            _variants(row["after"]),
            row["head"],
        )
        for row in rows
    )


@functools.cache
def words(role: str | None = None, colour: str | None = None) -> tuple[Word, ...]:
    """The words of a role and a colour. None matches any; `colour=""` matches those without a colour of their own."""
    return tuple(
        word
        for word in vocabulary()
        if (role is None or word.role == role) and (colour is None or word.colour == colour)
    )


@functools.cache
def _forms() -> re.Pattern[str]:
    known = _choices("form", True)
    english = {text for word in known for text in (word.en, f"{word.en}s", word.head)}
    japanese = {text for word in known for text in (*word.ja, *word.before, *word.after)}
    plain, spelled = ("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) for texts in (english, japanese))
    return re.compile(rf"(?=(\b(?:{plain})\b|{spelled}))")  # a lookahead, since they overlap: アイスバーガー


def form_of(name: str) -> str:
    """The part of a normalized name that says the dish's form, or "" if none does.

    It is the last one, and in English the last before "with": "ramen" of "smoky beetroot ramen with egg", パフェ of
    ピリ辛サーモンパフェ.
    """
    found = _forms().finditer(name.lower().split(" with ")[0])
    ends = ((match.start() + len(match[1]), len(match[1]), match[1]) for match in found)
    return max(ends, default=(0, 0, ""))[2]


def compose(rng: random.Random) -> dict[Language, str]:
    """Makes up a dish, and returns its name in every language ("spicy salmon parfait", "ピリ辛サーモンパフェ").

    The same state of `rng` gives the same dish. There are millions of possible names, none longer than `LONGEST`.
    """
    while True:
        draft = rng.choices(_GRAMMARS, _WEIGHTS)[0](rng)
        if len(draft.english) <= LONGEST and not draft.clashes():
            return by_language(draft.english, draft.japanese)


def surprise(language: Language, rng: random.Random) -> str:
    """A made-up name in one language."""
    return compose(rng)[language]


def plain_dish(ingredient: Word, form: Word) -> dict[Language, str]:
    """The plainest name of an ingredient in a form ("tomato ramen", "トマトラーメン"), in every language."""
    return by_language(f"{ingredient.en} {form.head}", f"{ingredient.before[0]}{form.after[0]}")


# ---- grammars ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Draft:
    english: str
    japanese: str
    parts: tuple[str, ...]  # the Japanese pieces that were joined

    def clashes(self) -> bool:
        """Returns whether the name says one thing twice, contradicts itself or stammers."""
        if "とと" in self.japanese or "のの" in self.japanese:
            return True
        tokens = [token for token in self.english.split() if token not in ("and", "with", "style")]
        for i, a in enumerate(tokens):
            for b in tokens[:i]:
                # "beef" and "beefy", "cheese" and "cheesecake": a common stem.
                if a == b or (min(len(a), len(b)) >= 4 and (a[:4] == b[:4] or a in b or b in a)):
                    return True
        if any(len(exclusive.intersection(tokens)) > 1 for exclusive in _EXCLUSIVE):
            return True
        return any(_overlap(a, b) for i, a in enumerate(self.parts) for b in self.parts[:i])


def _overlap(a: str, b: str) -> bool:
    """Returns whether two Japanese pieces share a kanji or two letters in a row (焼き, 焼売; とろ, とろとろ)."""
    if any("\u4e00" <= character <= "\u9fff" and character in b for character in a):
        return True
    return any(a[i : i + 2] in b for i in range(len(a) - 1))


def _ingredient_form(rng: random.Random) -> _Draft:
    """beetroot ramen · ビーツラーメン"""
    a, form = _pick(rng, "ingredient"), _pick(rng, "form", after=True)
    ja = (_say(rng, a.before), _say(rng, form.after))
    return _Draft(f"{a.en} {form.head}", joined(*ja), ja)


def _modifier_form(rng: random.Random) -> _Draft:
    """spicy salmon parfait · ピリ辛サーモンパフェ, サーモンのピリ辛パフェ"""
    modifier, a, form = _modifier(rng), _pick(rng, "ingredient"), _pick(rng, "form", after=True)
    m, i, f = ja = (_say(rng, modifier.before), _say(rng, a.before), _say(rng, form.after))
    japanese = m + joined(i, f) if m.endswith("の") or rng.random() < 0.7 else f"{i}の{m}{f}"
    return _Draft(f"{modifier.en} {a.en} {form.head}", japanese, ja)


def _method_form(rng: random.Random) -> _Draft:
    """smoked duck udon · 燻製鴨うどん"""
    method, a, form = _pick(rng, "method"), _solid(rng), _pick(rng, "form", after=True)
    w, i, f = ja = (_say(rng, method.before), _say(rng, a.before), _say(rng, form.after))
    japanese = w + joined(i, f) if rng.random() < 0.5 else f"{w}{i}の{f}"
    return _Draft(f"{method.en} {a.en} {form.head}", japanese, ja)


def _modifier_method_form(rng: random.Random) -> _Draft:
    """creamy seared scallop gratin · 炙りほたてのクリーミーグラタン"""
    modifier, method, a = _modifier(rng), _pick(rng, "method"), _solid(rng)
    form = _pick(rng, "form", after=True)
    w, i = _say(rng, method.before), _say(rng, a.before)
    m, f = _say(rng, modifier.before), _say(rng, form.after)
    return _Draft(f"{modifier.en} {method.en} {a.en} {form.head}", f"{w}{i}の{m}{f}", (w, i, m, f))


def _two_ingredients(rng: random.Random) -> _Draft:
    """sea bream and shiso gratin with ponzu · 鯛と大葉のグラタンポン酢がけ"""
    a, b, form = _pick(rng, "ingredient"), _pick(rng, "ingredient"), _pick(rng, "form", after=True)
    i, j, f = _say(rng, a.before), _say(rng, b.before), _say(rng, form.after)
    english, japanese, parts = f"{a.en} and {b.en} {form.head}", f"{i}と{j}の", [i, j, f]
    chance = rng.random()
    if chance < 0.35:
        modifier = _modifier(rng)
        m = _say(rng, modifier.before)
        english, japanese, parts = f"{modifier.en} {english}", japanese + m, [*parts, m]
    elif chance < 0.55:
        cuisine = _pick(rng, "cuisine")
        c = _say(rng, cuisine.before)
        english, japanese, parts = f"{cuisine.en} {english}", japanese + c, [*parts, c]
    japanese += f
    if 0.45 < chance < 0.8:
        sauce = _pick(rng, "sauce", after=True)
        s = _say(rng, sauce.after)
        english, japanese, parts = f"{english} with {sauce.head}", japanese + s, [*parts, s]
    return _Draft(english, japanese, tuple(parts))


def _cuisine_form(rng: random.Random) -> _Draft:
    """korean squid tacos · 韓国風いかタコス, いかの韓国風タコス; spicy … · いかの韓国風ピリ辛タコス"""
    cuisine, a, form = _pick(rng, "cuisine"), _pick(rng, "ingredient"), _pick(rng, "form", after=True)
    c, i, f = _say(rng, cuisine.before), _say(rng, a.before), _say(rng, form.after)
    if rng.random() < 0.3:
        modifier = _modifier(rng)
        m = _say(rng, modifier.before)
        japanese = f"{m}{c}{joined(i, f)}" if m.endswith("の") else f"{i}の{c}{m}{f}"
        return _Draft(f"{modifier.en} {cuisine.en} {a.en} {form.head}", japanese, (c, i, m, f))
    japanese = c + joined(i, f) if rng.random() < 0.5 else f"{i}の{c}{f}"
    return _Draft(f"{cuisine.en} {a.en} {form.head}", japanese, (c, i, f))


def _sauce_form(rng: random.Random) -> _Draft:
    """teriyaki eggplant pizza · 照り焼き茄子ピザ; crispy … · 茄子のカリカリ照り焼きピザ"""
    sauce, a, form = _pick(rng, "sauce"), _solid(rng), _pick(rng, "form", after=True)
    s, i, f = _say(rng, sauce.before), _say(rng, a.before), _say(rng, form.after)
    if rng.random() < 0.3:
        modifier = _modifier(rng)
        m = _say(rng, modifier.before)
        japanese = f"{m}{i}の{s}{f}" if m.endswith("の") else f"{i}の{m}{s}{f}"
        return _Draft(f"{modifier.en} {sauce.en} {a.en} {form.head}", japanese, (m, s, i, f))
    japanese = s + joined(i, f) if rng.random() < 0.5 else f"{i}の{s}{f}"
    return _Draft(f"{sauce.en} {a.en} {form.head}", japanese, (s, i, f))


def _form_with(rng: random.Random) -> _Draft:
    """squid ramen with kimchi · キムチ入りいかラーメン; … with ponzu · いかラーメンポン酢がけ"""
    a, form = _pick(rng, "ingredient"), _pick(rng, "form", after=True)
    i, f = _say(rng, a.before), _say(rng, form.after)
    if rng.random() < 0.5:
        b = _pick(rng, "ingredient")
        j = _say(rng, b.before)
        return _Draft(f"{a.en} {form.head} with {b.head or b.en}", f"{j}入り{joined(i, f)}", (j, i, f))
    sauce = _pick(rng, "sauce", after=True)
    s = _say(rng, sauce.after)
    return _Draft(f"{a.en} {form.head} with {sauce.head}", f"{i}の{f}{s}", (i, f, s))


def _method_dish(rng: random.Random) -> _Draft:
    """salt grilled sardines · いわしの塩焼き; … and leeks, … with pesto, korean …"""
    method, a = _pick(rng, "method", after=True), _solid(rng)
    m, i = _say(rng, method.after), _say(rng, a.before)
    chance = rng.random()
    if chance < 0.25:
        b = _solid(rng)
        j = _say(rng, b.before)
        return _Draft(f"{method.en} {a.head} and {b.head}", f"{i}と{j}の{m}", (i, j, m))
    if chance < 0.45:
        sauce = _pick(rng, "sauce", after=True)
        s = _say(rng, sauce.after)
        return _Draft(f"{method.en} {a.head} with {sauce.head}", f"{i}の{m}{s}", (i, m, s))
    if chance < 0.65:
        modifier = _modifier(rng)
        w = _say(rng, modifier.before)
        return _Draft(f"{modifier.en} {method.en} {a.head}", f"{w}{i}の{m}", (w, i, m))
    if chance < 0.75:
        cuisine = _pick(rng, "cuisine")
        c = _say(rng, cuisine.before)
        return _Draft(f"{cuisine.en} {method.en} {a.head}", f"{i}の{c}{m}", (c, i, m))
    return _Draft(f"{method.en} {a.head}", f"{i}の{m}", (i, m))


_GRAMMARS = (
    _ingredient_form,
    _modifier_form,
    _method_form,
    _modifier_method_form,
    _two_ingredients,
    _cuisine_form,
    _sauce_form,
    _form_with,
    _method_dish,
)
_WEIGHTS = (12, 24, 12, 8, 14, 8, 8, 6, 8)


@functools.cache
def _choices(role: str, after: bool) -> tuple[Word, ...]:
    return tuple(word for word in words(role) if (word.after if after else word.before))


@functools.cache
def _solids() -> tuple[Word, ...]:
    return tuple(word for word in _choices("ingredient", False) if word.head)


def _pick(rng: random.Random, role: str, after: bool = False) -> Word:
    return rng.choice(_choices(role, after))


def _solid(rng: random.Random) -> Word:
    """Draws an ingredient that can be cooked by itself: squid, not vanilla."""
    return rng.choice(_solids())


def _modifier(rng: random.Random) -> Word:
    return _pick(rng, "modifier")


def _say(rng: random.Random, variants: Sequence[str]) -> str:
    """Draws one of the variants, the commonest most often, since visitors write all of them."""
    return variants[0] if rng.random() < 0.6 else rng.choice(variants)


def joined(ingredient: str, form: str) -> str:
    """Joins both, with の if two words in hiragana would otherwise run together (さばのおにぎり)."""
    return ingredient + ("の" if _hiragana(ingredient[-2:] + form[:2]) else "") + form


def _hiragana(text: str) -> bool:
    return all("\u3041" <= character <= "\u3096" for character in text)


def _variants(cell: str) -> tuple[str, ...]:
    return tuple(cell.split("|")) if cell else ()
