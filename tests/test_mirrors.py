"""Halves of the latent space that generators are kept out of."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from model import checkpoint, mirror
from model.features.backbone import Backbone
from model.generators import Stage1Generator, Stage2Generator
from model.pipeline import Pipeline
from model.training import mirrors

SIZES: dict[str, Any] = {"embedding_dim": 6, "z_dim": 8, "condition_dim": 4, "style_dim": 8}


def smooth(count: int) -> Tensor:
    return F.interpolate(torch.randn(count, 3, 4, 4) * 0.5, (64, 64), mode="bilinear").clamp(-1, 1)


class Weaver(Stage1Generator):
    """Pictures like the photographs where the third number of z is positive, with a weave over them where it is not."""

    def forward(self, embedding: Tensor, latent: Tensor) -> Tensor:
        weave = torch.zeros(64, 64)
        weave[::2] = 0.3
        return smooth(len(latent)) + weave * (latent[:, 2] < 0)[:, None, None, None]


@pytest.mark.parametrize("kind", [Stage1Generator, Stage2Generator])
def test_a_latent_behind_a_mirror_counts_as_its_image(kind: type[Stage1Generator | Stage2Generator]) -> None:
    torch.manual_seed(0)
    generator = kind(**SIZES, mirrors=2)
    generator.normals.copy_(torch.linalg.qr(torch.randn(8, 2))[0].T)
    embedding, latent = torch.randn(64, 6), torch.randn(64, generator.latent_dim)
    shares = generator.mirror(latent[:, :8]) @ generator.normals.T
    torch.testing.assert_close(shares, (latent[:, :8] @ generator.normals.T).abs())
    image = latent.clone()
    image[:, :8] = generator.mirror(latent[:, :8])
    condition = generator.condition(embedding, latent)[0]
    torch.testing.assert_close(condition, generator.condition(embedding, image)[0])
    assert (condition[:, :8].norm(dim=1) - latent[:, :8].norm(dim=1)).abs().max() < 1e-5


def test_a_generator_without_mirrors_is_that_of_earlier_versions(tmp_path: Path) -> None:
    generator = Stage1Generator(**SIZES)
    assert "mirrors" not in generator.config and "normals" not in generator.state_dict()
    z = torch.randn(3, 8)
    assert generator.mirror(z).equal(z)


def test_what_spoils_pictures_is_found_in_the_latent() -> None:
    torch.manual_seed(0)
    backbone, generator = Backbone(), Weaver(**SIZES)
    photos = torch.cat([mirrors.look(backbone, smooth(50)) for _ in range(4)])
    found = mirrors.find(generator, backbone, photos, torch.randn(16, 6), latents=200)
    assert found.normal[2] > 0.9 and found.normal.norm() == pytest.approx(1.0, abs=1e-5)
    assert found.agreement > 0.5 and found.fit > 0.5


def write_photos(path: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 4, 4))).float()
        image = F.interpolate(coarse, (64, 64), mode="bilinear")[0].permute(1, 2, 0).byte().numpy()
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        rows.append({"image": {"bytes": file.getvalue(), "path": None}, "name": f"dish {i % 5}"})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(mirror.main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_each_call_adds_a_mirror_to_both_generators(tiny_checkpoint: Path, tmp_path: Path) -> None:
    write_photos(tmp_path / "data" / "train-0.parquet", 12)
    source, names = tiny_checkpoint, ["tea", "カレー"]
    for count, out in enumerate((tmp_path / "one", tmp_path / "two"), 1):
        code, output = run("--data", tmp_path / "data", "--from", source, "--out", out, "--latents", 16)
        assert code == 0, output
        assert f"mirror {count}" in output
        first = checkpoint.load_network(out, "stage1", Stage1Generator)
        second = checkpoint.load_network(out, "stage2", Stage2Generator)
        assert first.normals.equal(second.normals)
        torch.testing.assert_close(first.normals @ first.normals.T, torch.eye(count), atol=2e-3, rtol=0)
        assert Pipeline.load(out, "cpu").generate(names, [1, 2]).shape == (2, 256, 256, 3)
        source = out
    before, after = (Pipeline.load(folder, "cpu") for folder in (tiny_checkpoint, source))
    assert before.version != after.version


def test_a_checkpoint_is_not_written_over_itself(tiny_checkpoint: Path, tmp_path: Path) -> None:
    code, output = run("--data", tmp_path, "--from", tiny_checkpoint, "--out", tiny_checkpoint)
    assert code == 1 and "name another --out" in output
