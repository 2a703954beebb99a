"""A short soak of a server without networks; scripts/soak.py does the long one."""

from __future__ import annotations

import gc
import runpy
from pathlib import Path

import httpx
import pytest

from tests.serving import FakePipeline, cafeteria, until

SOAK = runpy.run_path(str(Path(__file__).parent.parent / "scripts" / "soak.py"))


def test_a_crowd_that_comes_and_goes_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    with cafeteria(FakePipeline(), cache_mb=1) as url:
        until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200)
        before, after, seen = SOAK["soak"](url, clients=16, seconds=2)
    gc.collect()  # asyncio complains of what went wrong unheard when it is collected
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert SOAK["leaks"](before, after) == []
    assert seen["200"] > 10
    assert seen["left"] > 10
    assert seen["killed"] >= 2
    assert set(seen) <= {"200", "303", "503", "left", "killed"}


def test_a_leak_is_called_by_its_name() -> None:
    Footprint, leaks = SOAK["Footprint"], SOAK["leaks"]
    before = Footprint(memory=200 * 2**20, descriptors=20, tasks=3, depth=0)
    assert leaks(before, before) == []
    assert leaks(before, Footprint(400 * 2**20, 60, 30, 1)) == [
        "memory: 200 MiB to 400 MiB",
        "descriptors: 20 to 60",
        "tasks: 3 to 30",
        "depth: 0 to 1",
    ]
