"""Reads emoji of food and drink as words: 🍣丼 is 寿司丼, and 🍕 with honey is pizza with honey."""

import re

from model.languages import LANGUAGES, Language, by_language, written_in

# An emoji, its English word, and its Japanese words, of which the first is read.
_TABLE = """
🍇 grape ぶどう ブドウ 葡萄 グレープ
🍈 melon メロン
🍉 watermelon すいか スイカ 西瓜
🍊 mandarin みかん ミカン オレンジ
🍋 lemon レモン 檸檬
🍋‍🟩 lime ライム
🍌 banana バナナ
🍍 pineapple パイナップル パイン
🥭 mango マンゴー
🍎 apple りんご リンゴ 林檎 アップル
🍏 green_apple 青りんご 青リンゴ
🍐 pear 梨 なし 洋梨
🍑 peach 桃 もも ピーチ
🍒 cherry さくらんぼ チェリー
🍓 strawberry いちご イチゴ 苺 ストロベリー
🫐 blueberry ブルーベリー
🥝 kiwi キウイ
🍅 tomato トマト
🫒 olive オリーブ
🥥 coconut ココナッツ
🥑 avocado アボカド
🍆 eggplant なす ナス 茄子
🥔 potato じゃがいも ポテト 芋
🥕 carrot にんじん 人参 キャロット
🌽 corn とうもろこし コーン
🌶 chili 唐辛子 とうがらし チリ 辛
🫑 bell_pepper ピーマン パプリカ
🥒 cucumber きゅうり キュウリ 胡瓜
🥬 leafy_greens 青菜 菜
🥦 broccoli ブロッコリー
🧄 garlic にんにく ニンニク ガーリック
🧅 onion 玉ねぎ 玉葱 オニオン
🍄 mushroom きのこ キノコ マッシュルーム 茸
🍄‍🟫 mushroom きのこ キノコ マッシュルーム 茸
🥜 peanut ピーナッツ 落花生
🫘 beans 豆 まめ
🌰 chestnut 栗 くり クリ マロン
🫚 ginger 生姜 しょうが ジンジャー
🫛 peas えんどう豆 豆 ピース
🫜 turnip かぶ カブ
🍞 bread パン 食パン
🥐 croissant クロワッサン
🥖 baguette バゲット フランスパン
🫓 flatbread ナン フラットブレッド
🥨 pretzel プレッツェル
🥯 bagel ベーグル
🥞 pancakes パンケーキ ホットケーキ
🧇 waffle ワッフル
🧀 cheese チーズ
🍖 meat 肉
🍗 chicken チキン 鶏 鳥
🥩 steak ステーキ 肉
🥓 bacon ベーコン
🍔 hamburger ハンバーガー バーガー
🍟 french_fries フライドポテト ポテトフライ
🍕 pizza ピザ ピッツァ
🌭 hot_dog ホットドッグ
🥪 sandwich サンドイッチ サンド
🌮 taco タコス
🌯 burrito ブリトー
🫔 tamale タマル タマレス
🥙 pita_sandwich ピタサンド ピタ
🧆 falafel ファラフェル
🥚 egg 卵 たまご 玉子 エッグ
🍳 fried_egg 目玉焼き
🥘 paella パエリア
🍲 hot_pot 鍋
🫕 fondue フォンデュ
🥣 soup スープ
🥗 salad サラダ
🍿 popcorn ポップコーン
🧈 butter バター
🧂 salt 塩 しお ソルト
🥫 canned_food 缶詰
🍱 bento 弁当
🍘 rice_cracker せんべい 煎餅
🍙 onigiri おにぎり おむすび
🍚 rice ご飯 ごはん 飯 ライス
🍛 curry カレー
🍜 ramen ラーメン らーめん 麺
🍝 spaghetti スパゲッティ スパゲティ パスタ
🍠 sweet_potato さつまいも サツマイモ 焼き芋
🍢 oden おでん
🍣 sushi 寿司 すし 鮨 スシ 鮓
🍤 fried_shrimp エビフライ 海老フライ 天ぷら
🍥 fish_cake なると かまぼこ
🥮 mooncake 月餅
🍡 dango 団子 だんご
🥟 dumpling 餃子 ぎょうざ ギョーザ
🥠 fortune_cookie フォーチュンクッキー
🥡 takeout 持ち帰り
🦀 crab かに カニ 蟹
🦞 lobster ロブスター 伊勢海老
🦐 shrimp エビ えび 海老
🦑 squid いか イカ 烏賊
🐙 octopus たこ タコ 蛸
🦪 oyster 牡蠣 かき カキ
🍦 soft_serve ソフトクリーム
🍧 shaved_ice かき氷
🍨 ice_cream アイスクリーム アイス
🍩 doughnut ドーナツ ドーナッツ
🍪 cookie クッキー
🎂 birthday_cake バースデーケーキ ケーキ
🍰 cake ケーキ
🧁 cupcake カップケーキ
🥧 pie パイ
🍫 chocolate チョコレート チョコ
🍬 candy キャンディ キャンディー 飴
🍭 lollipop ロリポップ
🍮 pudding プリン
🍯 honey はちみつ ハチミツ 蜂蜜 ハニー
🥛 milk 牛乳 ミルク
☕ coffee コーヒー 珈琲
🫖 tea 紅茶 茶
🍵 green_tea 緑茶 抹茶 お茶
🍶 sake 日本酒 酒
🍾 champagne シャンパン
🍷 wine ワイン
🍸 cocktail カクテル
🍹 tropical_drink トロピカルドリンク
🍺 beer ビール
🍻 beer ビール
🥃 whisky ウイスキー
🧋 bubble_tea タピオカミルクティー タピオカ
🧃 juice ジュース
🥤 soda ソーダ ジュース
🧉 mate_tea マテ茶
🧊 ice 氷 アイス
🐟 fish 魚
🐠 fish 魚
🐔 chicken チキン 鶏 鳥
🐓 chicken チキン 鶏 鳥
🐮 beef 牛肉 牛
🐄 beef 牛肉 牛
🐷 pork 豚肉 豚
🐖 pork 豚肉 豚
🦆 duck 鴨
🐑 lamb ラム 羊
"""

_WORDS: dict[str, dict[Language, list[str]]] = {
    emoji: by_language([english.replace("_", " ")], japanese)
    for emoji, english, *japanese in map(str.split, _TABLE.strip().splitlines())
}
_SELECTOR = re.compile("[\ufe0e\ufe0f]")
_FIRST = re.compile(f"[{''.join({emoji[0] for emoji in _WORDS})}]")
# A whole sequence, so that a cook (a person, a joiner and a pan) is no fried egg.
_SEQUENCE = re.compile(
    "(?<!\u200d)(?:" + "|".join(sorted(_WORDS, key=len, reverse=True)) + ")[\ufe0e\ufe0f]?(?!\u200d[^ ])"
)


def read(text: str) -> str:
    """Replaces emoji of food by words, in the language of the text next to them.

    An emoji next to its own word (pizza 🍕) is decoration, and is dropped.
    """
    if not _FIRST.search(text):
        return text
    language = written_in(text)
    space = " " if LANGUAGES[language].spaced else ""
    while found := _SEQUENCE.search(text):
        words = _WORDS[_SELECTOR.sub("", found[0])]
        before, after = text[: found.start()], text[found.end() :]
        rest = f"{before} {after}"
        if any(word in rest.casefold() for variants in words.values() for word in variants):
            word = " "
        else:
            word = f"{space}{words[language][0]}{space}"
        text = before + word + after
    return text
