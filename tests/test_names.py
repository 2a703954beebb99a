import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.names import MAX_CODE_POINTS, EmptyName, InvalidName, UnreadableName, normalize


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("smoky beetroot ramen", "smoky beetroot ramen"),
        ("ﾋﾟﾘ辛ｻｰﾓﾝ丼", "ピリ辛サーモン丼"),  # half-width kana
        ("Ｐｉｚｚａ　９", "Pizza 9"),  # full width and an ideographic space
        ("パフェ", "パフェ"),  # decomposed, as macOS writes file names
        ("  salmon \t\n  parfait\r\n", "salmon parfait"),
        ("sal\x00mon\x1b par\u200bfait\ufeff", "salmon parfait"),
        ("soft\u00adhyphen\u202eflip", "softhyphenflip"),
        ("cafe\u200d\u0301", "café"),  # the accent meets its letter once the joiner is gone
        ("葛\U000e0100餅", "葛餅"),  # ideographic variation selector
        ("a\u3164b", "a b"),  # Hangul filler
        ("x\ue000\uffffy", "xy"),  # private use, noncharacter
        ("حساء السلمون", "حساء السلمون"),
        ("🎏 sundae", "🎏 sundae"),
    ],
)
def test_cleans_text(raw: str, text: str) -> None:
    assert normalize(raw).text == text
    assert normalize(raw).notices == ()


@pytest.mark.parametrize(
    "emoji",
    [
        "👩‍🍳",  # joiner
        "👩🏽‍🍳",  # skin tone and joiner
        "❤️",  # variation selector
        "🏴‍☠️",
        "1️⃣",  # keycap
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # the flag of England, in tags
        "🇯🇵",
    ],
)
def test_keeps_what_an_emoji_needs(emoji: str) -> None:
    assert normalize(f"{emoji} soup {emoji}").text == f"{emoji} soup {emoji}"


@pytest.mark.parametrize("raw", ["❤\u200d", "\u200d❤", "a\ufe0f", "3\ufe0f", "x\u200dy", "b\U000e0067"])
def test_drops_joiners_and_selectors_elsewhere(raw: str) -> None:
    assert normalize(raw).text == "".join(c for c in raw if c in "❤a3xyb")


@pytest.mark.parametrize("raw", ["", "   ", "\u3000\n", "\x00\x01", "\u200b\ufeff", "\u3164\u2800", "\ufe0f"])
def test_nothing_visible_is_an_empty_name(raw: str) -> None:
    with pytest.raises(EmptyName) as caught:
        normalize(raw)
    assert caught.value.code == "empty_name"


@pytest.mark.parametrize(
    "raw",
    [
        "salmon \ud83c parfait",
        "\udf63",
        "ピリ辛".encode("shift_jis").decode("utf-8", "surrogateescape"),
        "ピリ辛".encode("shift_jis").decode("utf-8", "replace"),
    ],
)
def test_undecoded_text_is_invalid(raw: str) -> None:
    with pytest.raises(UnreadableName) as caught:
        normalize(raw)
    error = caught.value
    assert isinstance(error, InvalidName)
    assert error.code == "invalid_name"
    assert str(error).isascii()
    str(error).encode()  # does not echo what cannot be encoded


def test_long_names_are_cut_with_a_notice() -> None:
    name = normalize("鮭" * 10_000)
    assert name.text == "鮭" * MAX_CODE_POINTS
    (notice,) = name.notices
    assert "80" in notice
    assert "80文字" in notice.messages["ja"]  # type: ignore[attr-defined]
    assert normalize("鮭" * MAX_CODE_POINTS).notices == ()
    assert normalize("  " + "鮭" * MAX_CODE_POINTS + " " * 20_000).notices == ()


def test_a_cut_goes_through_no_letter_and_no_emoji() -> None:
    assert normalize("x" * 79 + "q\u0323\u0301 soup").text == "x" * 79
    assert normalize("x" * 78 + "👩‍🍳 soup").text == "x" * 78
    assert normalize("x" * 79 + "👩🏽").text == "x" * 79
    assert normalize("x" * 79 + " soup").text == "x" * 79


def test_a_storm_of_combining_marks_is_quick() -> None:
    # Their canonical ordering is quadratic: 200,000 of them would take minutes.
    assert len(normalize("a" + "\u0301\u0323" * 100_000).text) <= MAX_CODE_POINTS


_AWKWARD = st.sampled_from(
"a 1éハヘへー-〜~一力口゛゜°’“оСр🍣🍕`麵"
    "\u0301\u0323\u200d\ufe0f\u20e3👩🍳🏽🏴\U000e0067\U000e007f\u3164\u2028ﾋﾟ™‼¨\ufdfa한ᄒ\u1161\u11ab"
)
_ANY = st.characters(exclude_categories=())  # lone surrogates too


@settings(deadline=None)  # other work may share the processor
@given(st.text() | st.text(_ANY) | st.text(_AWKWARD, max_size=200) | st.text(min_size=70, max_size=120))
def test_any_text_gives_a_clean_name_or_a_clear_error(raw: str) -> None:
    try:
        name = normalize(raw)
    except InvalidName:
        return
    assert 1 <= len(name.text) <= MAX_CODE_POINTS
    assert not {"Cc", "Cs", "Zl", "Zp"} & {unicodedata.category(character) for character in name.text}
    assert name.text == " ".join(name.text.split())
    assert unicodedata.is_normalized("NFKC", name.text)
    assert normalize(name.text) == type(name)(name.text)
    name.text.encode()
