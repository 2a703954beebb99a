"""Unifies look-alike characters that people, keyboards and programs confuse.

Unicode's NFKC maps full-width letters and half-width kana to the usual ones, but not characters that only look the
same: a minus sign in ラ−メン, the kanji for "one" in ラ一メン, detached voiced marks, old forms of kanji, Cyrillic
letters in a Latin word. The tokenizer has no pieces for most of these, so the model would read a different dish.

The tables are our own. Unicode's confusables (UTS #39) are meant for security: they merge ー with 一 and O with 0
everywhere, whereas here it depends on the neighbouring characters.
"""

import functools
import re
import unicodedata

from model.words import vocabulary

_KATAKANA = "ァ-ヺヽヾー"
_HIRAGANA = "ぁ-ゖゝゞ"
_KANA = _KATAKANA + _HIRAGANA
_KANJI = "々一-鿿"

# Old form and new form of a kanji. Left out are old forms that names of dishes are still written with (烏龍茶,
# 青椒肉絲). Towards the end, variants outside the lists of common kanji: the second is the commoner one in names of
# dishes.
_KANJI_FORMS = """
亞亜 惡悪 壓圧 圍囲 爲為 醫医 壹壱 隱隠 榮栄 營営 衞衛 驛駅 圓円 緣縁 艷艶 鹽塩 奧奥 應応 橫横 歐欧
毆殴 黃黄 溫温 穩穏 假仮 價価 畫画 會会 囘回 壞壊 懷懐 繪絵 擴拡 殼殻 覺覚 學学 嶽岳 樂楽 勸勧 卷巻
寬寛 歡歓 罐缶 觀観 關関 陷陥 顏顔 巖巌 氣気 歸帰 僞偽 戲戯 犧犠 舊旧 據拠 擧挙 舉挙 虛虚 峽峡 挾挟
敎教 狹狭 鄕郷 鄉郷 曉暁 區区 驅駆 勳勲 薰薫 徑径 惠恵 溪渓 經経 繼継 莖茎 螢蛍 輕軽 鷄鶏 雞鶏 藝芸
擊撃 缺欠 儉倹 劍剣 圈圏 檢検 權権 獻献 縣県 險険 顯顕 驗験 嚴厳 效効 廣広 恆恒 鑛鉱 號号 國国 黑黒
濟済 碎砕 齋斎 劑剤 櫻桜 册冊 雜雑 產産 參参 慘惨 棧桟 蠶蚕 贊賛 殘残 齒歯 兒児 辭辞 濕湿 實実 舍舎
寫写 釋釈 壽寿 收収 從従 澁渋 澀渋 獸獣 縱縦 肅粛 處処 緖緒 敍叙 尙尚 奬奨 將将 燒焼 稱称 證証 乘乗
剩剰 壤壌 孃嬢 條条 淨浄 狀状 疊畳 讓譲 釀醸 囑嘱 觸触 寢寝 愼慎 晉晋 眞真 盡尽 圖図 粹粋 醉酔 穗穂
隨随 髓髄 數数 樞枢 瀨瀬 聲声 齊斉 靜静 攝摂 竊窃 專専 戰戦 淺浅 潛潜 纖繊 踐践 錢銭 禪禅 曾曽 雙双
壯壮 搜捜 插挿 爭争 總総 聰聡 莊荘 裝装 騷騒 增増 藏蔵 臟臓 卽即 屬属 續続 墮堕 對対 帶帯 滯滞 臺台
瀧滝 擇択 澤沢 單単 擔担 膽胆 團団 彈弾 斷断 癡痴 遲遅 晝昼 蟲虫 鑄鋳 廳庁 徵徴 聽聴 鎭鎮 遞逓 鐵鉄
轉転 點点 傳伝 黨党 盜盗 燈灯 當当 鬭闘 德徳 獨独 讀読 屆届 繩縄 貳弐 惱悩 腦脳 霸覇 廢廃 拜拝 賣売
麥麦 發発 髮髪 拔抜 蠻蛮 祕秘 濱浜 濵浜 甁瓶 拂払 佛仏 竝並 變変 邊辺 邉辺 辨弁 瓣弁 辯弁 寶宝 豐豊
沒没 飜翻 萬万 滿満 默黙 餠餅 彌弥 藥薬 譯訳 豫予 餘余 與与 譽誉 搖揺 樣様 謠謡 來来 賴頼 亂乱 覽覧
兩両 獵猟 綠緑 壘塁 勵励 禮礼 隸隷 靈霊 齡齢 戀恋 爐炉 勞労 樓楼 祿禄 亙亘 灣湾 內内 兔兎 凉涼 步歩
每毎 晚晩 歷歴 曆暦 戾戻 淚涙 羣群 悅悦 說説 稅税 脫脱 絕絶 歲歳 錄録 戶戸 揭掲 渴渇 淸清 靑青 飮飲
槪概 麵麺 麪麺 醬醤 蔥葱 麴麹 鹼鹸 嚙噛 攪撹 瘦痩 頰頬 剝剥 塡填 繫繋 蟬蝉 簞箪 蠟蝋 搔掻 焰焔 吞呑
顚顛 屛屏 鷗鴎 蛎蠣 鰺鯵 莓苺 薑姜 壷壺 篭籠 裡裏 韭韮 笋筍 蠏蟹 粮糧 糓穀 髙高 𠮷吉 﨑崎 㐂喜 冨富
嶋島 峯峰
"""
# CJK radicals that NFKC has no letter for; they come out of PDF files in place of the letter.
_RADICALS = """
⺒巳 ⺜日 ⺝月 ⺠民 ⺧牛 ⺫目 ⺮竹 ⺶羊 ⺼肉 ⻁虎 ⻄西 ⻆角 ⻊足 ⻑長 ⻗雨 ⻘青 ⻝食 ⻡首 ⻣骨 ⻤鬼
⻨麦 ⻩黄 ⻫斉 ⻭歯 ⻯竜 ⻲亀
"""
_SMALL_CAPITALS = "ᴀa ʙb ᴄc ᴅd ᴇe ꜰf ɢg ʜh ɪi ᴊj ᴋk ʟl ᴍm ɴn ᴏo ᴘp ʀr ꜱs ᴛt ᴜu ᴠv ᴡw ʏy ᴢz"
_SAME = {
    **dict.fromkeys("‘’‚‛′´ʹʻʼʽˊ՚", "'"),
    **dict.fromkeys("“”„‟″〝〞〟ʺ«»", '"'),
    # Hyphens, dashes, minus signs, rules, and the Korean vowel and the Chinese letter that look like them.
    **dict.fromkeys("‐‑‒–—―−－﹘﹣⁃˗ˉ➖─━╌╴╶╸╺⎯⏤⸺⸻ㅡ\u1173ㄧ㇐", "-"),
    **dict.fromkeys("〜～∼∽〰˜", "~"),
    **dict.fromkeys("｜∣丨︱", "|"),
    **dict.fromkeys("⁄∕⧸", "/"),
    **dict.fromkeys("✕✖⨯⤫", "×"),
    "\ufffc": "",  # stands for a picture that was left behind in copying
    "œ": "oe", "Œ": "OE", "æ": "ae", "Æ": "AE", "℮": "e", "ɑ": "a", "ɡ": "g",
    **{chr(0x1F150 + k): chr(ord("A") + k) for k in range(26)},  # white letters in black circles
    **{chr(0x1F170 + k): chr(ord("A") + k) for k in range(26)},  # and in black squares
    **{pair[0]: pair[1:] for pair in f"{_KANJI_FORMS} {_RADICALS} {_SMALL_CAPITALS}".split()},
}  # fmt: skip
_SAME_TABLE = {ord(key): value for key, value in _SAME.items()}

# Voiced marks with a width of their own, perhaps after the space that NFKC gives them. Degrees and rings stand for
# the semi-voiced mark, which only these kana take.
_VOICED = re.compile(f"(?<=[{_KANA}]) ?[\u3099\u309b]")
_SEMI_VOICED = re.compile(f"(?<=[{_KANA}]) ?[\u309a\u309c]|(?<=[ハヒフヘホはひふへほ])(?: ?\u030a|[°˚º])")

_DOT = re.compile(f"(?<=[{_KANA}{_KANJI}])[·•‧∙⋅]|[·•‧∙⋅](?=[{_KANA}{_KANJI}])")
_GRAVE = re.compile("(?<=[A-Za-z])`(?=[A-Za-z])")

# What is written for the long vowel mark ー. ッ, ン and ー itself have no vowel to lengthen.
_MARK = re.compile(f"(?<=[{_KANA}])(?<![ーッンっん])(?<![-~|])[-~|一](?![-~|])")
# Counted things: 一 before these is the number one.
_COUNTED = re.compile(
    "[つき杯皿個切口本匹人枚膳食品番丁斤玉串粒束袋缶箱重夜日年度色例]"
    "|(?:ケース|パック|カップ|セット|グラム|グラス|キロ|リットル|ダース|ピース|ホール|スライス|ボトル|ポンド|カロリー|ベロ"
    f"|[コケヶヵカ])(?![{_KATAKANA}])"
)
_ONE = re.compile(f"(?:^|(?<=[ {_KANJI}]))ー(?=[{_KANJI}])")

# Kanji that look like katakana, and those of them that are numbers.
_AS_KATAKANA = dict(zip("力口工夕卜八二千才匕厶丿乂", "カロエタトハニチオヒムノメ", strict=True))
_NUMBERS = "八二千"
_KATAKANA_LIKE = re.compile(f"[{''.join(_AS_KATAKANA)}]")
# Where such a kanji does begin a word: rice cake ramen, word of mouth.
_NOT_KATAKANA = re.compile(f"力(?:ラーメン|カレー|ソバ|パスタ|ウドン|スープ|[{_HIRAGANA}])|口コミ")
# The same shape in hiragana and katakana.
_HE = dict(zip("へべぺヘベペ", "ヘベペへべぺ", strict=True))
_HE_IN_KATAKANA = re.compile(f"(?:^|(?<=[{_KATAKANA}])|(?<=[^{_KANA}{_KANJI}]))[へべぺ](?=[{_KATAKANA}])")
_HE_IN_HIRAGANA = re.compile(
    f"(?<![{_KATAKANA}])[ヘベペ](?=[{_HIRAGANA}])|(?<=[{_HIRAGANA}])[ヘベペ](?![{_KATAKANA}])"
    f"|(?<=[{_KANJI}])[ヘベペ](?=[{_KANJI}])"
)

_CYRILLIC = dict(
    zip(
        "аАВсСԁеЕԍһНіІјЈкКӏМоОрРԛѕЅТуУԝхХѵ",
        "aABcCdeEghHiIjJkKlMoOpPqsSTyYwxXv",
        strict=True,
    )
)
_GREEK = dict(zip("αΑΒΕΖΗΙικΚΜΝνοΟρΡΤυΥΧ", "aABEZHIikKMNvoOpPTuYX", strict=True))
_ARMENIAN = dict(zip("օհսց", "ohug", strict=True))
_TO_LATIN = _CYRILLIC | _GREEK | _ARMENIAN
_TO_CYRILLIC = {latin: cyrillic for cyrillic, latin in _CYRILLIC.items()}
_LATIN_TABLE = {ord(key): value for key, value in _TO_LATIN.items()}
_CYRILLIC_TABLE = {ord(key): value for key, value in _TO_CYRILLIC.items()}
_MIXED_SCRIPTS = re.compile("[\u0370-\u058f\u1f00-\u1fff]")
_LETTERS = re.compile("[A-Za-z\u00c0-\u024f\u0300-\u058f\u1e00-\u1fff]+")

_SUSPECT = re.compile(
    f"[^ !-,./-_a-{{}}{_KANA}{_KANJI}]|[{''.join(_AS_KATAKANA)}一へべぺヘベペ]|(?:^|[ {_KANJI}])ー"
)  # what any of the rules below begins with; everything else is left as it is at once


def before_nfkc(text: str) -> str:
    """Unifies characters that look alike in any context. To be used before NFKC, which decomposes some of them."""
    return _SEMI_VOICED.sub("\u309a", _VOICED.sub("\u3099", text.translate(_SAME_TABLE)))


def after_nfkc(text: str) -> str:
    """Unifies characters that look like another one in their context. To be used after NFKC."""
    if not _SUSPECT.search(text):
        return text
    text = _GRAVE.sub("'", _DOT.sub("・", text))
    text = _KATAKANA_LIKE.sub(_katakana, _ONE.sub("一", text))
    text = _HE_IN_HIRAGANA.sub(_turned, _HE_IN_KATAKANA.sub(_turned, text))
    text = _MARK.sub(_long_vowel, text)
    return _one_script(text) if _MIXED_SCRIPTS.search(text) else text


def _turned(found: re.Match[str]) -> str:
    return _HE[found[0]]


def _katakana(found: re.Match[str]) -> str:
    """Replaces a kanji within a katakana word by the katakana that it looks like."""
    kanji, text, at = found[0], found.string, found.start()
    before, after = text[:at], text[at + 1 :]
    follows, leads = _is(_KATAKANA, before[-1:]), _is(_KATAKANA, after[:1])
    japanese = f"{_KANJI}{_HIRAGANA}"
    ends = follows and not _is(japanese, after[:1])
    begins = leads and not _is(japanese, before[-1:])
    if not (ends or begins):
        return kanji
    if not follows and _NOT_KATAKANA.match(text, at):
        return kanji
    if kanji in _NUMBERS and (_COUNTED.match(after) or (follows and _ends_with_word(before))):
        return kanji
    return _AS_KATAKANA[kanji]


def _long_vowel(found: re.Match[str]) -> str:
    """Replaces look-alikes of ー by it, but keeps separators (トマト-チーズ) and numbers (トマト一つ)."""
    mark, text, at = found[0], found.string, found.start()
    before, after = text[:at], text[at + 1 :]
    if mark == "一":
        stays = not _is(_KATAKANA, before[-1:]) or _COUNTED.match(after) or _ends_with_word(before)
        return mark if stays else "ー"
    if mark == "|" and not _is(_KANA, after[:1]):
        return mark
    if _is(_HIRAGANA, before[-1:]) and _is(_KATAKANA + _KANJI, after[:1]):
        return mark
    enclosing = mark == "~" and text.endswith("~") and text.count("~") == 2  # a subtitle ~like this~
    script = _KATAKANA if _is(_KATAKANA, before[-1:]) else _HIRAGANA
    goes_on = _is(script, after[:1]) and not _begins_with_word(re.sub("[-~|一]", "ー", after))
    return mark if enclosing or (_ends_with_word(before) and not goes_on) else "ー"


def _is(characters: str, character: str) -> bool:
    return re.fullmatch(f"[{characters}]", character) is not None


@functools.cache
def _kana_words() -> frozenset[str]:
    """The vocabulary's words in kana, of two letters or more."""
    every = {text for word in vocabulary() for text in (*word.ja, *word.before, *word.after)}
    return frozenset(text for text in every if re.fullmatch(f"[{_KANA}]{{2,}}", text))


@functools.cache
def _longest() -> int:
    return max(map(len, _kana_words()))


def _ends_with_word(text: str) -> bool:
    return any(text[-length:] in _kana_words() for length in range(2, min(len(text), _longest()) + 1))


def _begins_with_word(text: str) -> bool:
    return any(text[:length] in _kana_words() for length in range(2, min(len(text), _longest()) + 1))


def _one_script(text: str) -> str:
    """Rewrites words that mix Latin letters with look-alikes from Cyrillic, Greek and Armenian in Latin only, and
    Cyrillic words with Latin look-alikes in Cyrillic only. Words in one script are kept, unless all their letters are
    look-alikes and another word is Latin."""
    latin = re.search("[A-Za-z]", text) is not None

    def joined(found: re.Match[str]) -> str:
        word = unicodedata.normalize("NFD", found[0])
        letters = [c for c in word if not unicodedata.combining(c)]
        foreign = [c for c in letters if _MIXED_SCRIPTS.match(c)]
        if not foreign or len(letters) < 2:
            return found[0]
        if all(c in _TO_LATIN for c in foreign) and latin:
            return unicodedata.normalize("NFC", word.translate(_LATIN_TABLE))
        own = [c for c in letters if c not in foreign]
        if own and all(c in _TO_CYRILLIC for c in own) and all("\u0400" <= c <= "\u052f" for c in foreign):
            return unicodedata.normalize("NFC", word.translate(_CYRILLIC_TABLE))
        return found[0]

    return _LETTERS.sub(joined, text)
