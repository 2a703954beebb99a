"""The pictures of the shipped checkpoint are as good as when it was committed."""

import json
from pathlib import Path

import pytest

pytest.importorskip("efficientnet_lite_pytorch")
pytest.importorskip("torchmetrics")

from tests import quality

CHECKPOINT = Path(__file__).parents[1] / "checkpoints"


def test_pictures_are_as_good_as_when_the_checkpoint_was_committed() -> None:
    kept = json.loads(quality.FIGURES.read_text("utf-8"))
    now = quality.measure(CHECKPOINT, kept["names"])
    advice = "the pictures have changed; where a new checkpoint is meant to, run python -m tests.quality --data DATA"
    for size, before in kept["figures"].items():
        band = quality.KID_BAND * before["kid"]
        assert now[size]["kid"] == pytest.approx(before["kid"], abs=band), f"KID at {size} px: {advice}"
        band = quality.R_PRECISION_BAND
        assert now[size]["r_precision"] == pytest.approx(before["r_precision"], abs=band), (
            f"R-precision at {size} px: {advice}"
        )
