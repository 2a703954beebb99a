"""Checkpoint folders: what is written comes back, and what is broken is named."""

import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from model import checkpoint
from model.checkpoint import CheckpointError


class Net(nn.Module):
    def __init__(self, *, width: int, bias: bool = True) -> None:
        super().__init__()
        if width < 1:
            raise ValueError("width is at least 1")
        self.config = {"width": width, "bias": bias}
        self.linear = nn.Linear(width, width, bias=bias)
        self.norm = nn.BatchNorm1d(width)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    net = Net(width=4)
    net.norm(torch.randn(8, 4))
    checkpoint.save_config(tmp_path, stage1=net.config, training={"kimg": 3})
    checkpoint.save_weights(tmp_path, "stage1", net)
    return tmp_path


@pytest.fixture
def whole(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "whole"))


def test_a_network_comes_back_in_float32_with_its_buffers(tmp_path: Path) -> None:
    net = Net(width=6)
    net.norm(torch.randn(8, 6))
    checkpoint.save_config(tmp_path, stage1=net.config)
    checkpoint.save_weights(tmp_path, "stage1", net)
    again = checkpoint.load_network(tmp_path, "stage1", Net)
    assert again.linear.weight.dtype == torch.float32
    for key, value in net.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=1e-3, atol=1e-4)
    assert again.norm.num_batches_tracked == 1


def test_weights_are_float16_on_disk_and_readable_by_others(folder: Path) -> None:
    path = folder / "stage1.safetensors"
    stored = safetensors.torch.load_file(path)
    assert stored["linear.weight"].dtype == torch.float16
    assert stored["norm.num_batches_tracked"].dtype == torch.int64
    plain = folder / "plain"
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_config_sections_are_set_one_by_one(folder: Path) -> None:
    checkpoint.save_config(folder, stage2={"depth": 2})
    assert checkpoint.read_config(folder) == {
        "format": 1,
        "stage1": {"width": 4, "bias": True},
        "training": {"kimg": 3},
        "stage2": {"depth": 2},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "holds a list"),
        ("{}", "format None"),
        ('{"format": 2}', "format 2; this version reads format 1"),
        ('{"format": 1, "stage1": 3}', "'stage1' is 3"),
    ],
)
def test_a_bad_config_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.read_config(tmp_path)
    assert "config.json" in str(caught.value)


def test_a_missing_folder_or_file_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere does not exist"):
        checkpoint.read_config(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"stage2\.safetensors does not exist"):
        checkpoint.load_weights(folder, "stage2", Net(width=4))
    with pytest.raises(CheckpointError, match=r"config\.json has no section 'stage2'"):
        checkpoint.load_network(folder, "stage2", Net)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_file_cut_short_is_named(folder: Path, keep: int) -> None:
    path = folder / "stage1.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        CheckpointError, match=r"stage1\.safetensors is not a safetensors file, or is cut short"
    ):
        checkpoint.load_network(folder, "stage1", Net)


def test_a_pickle_is_refused(folder: Path) -> None:
    torch.save(Net(width=4).state_dict(), folder / "stage1.safetensors")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        checkpoint.load_network(folder, "stage1", Net)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Net(width=5), r"linear.weight \(4, 4\) instead of \(5, 5\).* and 3 more"),
        (Net(width=4, bias=False), "it has linear.bias, which the network does not"),
        (nn.Sequential(nn.Linear(4, 4)), "it lacks 0.weight, 0.bias"),
    ],
)
def test_weights_of_another_network_are_refused_and_named(
    folder: Path, other: nn.Module, message: str
) -> None:
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.load_weights(folder, "stage1", other)
    assert "stage1.safetensors" in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 4, "widht": 4}, "'stage1' has widht, unknown to Net"),
        ({"bias": False}, "'stage1' lacks width, which Net needs"),
        ({"width": 0}, "cannot be built from 'stage1': width is at least 1"),
        ({"width": "4"}, "cannot be built from 'stage1'"),
    ],
)
def test_arguments_that_do_not_fit_are_named(folder: Path, arguments: dict[str, Any], message: str) -> None:
    checkpoint.save_config(folder, stage1=arguments)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load_network(folder, "stage1", Net)


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_numbers_that_float16_cannot_hold_are_not_written(folder: Path, value: float) -> None:
    before = (folder / "stage1.safetensors").read_bytes()
    net = Net(width=4)
    nn.init.constant_(net.linear.bias, value)
    with pytest.raises(CheckpointError, match=r"linear\.bias are not finite"):
        checkpoint.save_weights(folder, "stage1", net)
    assert (folder / "stage1.safetensors").read_bytes() == before


def test_not_finite_weights_are_refused(folder: Path) -> None:
    path = folder / "stage1.safetensors"
    stored = safetensors.torch.load_file(path)
    stored["norm.bias"][1] = float("inf")
    safetensors.torch.save_file(stored, path)
    with pytest.raises(CheckpointError, match=r"not finite in norm\.bias"):
        checkpoint.load_network(folder, "stage1", Net)


def test_a_file_over_16_mib_is_not_written(tmp_path: Path) -> None:
    checkpoint.save_weights(tmp_path, "large", nn.Linear(8_000_000, 1, bias=False))
    with pytest.raises(CheckpointError, match=r"larger\.safetensors would have 17\.2 MiB.* may have 16"):
        checkpoint.save_weights(tmp_path, "larger", nn.Linear(9_000_000, 1, bias=False))
    assert [path.name for path in tmp_path.iterdir()] == ["large.safetensors"]


def test_a_config_that_is_no_json_is_not_written(folder: Path) -> None:
    before = (folder / "config.json").read_bytes()
    for value in (float("nan"), object()):
        with pytest.raises(CheckpointError, match="cannot be written as JSON"):
            checkpoint.save_config(folder, training={"loss": value})
    assert (folder / "config.json").read_bytes() == before


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / "stage1.safetensors").read_bytes()
    files = sorted(folder.iterdir())

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save_weights(folder, "stage1", Net(width=4))
    assert (folder / "stage1.safetensors").read_bytes() == before
    assert sorted(folder.iterdir()) == files


def test_the_version_is_twelve_hex_digits_of_what_makes_pictures(whole: Path) -> None:
    version = checkpoint.version(whole)
    assert len(version) == 12
    assert set(version) <= set("0123456789abcdef")

    checkpoint.save_config(whole, training={"kimg": 900})
    (whole / "README.md").write_text("A card.")
    config = checkpoint.read_config(whole)
    (whole / "config.json").write_text(json.dumps(dict(reversed(config.items()))))
    assert checkpoint.version(whole) == version


@pytest.mark.parametrize(
    "name", ["tokenizer.model", "text.safetensors", "stage1.safetensors", "stage2.safetensors"]
)
def test_the_version_changes_with_each_file_and_names_a_missing_one(whole: Path, name: str) -> None:
    version = checkpoint.version(whole)
    data = bytearray((whole / name).read_bytes())
    data[-1] ^= 1
    (whole / name).write_bytes(data)
    assert checkpoint.version(whole) != version
    (whole / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} does not exist"):
        checkpoint.version(whole)


def test_the_version_changes_with_the_networks_arguments(whole: Path) -> None:
    version = checkpoint.version(whole)
    checkpoint.save_config(whole, text={**checkpoint.read_config(whole)["text"], "heads": 4})
    assert checkpoint.version(whole) != version
