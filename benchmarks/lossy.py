"""Lossy formats for our pictures, for pages: `python -m benchmarks.lossy`."""

import io
import statistics
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from benchmarks.encoders import NAMES
from model import webp
from model.checkpoint import CHECKPOINT
from model.pipeline import Pipeline

CANDIDATES: tuple[tuple[str, dict[str, Any]], ...] = (
    *(("WEBP", {"quality": q, "method": m}) for q in (80, webp.QUALITY, 90) for m in (0, 2, 4)),
    *(("AVIF", {"quality": q, "speed": s, "max_threads": 1}) for q in (65, 75) for s in (10, 8, 6)),
    *(("JPEG", {"quality": q}) for q in (75, 83, 90)),
)


@click.command()
@click.option("--checkpoint", type=click.Path(path_type=Path), default=CHECKPOINT, help="Whose pictures.")
@click.option("--runs", type=click.IntRange(1), default=10, show_default=True, help="Timed runs of each encoder.")
def main(checkpoint: Path, runs: int) -> None:
    """Prints median milliseconds of CPU time, mean size, and mean PSNR and SSIM of 256x256 pictures."""
    torch.set_num_threads(1)
    pictures = Pipeline.load(checkpoint, "cpu").generate(NAMES, range(len(NAMES)))
    for format, options in CANDIDATES:
        times = []
        for _ in range(runs):
            start = time.process_time()  # which other work on the machine leaves alone
            files = [encode(picture, format, options) for picture in pictures]
            times.append(1000 * (time.process_time() - start) / len(pictures))
        click.echo(
            f"{format} {', '.join(f'{key} {value}' for key, value in options.items()):40}"
            f"{statistics.median(times):8.1f} ms{np.mean([len(file) for file in files]) / 1024:8.1f} KiB"
            "{:8.1f} dB{:8.3f}".format(*likeness(pictures, files))
        )


def encode(picture: np.ndarray, format: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format, **options)
    return file.getvalue()


def likeness(pictures: np.ndarray, files: list[bytes]) -> tuple[float, float]:
    """Mean PSNR in decibels and mean SSIM."""
    decoded = np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])
    before, after = (torch.from_numpy(batch).permute(0, 3, 1, 2).float() for batch in (pictures, decoded))
    psnr = peak_signal_noise_ratio(after, before, data_range=255.0, reduction="elementwise_mean", dim=(1, 2, 3))
    ssim = structural_similarity_index_measure(after, before, data_range=255.0)
    assert isinstance(ssim, torch.Tensor)  # and no maps beside it
    return float(psnr), float(ssim)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.lossy")
