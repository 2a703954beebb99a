"""What is said of languages, and that nothing but `model.languages` and the vocabulary says it."""

import ast
from pathlib import Path

import pytest

from model.languages import DEFAULT, LANGUAGES, OTHERS, by_language, written_in

ROOT = Path(__file__).resolve().parents[1]


def test_texts_go_by_language_and_none_may_be_missing() -> None:
    texts = by_language(*(spec.own_name for spec in LANGUAGES.values()))
    assert texts["en"] == "English" and texts["ja"] == "日本語"
    for wrong in ([], ["only English"], ["x"] * (len(LANGUAGES) + 1)):
        with pytest.raises(ValueError, match=f"en, ja.* these are {len(wrong)}"):
            by_language(*wrong)


def test_a_language_is_told_by_its_letters() -> None:
    assert {written_in(text) for text in ("ラーメン", "炒飯", "みそ soup")} == {"ja"}
    assert {written_in(text) for text in ("ramen", "crème brûlée", "борщ", "")} == {DEFAULT}


@pytest.mark.parametrize("folder", ["app", "model"])
def test_other_modules_name_no_language(folder: str) -> None:
    own = {"model/languages.py", "model/words.py"}
    for file in (ROOT / folder).rglob("*.py"):
        tree = ast.parse(file.read_text("utf-8"))
        written = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert file.relative_to(ROOT).as_posix() in own or written.isdisjoint(OTHERS), file
