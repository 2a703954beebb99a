"""The dishes shown before anybody orders: a few from a short list, different ones every day."""

from __future__ import annotations

import datetime
import random

from app.request_parsing import DRAWN
from model.dishes import Dish
from model.languages import Language, by_language

COUNT = 6

# None of these exists. Each is one dish in every language, in the order of `LANGUAGES`.
NAMES: tuple[tuple[str, ...], ...] = (
    ("spicy salmon parfait", "ピリ辛サーモンパフェ"),
    ("smoky beetroot ramen", "燻製ビーツラーメン"),
    ("moonlit pumpkin gratin", "月夜のかぼちゃグラタン"),
    ("sea urchin pancakes", "うにのパンケーキ"),
    ("caramel soy gyoza", "キャラメル醤油餃子"),
    ("strawberry curry udon", "いちごカレーうどん"),
    ("green tea omelette", "抹茶オムレツ"),
    ("blue cheese taiyaki", "青かびチーズたい焼き"),
    ("lemon miso doughnuts", "レモン味噌ドーナツ"),
    ("deep-fried mountain salad", "山のサラダ唐揚げ"),
    ("chestnut tomato soup", "栗とトマトのスープ"),
    ("chocolate tempura bowl", "チョコ天丼"),
    ("smoked plum risotto", "燻製梅リゾット"),
    ("sesame avocado tart", "黒ごまアボカドタルト"),
    ("pickled peach pizza", "桃の浅漬けピザ"),
    ("cloud of tofu and corn", "とうもろこし豆腐の雲"),
    ("grilled melon steak", "焼きメロンステーキ"),
    ("crispy natto waffle", "かりかり納豆ワッフル"),
    ("honey eel sandwich", "はちみつ鰻サンド"),
    ("purple potato paella", "紫いものパエリア"),
    ("winter spinach sundae", "冬のほうれん草サンデー"),
    ("ginger cream spaghetti", "生姜クリームスパゲティ"),
    ("coconut oden", "ココナッツおでん"),
    ("sunset carrot sushi", "夕焼けにんじん寿司"),
)


def jokes(language: Language, rng: random.Random) -> list[str]:
    """The names on the list, in random order."""
    return rng.sample([by_language(*names)[language] for names in NAMES], len(NAMES))


def menu(day: datetime.date, language: Language) -> list[Dish]:
    """The dishes of the day, with names (and therefore pictures) in one language."""
    rng = random.Random(day.toordinal())
    drawn = rng.sample(NAMES, COUNT)
    return [Dish(by_language(*names)[language], rng.randrange(DRAWN)) for names in drawn]
