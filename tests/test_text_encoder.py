"""Names become ids, and ids an embedding."""

import io
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sentencepiece
import torch

from model.checkpoint import save_weights
from model.text_encoder import MAX_TOKENS, TextEncoder, Tokenizer, pad
from model.training.text_stage import VOCABULARY, train_tokenizer

NAMES = [f"{a} {b}" for a in ("tomato", "matcha", "salmon", "beetroot", "pea") for b in ("ramen", "soup", "parfait")]
NAMES += [a + b for a in ("トマト", "抹茶", "サーモン", "ビーツ", "豆") for b in ("ラーメン", "スープ", "パフェ")]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    path.write_bytes(train_tokenizer(NAMES, 400))
    return Tokenizer.load(path)


@pytest.fixture(scope="module")
def encoder(tokenizer: Tokenizer) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(vocabulary=len(tokenizer), width=32, piece_width=16, layers=2, hidden=32).eval()


def test_ids_and_pieces_go_together(tokenizer: Tokenizer) -> None:
    ids, pieces = tokenizer.encode("salmon パフェ"), tokenizer.pieces("salmon パフェ")
    assert len(ids) == len(pieces)
    assert "".join(pieces).replace("▁", " ").strip() == "salmon パフェ"
    assert 0 not in ids
    assert max(ids) < len(tokenizer)


def test_case_and_width_make_no_difference(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("ＴＯＭＡＴＯ Ramen") == tokenizer.encode("tomato ramen")
    assert tokenizer.encode("ﾄﾏﾄﾗｰﾒﾝ") == tokenizer.encode("トマトラーメン")


@pytest.mark.parametrize("text", ["🍜", "שקשוקה", "𠮷野家", "борщ", "a\u0301"])
def test_what_training_never_saw_has_ids_too(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids
    assert 1 not in ids
    assert tokenizer.encode(text + "!") != ids


def test_a_long_name_is_cut_and_says_so(tokenizer: Tokenizer) -> None:
    text = "豆" * 500
    assert len(tokenizer.encode(text)) == MAX_TOKENS == len(tokenizer.pieces(text))
    assert tokenizer.truncated(text)
    assert not tokenizer.truncated("豆スープ")


def test_an_empty_name_has_no_ids(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("") == [] == tokenizer.pieces("")


def test_sampling_cuts_one_name_in_several_ways(tokenizer: Tokenizer) -> None:
    cuts = {tuple(tokenizer.sample("beetroot parfait")) for _ in range(20)}
    assert len(cuts) > 1


def test_a_seed_decides_what_a_thread_samples(tokenizer: Tokenizer) -> None:
    def drawn(seed: int) -> list[list[int]]:
        Tokenizer.seed_samples(seed)
        with ThreadPoolExecutor(1) as thread:  # a new one has sampled nothing yet
            return thread.submit(lambda: [tokenizer.sample("beetroot parfait") for _ in range(20)]).result()

    assert drawn(1) == drawn(1) != drawn(2)


def test_damaged_and_missing_tokenizers_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.model"
    broken.write_bytes(b"not a model")
    with pytest.raises(ValueError, match=r"broken\.model"):
        Tokenizer.load(broken)
    with pytest.raises(ValueError, match=r"absent\.model"):
        Tokenizer.load(tmp_path / "absent.model")


def test_a_tokenizer_with_another_padding_is_refused(tmp_path: Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(NAMES), model_writer=model, vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    (tmp_path / "other.model").write_bytes(model.getvalue())
    with pytest.raises(ValueError, match="padding"):
        Tokenizer.load(tmp_path / "other.model")


def test_pad_fills_on_the_right() -> None:
    assert pad([[3, 4, 5], [6], []]).tolist() == [[3, 4, 5], [6, 0, 0], [0, 0, 0]]
    assert pad([[]]).shape == (1, 1)
    assert pad([]).shape == (0, 1)
    assert pad([[3]]).dtype == torch.int64


def test_embeddings_have_components_of_unit_size(tokenizer: Tokenizer, encoder: TextEncoder) -> None:
    out = encoder(pad([tokenizer.encode(name) for name in NAMES]))
    assert out.shape == (len(NAMES), encoder.embedding_dim)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.norm(dim=1), torch.full((len(NAMES),), math.sqrt(encoder.embedding_dim)))


def test_padding_is_not_seen(tokenizer: Tokenizer, encoder: TextEncoder) -> None:
    short, long = tokenizer.encode("pea soup"), tokenizer.encode("beetroot parfait ramen soup")
    torch.testing.assert_close(encoder(pad([short, long]))[0], encoder(pad([short]))[0], atol=1e-4, rtol=1e-4)


def test_words_and_their_order_are_seen(tokenizer: Tokenizer, encoder: TextEncoder) -> None:
    a, b, c = encoder(pad([tokenizer.encode(name) for name in ("pea soup", "tomato soup", "soup pea")]))
    assert (a - b).norm() > 0.1
    assert (a - c).norm() > 0.01


def test_an_empty_name_has_an_embedding(encoder: TextEncoder) -> None:
    assert encoder(pad([[]])).isfinite().all()
    assert encoder(pad([[], [5, 6]])).isfinite().all()


def test_a_full_length_name_fits(encoder: TextEncoder) -> None:
    assert encoder(torch.full((1, MAX_TOKENS), 5)).isfinite().all()


def test_config_builds_the_same_network(encoder: TextEncoder) -> None:
    copy = TextEncoder(**encoder.config)
    copy.load_state_dict(encoder.state_dict())
    tokens = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(copy.eval()(tokens), encoder(tokens))


def test_the_encoder_that_ships_is_below_nine_megabytes(tmp_path: Path) -> None:
    save_weights(tmp_path, "text", TextEncoder(vocabulary=VOCABULARY))
    assert (tmp_path / "text.safetensors").stat().st_size < 9_000_000
