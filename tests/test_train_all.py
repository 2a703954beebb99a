"""The script that trains everything within a given time, over an interpreter that only pretends to train."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "train_all.sh"

# Notes its arguments, then leaves what the real command would. TRAINS is what a stage reaches in a call, in kimg; a
# stage named in FAILS exits 1, one named in HANGS works until it is told to save.
PYTHON = r"""#!/usr/bin/env bash
echo "$*" >>"$CALLS"
[[ $1 != -c ]] || { echo False; exit; }
while (($#)); do
    case $1 in
        -m) module=$2 ;; --stage) stage=$2 ;; --out) run=$2 ;; --kimg) goal=$2 ;;
    esac
    shift
done
mkdir -p "$run"
save() {
    mkdir -p "$run/checkpoint"
    echo "sketches of $(wc -l <"$CALLS")" >"$run/checkpoint/stage1.safetensors"
    [[ $stage != 2 ]] || rm "$run/checkpoint/stage1.safetensors"
    touch "$run/state.pt"
    echo "kimg,seconds" >"$run/log.csv"
    echo "${TRAINS:-$goal},1" >>"$run/log.csv"
}
[[ $module == model.train ]] || exit 0
[[ ${FAILS:-} != "$stage" ]] || exit 1
if [[ ${HANGS:-} == "$stage" ]]; then
    [[ $stage == text ]] || trap 'save; exit 0' TERM
    touch "$run/text-state.pt"
    while :; do sleep 0.05; done
fi
if [[ $stage == text ]]; then
    touch "$run/text-state.pt"
    touch "$run/matching-64.safetensors"
else
    save
fi
"""


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., list[list[str]]]:
    """Runs it on tmp_path/data and tmp_path/out; returns the arguments of every command that it ran."""
    stub, data, calls = tmp_path / "python", tmp_path / "data", tmp_path / "calls"
    stub.write_text(PYTHON)
    stub.chmod(0o755)
    data.mkdir()

    def run(minutes: str = "10", expect: int = 0, **environment: str) -> list[list[str]]:
        calls.write_text("")
        values = {"PYTHON": str(stub), "CALLS": str(calls), **environment}
        process = subprocess.run(
            [SCRIPT, data, tmp_path / "out", minutes],
            env={**os.environ, **values}, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert process.returncode == expect, process.stdout + process.stderr
        (tmp_path / "printed").write_text(process.stdout)
        return [shlex.split(line) for line in calls.read_text().splitlines() if not line.startswith("-c")]

    return run


def value(call: list[str], flag: str) -> str:
    return call[call.index(flag) + 1]


def steps(calls: list[list[str]]) -> list[str]:
    """What was run, in order: the stage, or the module's name."""
    return [value(call, "--stage") if "--stage" in call else call[1].removeprefix("model.") for call in calls]


def test_it_runs_everything_in_its_order(script: Callable[..., list[list[str]]], tmp_path: Path) -> None:
    calls = script("10")
    assert steps(calls) == ["text", "1", "2", "pack", "generate"]
    text, first, second, pack, generate = calls
    out = tmp_path / "out"
    assert value(text, "--minutes") == "2"  # a fifth
    assert value(first, "--from") == value(text, "--out") == str(out / "text")
    assert value(second, "--from") == str(out / "stage1" / "checkpoint")
    assert value(first, "--kimg") == "800" and value(second, "--kimg") == "150"
    assert value(first, "--preset") == "cpu"
    assert not any("--resume" in call for call in calls)
    assert [pack[i + 1] for i, word in enumerate(pack) if word == "--part"] == [
        str(out / "stage1" / "checkpoint"), str(out / "stage2" / "checkpoint")
    ]  # fmt: skip
    assert value(generate, "--checkpoint") == value(pack, "--out") == str(out / "checkpoint")
    names = (SCRIPT.parent.parent / value(generate, "--names")).read_text("utf-8").splitlines()
    assert len(names) == 20


def test_it_goes_on_where_it_stopped(script: Callable[..., list[list[str]]], tmp_path: Path) -> None:
    script(TRAINS="100")
    sketches = tmp_path / "out" / "stage1" / "checkpoint" / "stage1.safetensors"
    before = sketches.read_text()
    calls = script(TRAINS="400", TEXT_MINUTES="9")
    assert steps(calls) == ["1", "2", "pack", "generate"]  # the text stage was finished
    for call in calls[:2]:
        assert "--resume" in call and "--from" not in call
    assert sketches.read_text() != before

    # Stage 2 was finished at 150, so that stage 1 is all there is to do, in all of the time.
    def share() -> float:
        return int(re.findall(r"== stage 1, for (\d+) s", (tmp_path / "printed").read_text())[0]) / 600

    assert share() == pytest.approx(0.6 * 0.9, abs=0.01)
    assert steps(script(TRAINS="800")) == ["1", "pack", "generate"]
    assert share() == pytest.approx(0.9, abs=0.01)
    assert steps(script()) == ["pack", "generate"]


def test_stage2_goes_on_over_the_newest_sketches(script: Callable[..., list[list[str]]], tmp_path: Path) -> None:
    script(TRAINS="100")
    script(TRAINS="120", FAILS="2", expect=1)
    newest = (tmp_path / "out" / "stage1" / "checkpoint" / "stage1.safetensors").read_text()
    assert (tmp_path / "out" / "stage2" / "checkpoint" / "stage1.safetensors").read_text() == newest


def test_time_is_kept(script: Callable[..., list[list[str]]]) -> None:
    """A stage that would go on for ever is told to save, and the others have their turn."""
    assert steps(script("0.1", HANGS="1", TRAINS="7")) == ["text", "1", "2", "pack", "generate"]
    assert steps(script("0.1", HANGS="1", TRAINS="7")) == ["1", "2", "pack", "generate"]


def test_a_text_stage_that_needs_more_goes_on_next_time(script: Callable[..., list[list[str]]]) -> None:
    [first] = script("0.05", HANGS="text", TEXT_MINUTES="3")
    assert "--resume" not in first
    calls = script("10")
    assert steps(calls) == ["text", "1", "2", "pack", "generate"]
    # Its learning rate falls over its minutes: they stay what they were.
    assert "--resume" in calls[0] and value(calls[0], "--minutes") == value(first, "--minutes") == "3"


def test_a_stage_that_fails_is_reported_and_what_it_kept_is_used(script: Callable[..., list[list[str]]]) -> None:
    assert steps(script(FAILS="1", expect=1)) == ["text", "1"]  # it has kept nothing
    script(TRAINS="7")
    assert steps(script(FAILS="1", expect=1)) == ["1", "2", "pack", "generate"]


def test_settings_come_from_the_environment(script: Callable[..., list[list[str]]], tmp_path: Path) -> None:
    (tmp_path / "data" / "teacher").mkdir()
    text, first, second = script(STAGE1_KIMG="20", STAGE2_KIMG="5", PRESET="gpu")[:3]
    assert value(text, "--teacher") == str(tmp_path / "data" / "teacher")
    assert value(first, "--kimg") == "20" and value(second, "--kimg") == "5"
    assert value(first, "--preset") == value(second, "--preset") == "gpu"
    other = tmp_path / "other"
    (tmp_path / "out" / "text" / "matching-64.safetensors").unlink()
    assert value(script(TEACHER=str(other))[0], "--teacher") == str(other)


@pytest.mark.parametrize(("arguments", "code", "message"), [
    ([], 2, "usage:"), (["--help"], 0, "MINUTES"), (["data", "out", "soon"], 2, "usage:"),
    (["absent", "out", "5"], 2, "absent does not exist"),
])  # fmt: skip
def test_mistakes_are_named(tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    process = subprocess.run([SCRIPT, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == code
    assert message in process.stdout + process.stderr
    assert not list(tmp_path.iterdir())


def test_a_missing_interpreter_is_named(script: Callable[..., list[list[str]]]) -> None:
    script(PYTHON="/nowhere/python", expect=2)
