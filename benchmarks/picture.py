"""Times one picture, stage by stage: `python -m benchmarks.picture`."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch

from model import png
from model.checkpoint import CHECKPOINT
from model.pipeline import Pipeline, to_uint8

NAME = "ピリ辛サーモンパフェ"


@click.command()
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), default=CHECKPOINT, metavar="DIR", help="What to time."
)
@click.option(
    "--threads", type=click.IntRange(1), default=2, show_default=True, help="CPU threads of the networks."
)
@click.option("--device", default="cpu", show_default=True, metavar="D", help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--runs", type=click.IntRange(1), default=50, show_default=True, help="Timed runs of each stage."
)
def main(checkpoint: Path, threads: int, device: str, runs: int) -> None:
    """Prints the median milliseconds that each stage of one picture takes, and the 90th percentile."""
    torch.set_num_threads(threads)
    pipeline = Pipeline.load(checkpoint, device)
    embedding, latent = pipeline.prompts([NAME]), pipeline.latents([0])
    sketch = pipeline.sketch(embedding, latent)
    picture = to_uint8(pipeline.refine(sketch, embedding, latent))[0]
    data = png.encode(picture, png.describe(NAME, 0, pipeline.version))
    stages: dict[str, Callable[[], object]] = {
        "embed": lambda: pipeline.prompts([NAME]),
        "stage 1": lambda: pipeline.sketch(embedding, latent),
        "stage 2": lambda: pipeline.refine(sketch, embedding, latent),
        "PNG": lambda: png.encode(picture, png.describe(NAME, 0, pipeline.version)),
        "all of it": lambda: png.encode(pipeline.generate([NAME], [0])[0], {}),
    }
    where = (
        f"{threads} threads" if pipeline.device.type == "cpu" else torch.cuda.get_device_name(pipeline.device)
    )
    click.echo(f"Model {pipeline.version}, {where}, {len(data):,} bytes of PNG, medians of {runs} runs")
    for name, stage in stages.items():
        median, slow = measure(stage, runs)
        click.echo(f"{name:10}{median:8.2f} ms{slow:8.2f} ms at the 90th percentile")


def measure(stage: Callable[[], object], runs: int) -> tuple[float, float]:
    """Median and 90th percentile in milliseconds, after some runs to warm up."""
    times = []
    for run in range(-5, runs):
        start = time.perf_counter()
        stage()
        if run >= 0:
            times.append(1000 * (time.perf_counter() - start))
    times.sort()
    return statistics.median(times), times[int(0.9 * (len(times) - 1))]


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.picture")
