"""Normalizes dish names: whatever a visitor sends becomes a clean line of text or a clear error."""

import re
import unicodedata
from dataclasses import dataclass

from model import food_emoji, lookalikes
from model.languages import DEFAULT, Language, by_language

MAX_CODE_POINTS = 80

# What is looked at of a longer text. It bounds the work: Unicode's ordering of combining marks is quadratic in
# their number, and one ligature stands for up to 18 letters. 500 normalised code points never become fewer than 80 by
# composition.
_MAX_RAW = 2_000
_MAX_SEEN = 500

_EMOJI = "[\u00a9\u00ae\u2190-\u2bff\u3030\u303d\U0001f000-\U0001faff]"
_SELECTOR = "[\ufe0e\ufe0f]"
_JOINER = "\u200d"
# Emoji with the invisible characters that they are made with: 👩‍🍳, ❤️, 1️⃣ and the flags of 🏴 and tags.
_SEQUENCE = (
    f"\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f"
    f"|[0-9#*]\ufe0f\u20e3"
    f"|{_EMOJI}{_SELECTOR}?(?:{_JOINER}{_EMOJI}{_SELECTOR}?)*"
)
# What names are mostly written with. That it needs no second look saves three quarters of the time that a name takes.
_PLAIN = " -~ぁ-ゖァ-ヺー一-鿿"
_PIECES = re.compile(f"(?P<emoji>{_SEQUENCE})|(?P<other>[^{_PLAIN}])")

# Letters and symbols that show nothing: Hangul fillers and the empty Braille cell.
_BLANKS = dict.fromkeys(map(ord, "\u115f\u1160\u3164\uffa0\u2800"), " ")
# Marks that show nothing: the grapheme joiner and Mongolian, plain and ideographic variation selectors.
_INVISIBLE = re.compile("[\u034f\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")


class InvalidName(ValueError):
    """The text is not the name of a dish. str() is the message in English, fit to be shown to visitors."""

    code = "invalid_name"
    """Says which error it is, to a program."""
    _message = "This name holds characters that cannot be read. Please write it in ordinary letters."

    def __init__(self) -> None:
        super().__init__(self._message)


class EmptyName(InvalidName):
    """The text has nothing visible in it."""

    code = "empty_name"
    _message = "Which dish? Please write its name."


class UnreadableName(InvalidName):
    """The text was not decoded properly: it contains lone surrogates or replacement characters."""


class Notice(str):
    """A notice to the visitor about how the name was read: a str in English that carries the other languages too."""

    messages: dict[Language, str]

    def __new__(cls, *messages: str) -> "Notice":
        """The same message in every language, in the order of `model.languages.LANGUAGES`."""
        known = by_language(*messages)
        notice = super().__new__(cls, known[DEFAULT])
        notice.messages = known
        return notice


TOO_LONG = Notice(
    f"This name is long: only its first {MAX_CODE_POINTS} characters are read.",
    f"名前が長いので、はじめの{MAX_CODE_POINTS}文字だけを読みました。",
)


@dataclass(frozen=True)
class Name:
    """A normalized name."""

    text: str
    """1 to `MAX_CODE_POINTS` code points on one line, NFKC, without control characters."""
    notices: tuple[str, ...] = ()


def normalize(raw: str) -> Name:
    """Normalizes whatever was typed.

    Applies NFKC (full-width letters and half-width kana become the usual ones), replaces look-alike characters
    (`model.lookalikes`) and emoji of food (`model.food_emoji`), removes control and format characters except inside
    emoji, collapses white space, and cuts names longer than `MAX_CODE_POINTS`, with a notice. Normalizing is
    idempotent.

    Raises:
        EmptyName: nothing visible is left.
        UnreadableName: the text was not decoded (lone surrogates, U+FFFD).
    """
    if re.search("[\ud800-\udfff\ufffd]", raw):
        raise UnreadableName
    begun = raw.strip()
    text = _tidy(begun[:_MAX_RAW])
    seen = _settled(text[:_MAX_SEEN])
    cut = seen
    while (shorter := cut[: _boundary(cut)]) != cut:
        cut = _settled(shorter)
    if not cut:
        raise EmptyName
    too_long = len(begun) > _MAX_RAW or len(text) > _MAX_SEEN or cut != seen
    return Name(cut, (TOO_LONG,) if too_long else ())


def _settled(text: str) -> str:
    """Repeats the normalization until nothing changes. Removing an invisible character can join a letter with its
    accent, and NFKC can produce new spaces and selectors."""
    while (tidied := _unified(text)) != text:
        text = tidied
    return text


def _unified(text: str) -> str:
    text = unicodedata.normalize("NFKC", lookalikes.before_nfkc(food_emoji.read(text)))[:_MAX_SEEN]
    return _tidy(lookalikes.after_nfkc(text))


def _tidy(text: str) -> str:
    """Removes invisible characters, except in emoji, and collapses spaces."""
    text = _PIECES.sub(lambda piece: piece["emoji"] or _visible(piece["other"]), text.translate(_BLANKS))
    return " ".join(text.split())


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    # Cc control, Cf format, Co private use; noncharacters are unassigned (Cn), but so are the emoji of tomorrow.
    if unicodedata.category(character) in ("Cc", "Cf", "Co") or ord(character) & 0xFFFE == 0xFFFE:
        return ""
    if 0xFDD0 <= ord(character) <= 0xFDEF or _INVISIBLE.match(character):
        return ""
    return character


def _boundary(text: str) -> int:
    """The index to cut a text at: `MAX_CODE_POINTS`, or before a letter or emoji that the cut would split."""
    end = min(len(text), MAX_CODE_POINTS)
    if end == len(text):
        return end
    for at in range(end, 0, -1):
        if not _continues(text[at]) and text[at - 1] != _JOINER:
            return at
    return end  # nothing but marks


def _continues(character: str) -> bool:
    """Returns whether a character belongs to the one before it: marks, joiners, selectors, tags, skin tones."""
    return (
        unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf")
        or "\U0001f3fb" <= character <= "\U0001f3ff"
    )
