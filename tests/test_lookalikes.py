"""The same dish is the same name, whichever of the characters that look alike it is written with."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.names import normalize
from model.words import vocabulary

CASES = Path(__file__).parents[2] / "shared" / "cases" / "names.tsv"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        # Voiced marks that stand apart
        ("ハンハ゛ーグ", "ハンバーグ"),
        ("カレーハ゜ン", "カレーパン"),
        ("抹茶ハ゜フェ", "抹茶パフェ"),
        ("ﾊﾝﾊﾞｰｸﾞ", "ハンバーグ"),
        ("ハ ゙ニラ", "バニラ"),  # as NFKC leaves it
        ("カレーハ°ン", "カレーパン"),
        ("てん\u3075\u309aら", "てんぷら"),
        ("か゛んも", "がんも"),
        # The long vowel mark
        ("ハンバ－グ", "ハンバーグ"),
        ("味噌ラ−メン", "味噌ラーメン"),
        ("味噌ラ―メン", "味噌ラーメン"),
        ("味噌ラ—メン", "味噌ラーメン"),
        ("味噌ラ–メン", "味噌ラーメン"),
        ("味噌ラ‐メン", "味噌ラーメン"),
        ("味噌ラ-メン", "味噌ラーメン"),
        ("味噌ラ─メン", "味噌ラーメン"),
        ("味噌ラㅡメン", "味噌ラーメン"),
        ("味噌ラ〜メン", "味噌ラーメン"),
        ("味噌ら～めん", "味噌らーめん"),
        ("味噌ラ一メン", "味噌ラーメン"),
        ("味噌ラ｜メン", "味噌ラーメン"),
        ("コ一ヒ一ゼリ一", "コーヒーゼリー"),
        ("ビ-フシチュ-", "ビーフシチュー"),
        ("カレ―うどん", "カレーうどん"),
        ("カレ一丼", "カレー丼"),
        ("とろ〜りチーズ", "とろーりチーズ"),
        # Kanji and kana of one shape
        ("力レー", "カレー"),
        ("コ口ッケ", "コロッケ"),
        ("トマ卜", "トマト"),
        ("工ビフライ", "エビフライ"),
        ("二ンニク", "ニンニク"),
        ("八ムカツ", "ハムカツ"),
        ("夕コライス", "タコライス"),
        ("へーゼルナッツ", "ヘーゼルナッツ"),
        ("食ベくらべ", "食べくらべ"),
        ("ー口カツ", "一口カツ"),
        # Old and other forms of kanji
        ("中華麵", "中華麺"),
        ("鹽燒き鷄", "塩焼き鶏"),
        ("櫻餠", "桜餅"),
        ("醬油ラーメン", "醤油ラーメン"),
        ("壽司", "寿司"),
        ("黃金の芋", "黄金の芋"),
        ("髙級𠮷野丼", "高級吉野丼"),
        ("⻘椒肉絲", "青椒肉絲"),  # a radical, out of a PDF file
        ("⻝パン", "食パン"),
        # Quotes, dashes, dots, and letters that only look another way
        ("Chef’s “secret” salad", 'Chef\'s "secret" salad'),
        ("Chef´s salad", "Chef's salad"),
        ("Chef`s salad", "Chef's salad"),
        ("five‑spice – duck", "five-spice - duck"),
        ("½ chicken", "1/2 chicken"),
        ("bœuf", "boeuf"),
        ("トマト·チーズ", "トマト・チーズ"),
        ("ｓａｌｍｏｎ　ｓｏｕｐ", "salmon soup"),
        ("𝓈𝒶𝓁𝓂ℴ𝓃", "salmon"),
        ("ᴘɪᴢᴢᴀ", "pizza"),
        ("🆂🅾🆄🅿", "SOUP"),
        # Cyrillic, Greek and Armenian letters in Latin words, and Latin ones in Cyrillic words
        ("sаlmоn pаrfаit", "salmon parfait"),
        ("рорсоrn", "popcorn"),
        ("tomatο soup", "tomato soup"),
        ("cafё", "cafë"),
        ("bоwl of роре", "bowl of pope"),
        ("бopщ", "борщ"),
        # What does not show
        ("sal\u200dmon\u2060 so\u00adup", "salmon soup"),
        ("抹\u200b茶\ufeffラテ", "抹茶ラテ"),
        ("tea\ufffc", "tea"),
    ],
)
def test_look_alikes_are_one_name(written: str, meant: str) -> None:
    assert normalize(written).text == meant
    assert normalize(meant).text == meant


@pytest.mark.parametrize(
    "name",
    [
        "ボウル一つで作るチョコレートケーキ",
        "トマト一皿",
        "ビール一ケース",
        "カレー一杯",
        "力うどん",
        "力ラーメン",
        "口コミカレー",
        "一口カツ",
        "千切りキャベツ",
        "八宝菜",
        "二色丼",
        "トマト-チーズ",
        "パン-ケーキ",
        "シェフのサラダ ~春風~",
        "サラダ~レモン添え~",
        "すし~うどん",
        "さばのへしこ",
        "烏龍茶",
        "青椒肉絲",
        "five-spice duck",
        "x-y-z",
        "jalapeño crème brûlée",
        "борщ",
        "βカロテン",
        "μουσακάς",
        "한국 김치",
        "แกงเขียวหวาน",
        "🎏 soup",
        'half & half "hot" dog, 50% #1',
    ],
)
def test_what_is_meant_as_it_stands_stays(name: str) -> None:
    assert normalize(name).text == name


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("🍣", "sushi"),
        ("🍣 sundae", "sushi sundae"),
        ("🍣丼", "寿司丼"),
        ("🍕🍜", "pizza ramen"),
        ("spicy🌶️tacos", "spicy chili tacos"),
        ("🌶カレー", "唐辛子カレー"),
        ("🍋‍🟩 pie", "lime pie"),
        ("🍅と🥚の🍜", "トマトと卵のラーメン"),
        ("pizza 🍕", "pizza"),  # an ornament
        ("いくら寿司🍣", "いくら寿司"),
        ("🍔🍔🍔", "hamburger"),
        ("👩‍🍳 soup", "👩‍🍳 soup"),  # a cook, no fried egg
    ],
)
def test_emoji_of_food_are_read_as_their_words(written: str, meant: str) -> None:
    assert normalize(written).text == meant


def test_every_word_of_the_vocabulary_stays() -> None:
    for word in vocabulary():
        for text in (word.en, *word.ja, *word.before, *word.after):
            assert normalize(text).text == unicodedata.normalize("NFKC", text)


@pytest.mark.skipif(not CASES.exists(), reason="the shared cases are not here")
def test_the_shared_names() -> None:
    for line in CASES.read_text("utf-8").splitlines():
        written, meant, why = line.split("\t")
        if not why.split(";")[0].startswith(("file name", "percent-encoded")):  # those are tests of folders
            assert normalize(written).text == meant, why


_CONFUSED = st.sampled_from(
    "ハヘへゔカら゛゜°゙ ー-－−―〜~|一力口二ッントマコケ杯丼aоСрxѕ'’`·🍣🍜\u200d\ufe0f麵焼"
)


@settings(deadline=None)
@given(st.text(_CONFUSED, max_size=120))
def test_once_is_enough(raw: str) -> None:
    if raw.strip(" \u200d\ufe0f"):
        name = normalize(raw).text
        assert normalize(name).text == name
