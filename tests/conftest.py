"""What several test files share: a whole checkpoint, random and tiny, made on the spot."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch

from model import checkpoint
from model.generators import Stage1Generator, Stage2Generator
from model.nearest import NamesIndex, look
from model.pipeline import Pipeline
from model.text_encoder import TextEncoder

NAMES = [
    "ピリ辛サーモン丼",
    "抹茶ラーメン",
    "トマトラーメン",
    "鮭のムニエル",
    "なすの揚げ浸し",
    "豆腐ハンバーグ",
    "かぼちゃプリン",
    "海老の天ぷら",
    "牛すじカレー",
    "親子丼",
    "味噌バターコーン",
    "梅しそパスタ",
    "ほうれん草のおひたし",
    "鶏の唐揚げ",
    "豚の角煮",
    "明太子うどん",
    "いちごのパフェ",
    "黒ごまアイス",
    "さつまいもコロッケ",
    "きのこリゾット",
    "レモンタルト",
    "わかめの酢の物",
    "焼きとうもろこし",
    "栗ごはん",
    "グリーンサラダ",
    "チョコレートケーキ",
    "smoky beetroot ramen",
    "pea soup",
    "salmon parfait",
    "grilled aubergine",
    "lemon tart",
    "pumpkin risotto",
    "mushroom gratin",
    "fried rice",
    "chocolate cake",
    "green salad",
    "spicy tofu bowl",
    "tomato ramen",
    "miso butter corn",
    "strawberry pancakes",
    "black sesame ice cream",
    "shrimp tempura",
    "beef curry",
    "garlic noodles",
    "baked potato",
    "cucumber sandwich",
    "apple crumble",
    "onion soup",
    "cheese omelette",
]


def make_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Writes a checkpoint of random weights, some 100 kB; another seed makes another model."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(NAMES * 4),
        model_writer=tokenizer,
        model_type="unigram",
        vocab_size=500,
        hard_vocab_limit=False,
        byte_fallback=True,
        character_coverage=1.0,
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    checkpoint.write_file(folder / checkpoint.TOKENIZER, tokenizer.getvalue())
    vocabulary = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.getvalue()).get_piece_size()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes: dict[str, Any] = {"embedding_dim": 32, "z_dim": 8, "condition_dim": 8, "style_dim": 16}
        networks: dict[str, TextEncoder | Stage1Generator | Stage2Generator] = {
            "text": TextEncoder(
                vocabulary=vocabulary,
                width=32,
                piece_width=16,
                layers=1,
                heads=2,
                hidden=32,
                embedding_dim=32,
            ),
            "stage1": Stage1Generator(**sizes, channels=(16, 16, 16, 16, 16)),
            "stage2": Stage2Generator(**sizes, channels=(16, 16, 16), depth=1),
        }
        # Stage 2 begins as an upsampled sketch; here it has to add something of its own.
        torch.nn.init.normal_(networks["stage2"].get_parameter("to_rgb.weight"), std=0.1)
    for name, network in networks.items():
        checkpoint.save_weights(folder, name, network)
    checkpoint.save_config(
        folder,
        **{name: network.config for name, network in networks.items()},
        training={"note": "random weights"},
    )
    return folder


def knowing(pipeline: Pipeline) -> Pipeline:
    """This pipeline with an index of `NAMES` and of flat pictures by those names."""
    index = NamesIndex.build(NAMES, pipeline.embed(NAMES))
    colours = torch.rand(len(NAMES), 3, 1, 1, generator=torch.Generator().manual_seed(0))
    index.add_looks(look(colours.expand(-1, -1, 64, 64)), range(len(NAMES)))
    pipeline.names_index = index
    return pipeline


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests decode stays out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of tiny networks with random weights, shared by all tests: copy it to change it."""
    return make_checkpoint(tmp_path_factory.mktemp("tiny-checkpoint"))
