"""The languages of dish names and pages, and the differences between them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeVar

Language = Literal["en", "ja"]

Text = TypeVar("Text")


@dataclass(frozen=True)
class LanguageSpec:
    """Everything that other modules need to know about a language."""

    name: str
    """In English."""
    own_name: str
    """In the language itself."""
    locale: str
    """As Open Graph has it."""
    letters: str = ""
    """The ranges of letters, as in a regular expression, that no other language here is written in."""
    spaced: bool = True
    """True if it puts spaces between words."""


# By BCP 47 tag. Wherever texts or names stand side by side, they do so in this order, and so they do in an index of
# names: a new language comes last.
LANGUAGES: dict[Language, LanguageSpec] = {
    "en": LanguageSpec("English", "English", "en_US"),
    "ja": LanguageSpec("Japanese", "日本語", "ja_JP", "ぁ-ゖァ-ヺ一-鿿", spaced=False),
}
DEFAULT: Language = "en"
"""The language of requests that ask for none, and of a photograph's name where a table has one column of names."""
OTHERS: tuple[Language, ...] = tuple(language for language in LANGUAGES if language != DEFAULT)
LISTED = " or ".join(LANGUAGES[language].name for language in (*OTHERS, DEFAULT))

_LETTERS = {language: re.compile(f"[{spec.letters}]") for language, spec in LANGUAGES.items() if spec.letters}


def by_language(*texts: Text) -> dict[Language, Text]:
    """Maps languages to texts, given in the order of `LANGUAGES`. Raises ValueError if their number differs."""
    if len(texts) != len(LANGUAGES):
        raise ValueError(f"{', '.join(LANGUAGES)} are needed, and these are {len(texts)}: {texts}")
    return dict(zip(LANGUAGES, texts, strict=True))


def written_in(text: str, default: Language = DEFAULT) -> Language:
    """The first language whose own letters occur in a text; `default` if there is none."""
    return next((language for language, letters in _LETTERS.items() if letters.search(text)), default)
