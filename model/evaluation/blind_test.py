"""Blind comparisons by eye: unlabelled contact sheets, a separate key, and counting the answers.

There are two tests, each with questions that go with its sheets:

* pairs: two pictures of one name side by side, in random order;
* the form quiz: one picture of each of 12 forms in each of 6 flavours, in random order. Every flavour comes in every
  form, so that neither colours nor ingredients give the form away.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from model.contact_sheet import FONT, drawable

# As a name ends on them. Hard to mix up on photographs: a stew is left out, since it may be a soup or a curry too.
FORMS = (
    "soup", "ramen", "pasta", "salad", "curry", "pizza", "burger", "sushi", "dumplings", "pancakes", "cake", "cookies"
)  # fmt: skip
FLAVOURS = ("smoky tomato", "buttery mushroom", "spicy pumpkin", "honey lemon", "garlic spinach", "black sesame")
UNKNOWN = "?"  # the answer to a picture that shows none of the forms

SIDE = 1650  # pixels of a sheet at most, in both directions
MOST = 48  # pictures on one
GAP, MARGIN, CAPTION = 4, 12, 24
PAPER, INK = "#ffffff", "#221c18"

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class BlindTest:
    """Sheets and questions for the viewers, and the key, which they must not see."""

    sheets: list[Image.Image]
    questions: str
    key: dict[str, Any]


def pairs(
    names: Sequence[str], a: Pictures, b: Pictures, who: tuple[str, str], seed: int, *, named: bool, photographs: bool
) -> BlindTest:
    """Pairs up two pictures of every name, (N, S, S, 3) each, in an order given by the seed.

    Args:
        who: the sources of `a` and `b`, for the key.
        named: whether to show names under the pictures.
        photographs: whether `b` are photographs, in which case the question is which of the two is one.
    """
    rng = random.Random(seed)
    left = [rng.random() < 0.5 for _ in names]
    groups = [[x, y] if first else [y, x] for x, y, first in zip(a, b, left, strict=True)]
    captions = [f"{number}  {name}" if named else str(number) for number, name in enumerate(names, 1)]
    question = "which of the two is a photograph" if photographs else "which of the two is the better picture"
    return BlindTest(
        _sheets(groups, captions),
        f"Each pair has its number under it. Say {question}: one line a pair, its number and L or R, such as\n\n1 L\n",
        {
            "test": "pairs",
            "seed": seed,
            "sides": {"A": who[0], "B": who[1]},
            "pairs": [
                {"number": number, "name": name, "left": "A" if first else "B"}
                for number, (name, first) in enumerate(zip(names, left, strict=True), 1)
            ],
        },
    )


def dishes() -> list[tuple[str, str]]:
    """The quiz's dishes: (form, name), form by form."""
    return [(form, f"{flavour} {form}") for form in FORMS for flavour in FLAVOURS]


def photographed(names: Sequence[str], seed: int) -> list[tuple[str, int]]:
    """The quiz on photographs: forms, and row indices of up to six of these names that end in each."""
    rng = random.Random(seed)
    found = []
    for form in FORMS:
        pattern = re.compile(rf"\b{form.removesuffix('s')}(s|es)?$")
        rows = [row for row, name in enumerate(names) if pattern.search(name)]
        found += [(form, row) for row in rng.sample(rows, min(len(FLAVOURS), len(rows)))]
    return found


def quiz(forms: Sequence[str], names: Sequence[str], pictures: Pictures, who: str, seed: int) -> BlindTest:
    """Makes a quiz of pictures, (N, S, S, 3), of dishes with these forms and names, in an order given by the seed."""
    order = random.Random(seed).sample(range(len(names)), len(names))
    numbered = list(enumerate(order, 1))
    return BlindTest(
        _sheets([[pictures[row]] for row in order], [str(number) for number, _ in numbered]),
        "Each picture has its number under it. Say which form of dish it shows: one line a picture, its number and one "
        f"of\n\n{', '.join(FORMS)}\n\nor {UNKNOWN} for none of them, such as\n\n1 soup\n",
        {
            "test": "quiz",
            "seed": seed,
            "of": who,
            "pictures": [{"number": n, "form": forms[row], "name": names[row]} for n, row in numbered],
        },
    )


# ---- counting --------------------------------------------------------------------------------------------


def read_answers(text: str) -> dict[int, str]:
    """Parses answers, keyed by number, from lines such as "12 L", "12: L" or "12, soup"; empty lines and comments after
    # are ignored.

    Raises:
        ValueError: names a line that is not an answer, or a repeated one.
    """
    answers: dict[int, str] = {}
    for place, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"\s*(\d+)(?:\s*[:,;.)]\s*|\s+)(\S.*?)\s*", line)
        if not match:
            raise ValueError(f"line {place} is {line.strip()!r}, not a number and an answer")
        number = int(match[1])
        if number in answers:
            raise ValueError(f"line {place} answers {number} a second time")
        answers[number] = match[2]
    return answers


def count(key: dict[str, Any], answers: dict[int, str]) -> str:
    """Summarizes the answers as text.

    Args:
        key: of a `BlindTest`.
        answers: by number. Unanswered questions are left out of all shares.

    Raises:
        ValueError: an answer to a question that was not asked, or an invalid one.
    """
    asked = {entry["number"]: entry for entry in key["pairs" if key["test"] == "pairs" else "pictures"]}
    if strange := sorted(answers.keys() - asked.keys()):
        raise ValueError(f"{strange[0]} is answered, and the sheets go from 1 to {len(asked)}")
    if not answers:
        raise ValueError("there is no answer")
    lines = [f"{len(answers)} of {len(asked)} answered"]
    return "\n".join(lines + (_chosen if key["test"] == "pairs" else _recognised)(key, asked, answers))


def interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share of n (Brown, Cai and DasGupta 2001)."""
    z = NormalDist().inv_cdf(0.975)
    middle = (successes + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * math.sqrt(successes * (n - successes) / n + z**2 / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def _share(successes: int, n: int) -> str:
    low, high = interval(successes, n)
    return f"{successes} of {n}: {100 * successes / n:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})"


def _chosen(key: dict[str, Any], asked: dict[int, dict[str, Any]], answers: dict[int, str]) -> list[str]:
    lefts = a = 0
    for number, answer in answers.items():
        side = answer.casefold()
        if side not in ("l", "left", "r", "right"):
            raise ValueError(f"the answer to {number} is {answer!r}, neither L nor R")
        lefts += (left := side.startswith("l"))
        a += left == (asked[number]["left"] == "A")
    n = len(answers)
    return [
        f"A chosen {_share(a, n)}   {key['sides']['A']}",
        f"B chosen {_share(n - a, n)}   {key['sides']['B']}",
        f"the left one chosen {_share(lefts, n)}",
    ]


def _recognised(key: dict[str, Any], asked: dict[int, dict[str, Any]], answers: dict[int, str]) -> list[str]:
    forms = {_singular(form): form for form in FORMS} | {UNKNOWN: UNKNOWN}
    taken: dict[str, Counter[str]] = {form: Counter() for form in FORMS}
    for number, answer in answers.items():
        if _singular(answer) not in forms:
            raise ValueError(f"the answer to {number} is {answer!r}; the forms are {', '.join(FORMS)}, or {UNKNOWN}")
        taken[asked[number]["form"]][forms[_singular(answer)]] += 1
    right = sum(taken[form][form] for form in FORMS)
    lines = [f"recognised {_share(right, len(answers))}   {key['of']}"]
    for form, counts in taken.items():
        if counts:
            others = ", ".join(f"{other} {n}" for other, n in counts.most_common() if other != form)
            wrong = f"; taken for {others}" if others else ""
            lines.append(f"  {form:10} {_share(counts[form], counts.total())}{wrong}")
    return lines


def _singular(form: str) -> str:
    return form.casefold().removesuffix("s")


# ---- sheets ----------------------------------------------------------------------------------------------


def _sheets(groups: Sequence[Sequence[Pictures]], captions: Sequence[str]) -> list[Image.Image]:
    """Lays out groups of pictures side by side, with captions, as many on a sheet as can be seen well."""
    side = len(groups[0][0])
    width = len(groups[0]) * (side + GAP) - GAP
    pitch = width + MARGIN, side + CAPTION + MARGIN
    columns = (SIDE - MARGIN) // pitch[0]
    rows = min((SIDE - MARGIN) // pitch[1], MOST // len(groups[0]) // columns)
    sheets = []
    for start in range(0, len(groups), columns * rows):
        part = groups[start : start + columns * rows]
        high = math.ceil(len(part) / columns)
        sheet = Image.new("RGB", (columns * pitch[0] + MARGIN, high * pitch[1] + MARGIN), PAPER)
        draw = ImageDraw.Draw(sheet)
        for place, (group, caption) in enumerate(zip(part, captions[start:], strict=False)):
            row, column = divmod(place, columns)
            x, y = column * pitch[0] + MARGIN, row * pitch[1] + MARGIN
            for picture in group:
                sheet.paste(Image.fromarray(picture), (x, y))
                x += side + GAP
            draw.text((column * pitch[0] + MARGIN, y + side + 3), _fitted(drawable(caption), width), INK, _font())
        sheets.append(sheet)
    return sheets


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT, 15, layout_engine=ImageFont.Layout.BASIC)


def _fitted(text: str, width: int) -> str:
    """The text, truncated with an ellipsis if it is wider."""
    font = _font()
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
