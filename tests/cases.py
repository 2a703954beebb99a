"""The shared cases of what people's own files look like: ../shared/cases beside the checkout, where that is at hand."""

from pathlib import Path

import pytest

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"


def case(name: str) -> Path:
    """One of the cases; the test is skipped where they are not at hand. Each has a twin that is made on the spot."""
    path = CASES / name
    if not path.exists():
        pytest.skip("../shared/cases is not here")
    return path
