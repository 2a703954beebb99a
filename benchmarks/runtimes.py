"""The forward pass on a CPU by other runtimes than PyTorch's eager mode: `python -m benchmarks.runtimes`.

Stage 1 and stage 2 as one graph with fixed shapes, one picture at a time, each runtime in a process of its own. Those
that are not installed are left out: `pip install --target DIR onnx onnxscript onnxruntime openvino`, and DIR in
PYTHONPATH, brings all of them; torch.compile needs a C++ compiler.
"""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import Tensor, nn

from benchmarks.picture import measure
from model.checkpoint import CHECKPOINT
from model.pipeline import Pipeline, to_uint8

Run = Callable[[Tensor, Tensor], Tensor]


class Both(nn.Module):
    """Embedding (1, E) and latent (1, L) -> the picture (1, 3, 256, 256)."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        assert pipeline.stage2 is not None  # of a whole checkpoint
        self.stage1, self.stage2 = pipeline.stage1, pipeline.stage2

    def forward(self, embedding: Tensor, latent: Tensor) -> Tensor:
        picture: Tensor = self.stage2(self.stage1(embedding, latent), embedding, latent)
        return picture


def eager(network: Both, inputs: tuple[Tensor, Tensor]) -> Run:
    return network.to(memory_format=torch.contiguous_format)


def channels_last(network: Both, inputs: tuple[Tensor, Tensor]) -> Run:
    return network.to(memory_format=torch.channels_last)


def compiled(network: Both, inputs: tuple[Tensor, Tensor]) -> Run:
    import torch._inductor.config

    torch._inductor.config.freezing = True
    return torch.compile(network.to(memory_format=torch.channels_last), fullgraph=True)


def onnxruntime(network: Both, inputs: tuple[Tensor, Tensor]) -> Run:
    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "both.onnx"
        torch.onnx.export(network.to(memory_format=torch.contiguous_format), inputs, path, dynamo=True, verbose=False)
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(*arguments: Tensor) -> Tensor:
        feed = {name: tensor.numpy() for name, tensor in zip(names, arguments, strict=True)}
        return torch.from_numpy(session.run(None, feed)[0])

    return run


def openvino(network: Both, inputs: tuple[Tensor, Tensor]) -> Run:
    import openvino as ov

    graph = ov.convert_model(network, example_input=inputs, input=[tuple(tensor.shape) for tensor in inputs])
    # Left alone it computes in bfloat16 where the CPU can, which is other grey levels; and its pass that joins small
    # operations (snippets) ends the process with SIGSEGV on this graph, in 2025.2 as in 2026.4.
    hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "SNIPPETS_MODE": "DISABLE"}
    model = ov.compile_model(graph, "CPU", hints | {"INFERENCE_NUM_THREADS": torch.get_num_threads()})
    return lambda *arguments: torch.from_numpy(model([tensor.numpy() for tensor in arguments])[0])


RUNTIMES = {function.__name__: function for function in (eager, channels_last, compiled, onnxruntime, openvino)}


@click.command()
@click.option("--checkpoint", type=click.Path(path_type=Path), default=CHECKPOINT, metavar="DIR", help="What to time.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="Of every runtime.")
@click.option("--runs", type=click.IntRange(1), default=100, show_default=True, help="Timed pictures of each.")
@click.option("--only", type=click.Choice(list(RUNTIMES)), help="This one, in this process, as a line of JSON.")
def main(checkpoint: Path, threads: int, runs: int, only: str | None) -> None:
    """Prints the median milliseconds of each runtime, and by how many grey levels its picture differs from eager's."""
    if only:
        click.echo(json.dumps(time_one(only, checkpoint, threads, runs)))
        return
    for name in RUNTIMES:
        command = ["--checkpoint", str(checkpoint), "--threads", str(threads), "--runs", str(runs), "--only", name]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.runtimes", *command], capture_output=True, text=True, check=False
        )
        if done.returncode:
            reason = [f"exit status {done.returncode}", *done.stderr.strip().splitlines()][-1]
            if done.returncode < 0:
                reason = signal.Signals(-done.returncode).name
            click.echo(f"{name:14} not measured: {reason}")
            continue
        figures = json.loads(done.stdout.splitlines()[-1])
        click.echo(f"{name:14} {figures['median']:7.2f} ms, {figures['slow']:7.2f} ms at the 90th percentile, "
                   f"{figures['levels']} grey levels from eager")  # fmt: skip


@torch.no_grad()
def time_one(name: str, checkpoint: Path, threads: int, runs: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    pipeline = Pipeline.load(checkpoint, "cpu")
    inputs = (pipeline.embed(["ピリ辛サーモンパフェ"]).clone(), pipeline.latents([0]))
    network = Both(pipeline)
    expected = to_uint8(network(*inputs)).astype(int)
    run = RUNTIMES[name](network, inputs)
    median, slow = measure(lambda: run(*inputs), runs)
    return {"median": median, "slow": slow, "levels": int(abs(to_uint8(run(*inputs)) - expected).max())}


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.runtimes")
