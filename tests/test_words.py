import random
import re
import unicodedata

import pytest

from model.languages import Language
from model.words import ROLES, compose, form_of, surprise, vocabulary, words


def composed(count: int, seed: int = 0) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    return [(names["en"], names["ja"]) for names in (compose(rng) for _ in range(count))]


def test_vocabulary_is_whole() -> None:
    assert len(vocabulary()) > 1500
    seen = set()
    for word in vocabulary():
        assert word.role in ROLES
        assert (word.en, word.role) not in seen  # "curry" is a form and a sauce
        seen.add((word.en, word.role))
        assert re.fullmatch(r"[a-z][a-z' ]*[a-z]", word.en)
        assert word.ja
        for variant in word.ja + word.before + word.after:
            assert variant == unicodedata.normalize("NFKC", variant).strip()
            assert variant
        if word.role in ("form", "sauce"):  # what ends a name does so in both languages
            assert bool(word.head) == bool(word.after)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("smoky beetroot ramen", "ramen"),
        ("fried egg salad", "salad"),
        ("spinach waffle with egg", "waffle"),
        ("Black Garlic Pancakes", "pancakes"),
        ("miso soup", "miso soup"),
        ("ピリ辛サーモンパフェ", "パフェ"),
        ("かぼちゃのアイスバーガー", "バーガー"),
        ("枝豆のチーズケーキ", "チーズケーキ"),
        ("salt grilled sardines", ""),
        ("卵", ""),
    ],
)
def test_the_form_of_a_name_is_the_last_that_it_names(name: str, form: str) -> None:
    assert form_of(name) == form


def test_nearly_every_composed_name_has_a_form_in_both_languages() -> None:
    found = [bool(form_of(name)) for names in composed(500) for name in names]
    assert sum(found) > 0.8 * len(found)


def test_words_by_role_and_colour() -> None:
    red = words("ingredient", "red")
    assert "tomato" in {word.en for word in red}
    assert {(word.role, word.colour) for word in red} == {("ingredient", "red")}
    assert {word.colour for word in words(colour="dark brown")} == {"dark brown"}
    assert sum(len(words(role)) for role in ROLES) == len(words()) == len(vocabulary())
    assert all(word.colour == "" for word in words(colour=""))
    assert words("dessert") == ()


def test_the_words_of_the_examples_are_there() -> None:
    known = {word.en: word for word in vocabulary()}
    pairs = {"spicy": "ピリ辛", "salmon": "サーモン", "parfait": "パフェ", "beetroot": "ビーツ", "ramen": "ラーメン"}
    for english, japanese in pairs.items():
        assert japanese in known[english].ja


def test_composes_a_hundred_thousand_distinct_names() -> None:
    # 20,000 draws of which nearly none repeats: far more than 100,000 are behind them. By the birthday bound,
    # 100,000 equally likely names would give some 1,900 repetitions.
    names = composed(20_000)
    assert len({english for english, _ in names}) > 19_800
    assert len({japanese for _, japanese in names}) > 19_800


def test_the_same_seed_composes_the_same_names() -> None:
    assert composed(50, seed=7) == composed(50, seed=7)
    assert composed(50, seed=7) != composed(50, seed=8)


def test_composed_names_read_well() -> None:
    for english, japanese in composed(5_000):
        assert re.fullmatch(r"[a-z][a-z' ]*[a-z]", english), english
        assert "  " not in english
        assert len(english) <= 60
        tokens = [token for token in english.split() if token not in ("and", "with", "style")]
        assert len(tokens) == len(set(tokens)), english
        assert len(japanese) <= 40
        assert not re.search(r"[\sA-Za-z]|のの|とと|^の|の$", japanese), japanese
        assert unicodedata.is_normalized("NFKC", japanese)


def test_both_languages_name_the_same_dish() -> None:
    surfaces: dict[str, set[str]] = {}
    for word in words():
        for surface in {word.en, word.head} - {""}:
            surfaces.setdefault(surface, set()).update(word.ja + word.before + word.after)
    for english, japanese in composed(300, seed=3):
        left = f" {english} "
        # The longest first, since "bean" is also in "bean sprout".
        for surface in sorted(surfaces, key=len, reverse=True):
            if f" {surface} " in left:
                assert any(variant in japanese for variant in surfaces[surface]), (english, japanese, surface)
                left = left.replace(f" {surface} ", "  ")
        assert set(left.split()) <= {"and", "with"}, (english, left)


def test_composition_uses_every_role() -> None:
    names = composed(3_000, seed=5)
    for role in ROLES:
        usable = [word for word in words(role) if word.before or word.after]
        share = sum(any(f" {word.en} " in f" {english} " for word in usable) for english, _ in names) / len(names)
        assert share > 0.1, role
    assert any(" with " in english for english, _ in names)
    assert any(" and " in english and "と" in japanese for english, japanese in names)
    assert any("風" in japanese for _, japanese in names)


@pytest.mark.parametrize(("language", "letters"), [("en", r"[a-z' ]+"), ("ja", r"[^A-Za-z\s]+")])
def test_surprise_speaks_the_language(language: Language, letters: str) -> None:
    rng = random.Random(1)
    names = [surprise(language, rng) for _ in range(50)]
    assert len(set(names)) == 50
    assert all(re.fullmatch(letters, name) for name in names)
