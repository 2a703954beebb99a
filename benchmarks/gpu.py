"""Both stages on a CUDA GPU by precision and batch size, eager and as CUDA graphs: `python -m benchmarks.gpu`.

A time is that of a whole batch, from embeddings and latents on the GPU to uint8 pictures in the host's memory: neither
names nor PNG files nor the server are in it.
"""

import random
from itertools import cycle
from pathlib import Path

import click
import torch
from torch import Tensor

from benchmarks.picture import measure
from benchmarks.runtimes import Both
from model import words
from model.checkpoint import CHECKPOINT
from model.cuda_graphs import BATCH_SIZES, record
from model.languages import LANGUAGES
from model.pipeline import Pipeline, quantize

SIZES = (*BATCH_SIZES, 64, 128)
COMPARED = 40  # pictures, with the CPU's
# By name: whether convolutions may use TF32, whether autocast makes them bfloat16, whether cuDNN may take whatever
# algorithm is fastest.
MODES = {
    "float32, deterministic": (False, False, False),
    "float32": (False, False, True),
    "TF32": (True, False, True),
    "bfloat16": (True, True, True),
}


class Pictures(Both):
    """Embeddings (B, E) and latents (B, L) -> pictures (B, 256, 256, 3) uint8."""

    def forward(self, embeddings: Tensor, latents: Tensor) -> Tensor:
        return quantize(super().forward(embeddings, latents))


@click.command()
@click.option("--checkpoint", type=click.Path(path_type=Path), default=CHECKPOINT, metavar="DIR", help="What to time.")
@click.option("--device", default="cuda", show_default=True, metavar="D", help="cuda or cuda:N.")
@click.option("--runs", type=click.IntRange(1), default=20, show_default=True, help="Timed batches of each size.")
def main(checkpoint: Path, device: str, runs: int) -> None:
    """Prints the median milliseconds of a batch and pictures a second, and how far each precision is from a CPU's."""
    try:
        pipeline = Pipeline.load(checkpoint, device)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if pipeline.device.type != "cuda":
        raise click.ClickException("this measures a CUDA GPU: give --device cuda or cuda:N")
    click.echo(f"Model {pipeline.version}, {torch.cuda.get_device_name(pipeline.device)}, PyTorch {torch.__version__}")
    with torch.cuda.device(pipeline.device), torch.inference_mode():
        compare(pipeline, Pipeline.load(checkpoint, "cpu"), runs)


def compare(pipeline: Pipeline, cpu: Pipeline, runs: int) -> None:
    rng = random.Random(0)
    names = [words.compose(rng)[language] for _, language in zip(range(COMPARED), cycle(LANGUAGES), strict=False)]
    expected = cpu.generate(names, range(COMPARED)).astype(int)
    given = (cpu.embed(names).to(pipeline.device), cpu.latents(range(COMPARED)).to(pipeline.device))
    network = Pictures(pipeline)
    for name, (tf32, bfloat16, fastest) in MODES.items():
        with (
            torch.backends.cudnn.flags(enabled=True, deterministic=not fastest, benchmark=fastest, allow_tf32=tf32),
            torch.autocast("cuda", torch.bfloat16, enabled=bfloat16, cache_enabled=False),  # as graphs want it
        ):
            levels = abs(network(*given).cpu().numpy().astype(int) - expected)
            click.echo(f"{name}: at most {levels.max()} grey levels from the CPU, {levels.mean():.3f} in the mean, "
                       f"{(levels > 1).mean():.4%} of the values more than one")  # fmt: skip
            for size in SIZES:
                eager, graph = time_one(network, [rows[:1].repeat(size, 1) for rows in given], runs)
                click.echo(f"  {size:4} pictures: eager {eager:7.2f} ms ({1000 * size / eager:5.0f}/s), "
                           f"graph {graph:7.2f} ms ({1000 * size / graph:5.0f}/s)")  # fmt: skip


def time_one(network: Pictures, inputs: list[Tensor], runs: int) -> tuple[float, float]:
    """Median milliseconds of a batch, eager and replayed."""
    eager, _ = measure(lambda: network(*inputs).cpu(), runs)
    replay, output = record(network, *inputs)

    def replayed() -> Tensor:
        replay()
        return output.cpu()

    graph, _ = measure(replayed, runs)
    if not torch.equal(output, network(*inputs)):
        click.echo("  the next is a graph whose pictures differ from those of eager mode:")
    return eager, graph


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.gpu")
