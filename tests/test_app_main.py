"""`python -m app`: what it prints, and what it refuses in one line."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.__main__ import main
from model.pipeline import Pipeline

ROOT = Path(__file__).parent.parent


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command in this process; gives the one line with which it refuses to start."""
    # The command sets up the logging of its process, which here is pytest's.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    def run(**settings: object) -> str:
        for key, value in settings.items():
            monkeypatch.setenv(f"CAFETERIA_{key.upper()}", str(value))
        monkeypatch.setattr(sys, "argv", ["app"])
        assert main() == 1
        out, err = capfd.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        return line

    return run


def test_it_says_where_it_is_and_when_told_to_ends_well_with_every_order_served(
    tiny_checkpoint: Path,
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "app"],
        cwd=ROOT,
        env=os.environ
        | {
            "CAFETERIA_PORT": "0",
            "CAFETERIA_CHECKPOINT": str(tiny_checkpoint),
            "CAFETERIA_DEVICE": "cpu",
            "OMP_NUM_THREADS": "1",
        },
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        assert "cpu" in line
        assert str(tiny_checkpoint) in line
        assert Pipeline.load(tiny_checkpoint, "cpu").version in line
        answer = httpx.post(f"{found[0]}/generate", data={"name": "抹茶ラーメン"}, trust_env=False)
        assert answer.headers["content-type"] == "image/png"
        accepted = threading.Semaphore(0)

        def order(seed: int) -> list[str]:
            fields = {"name": "tea", "n": 4, "seed": seed}
            stream = httpx.stream("POST", f"{found[0]}/generate", data=fields, timeout=30, trust_env=False)
            with stream as answer:
                lines = answer.iter_lines()
                events = [json.loads(next(lines))["event"]]
                accepted.release()
                return events + [json.loads(line)["event"] for line in lines]

        with ThreadPoolExecutor() as threads:
            orders = [threads.submit(order, 100 * k) for k in range(4)]
            for _ in orders:
                assert accepted.acquire(timeout=30)
            process.send_signal(signal.SIGTERM)
            for events in (future.result(60) for future in orders):
                assert (events[0], events.count("picture"), events[-1]) == ("order", 4, "done")
    finally:
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    # One line a request in the log, and no name in any.
    logged = [json.loads(line) for line in err.splitlines()]
    assert [(line["route"], line["status"]) for line in logged] == [("/generate", 200)] * 5
    assert len({line["request_id"] for line in logged}) == 5
    assert "抹茶" not in err and "tea" not in err


def absent(folder: Path) -> None:
    shutil.rmtree(folder)


def cut_short(folder: Path) -> None:
    path = folder / "stage2.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def mismatched(folder: Path) -> None:
    shutil.copy(folder / "stage2.safetensors", folder / "stage1.safetensors")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [(absent, ""), (cut_short, "stage2.safetensors"), (mismatched, "stage1.safetensors")],
)
def test_a_bad_checkpoint_is_named(
    tiny_checkpoint: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    named: str,
    refused: Callable[..., str],
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    spoil(folder)
    assert str(folder / named) in refused(checkpoint=folder, port=0, device="cpu")


def test_a_device_that_is_not_there_is_named(tiny_checkpoint: Path, refused: Callable[..., str]) -> None:
    assert "'abacus'" in refused(checkpoint=tiny_checkpoint, port=0, device="abacus")


def test_a_bad_setting_is_named(refused: Callable[..., str]) -> None:
    assert "CAFETERIA_PORT='http'" in refused(port="http")


def test_a_port_in_use_is_an_error(tiny_checkpoint: Path, refused: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert str(port) in refused(checkpoint=tiny_checkpoint, port=port, device="cpu")


def test_help_lists_the_settings() -> None:
    done = subprocess.run([sys.executable, "-m", "app", "--help"], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0
    assert "CAFETERIA_CHECKPOINT" in done.stdout
