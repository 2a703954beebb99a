"""What made the first attempt fail, and what fixes it: `python -m benchmarks.experiments`.

    python -m benchmarks.experiments run ours --data DATA --out runs/experiments --minutes 15
    python -m benchmarks.experiments run-all --data DATA --out runs/experiments --minutes 15
    python -m benchmarks.experiments page --out runs/experiments --docs docs

`run` trains one row of the table from nothing for --minutes and judges it; `run-all` does so for every row that has
not been judged yet, so that it can be stopped and called again. Pinned to a core (`OMP_NUM_THREADS=1 taskset -c 0`),
two rows can go side by side. `page` writes the table and the figure from the runs' JSON into docs/experiments.md.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.results import fill
from model import checkpoint
from model.evaluate import open_checkpoint, paint
from model.generate import CHECKPOINT
from model.networks import SKETCH_SIZE
from model.sheet import FONT

NETWORKS = ("text", "matching-64")  # what every row has in common


@dataclass(frozen=True)
class Row:
    """One line of the table: what is trained, and with which options of `model.train`."""

    title: str
    options: tuple[str, ...]


V1 = ("--preset", "stackgan-v1")
ROWS = {
    "dcgan": Row("DCGAN, BCE", ("--preset", "dcgan")),
    "dcgan-hinge": Row("DCGAN, hinge", ("--preset", "dcgan", "--loss", "hinge")),
    "v1": Row("StackGAN v1, BCE", V1),
    "v1-hinge": Row("StackGAN v1, hinge", (*V1, "--loss", "hinge")),
    "v1-hinge-augment": Row("StackGAN v1, hinge, DiffAugment", (*V1, "--loss", "hinge", "--augment", "1")),
    "ours": Row("ours", ()),
    "ours-bce": Row("ours, BCE", ("--loss", "bce")),
    "no-projection": Row("ours without projected heads", ("--without", "projection")),
    "no-augment": Row("ours without DiffAugment", ("--augment", "0")),
    "no-imagined": Row("ours without made-up dishes", ("--without", "imagined")),
    "no-mismatched": Row("ours without mismatched pairs", ("--without", "mismatched")),
    "no-ramp": Row("ours without the conditional ramp", ("--without", "ramp")),
    "no-blocks": Row("ours, the name at the bottom only", ("--without", "blocks")),
    "no-match": Row("ours without the text-match loss", ("--without", "match")),
    "no-reconstruction": Row("ours without reconstructions", ("--without", "reconstruction")),
}
SHOWN = ("smoky beetroot ramen", "抹茶カレー", "green pea soup", "chocolate pizza")
SEEDS = 3  # pictures of each
LABEL = 280  # pixels beside them


@click.group()
def main() -> None:
    """Trains, judges and tabulates the experiments."""


options = [
    click.option("--data", type=click.Path(path_type=Path), required=True, help="Photographs, with both splits."),
    click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the runs."),
    click.option("--minutes", type=click.FloatRange(min=0, min_open=True), required=True, help="Of each training."),
    click.option("--text", type=click.Path(path_type=Path), default=CHECKPOINT, help="Whose text encoder."),
]


def shared(command: Any) -> Any:
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@click.argument("row", type=click.Choice(list(ROWS)))
@shared
def run(row: str, data: Path, out: Path, minutes: float, text: Path) -> None:
    """Trains and judges one row."""
    one(row, data, out, minutes, text)


@main.command("run-all")
@shared
def run_all(data: Path, out: Path, minutes: float, text: Path) -> None:
    """Trains and judges every row that has not been."""
    for row in ROWS:
        if not (out / row / "figures.json").exists():
            one(row, data, out, minutes, text)


def one(name: str, data: Path, out: Path, minutes: float, text: Path) -> None:
    """Trains a row from nothing and judges it: OUT/NAME gets the run, figures.json, report.html and strip.png."""
    bare, folder = out / "text", out / name
    if not (bare / checkpoint.CONFIG).exists():
        leave_text(text, bare)
    training = ["--stage", "1", "--data", str(data), "--from", str(bare), "--out", str(folder / "run")]
    resume = ["--resume"] if (folder / "run" / "state.pt").exists() else []
    # A collapse ends the training with an error, and is a result like any other.
    module("model.train", *training, "--minutes", str(minutes), *ROWS[name].options, *resume)
    trained = folder / "run" / "checkpoint"
    judging = ["--checkpoint", str(trained), "--data", str(data), "--out", str(folder)]
    if not (folder / "run" / "state.pt").exists() or module("model.evaluate", *judging, "--pictures", "300"):
        raise click.ClickException(f"{name} was not judged: see above")
    pipeline, _ = open_checkpoint(trained)
    seeds = [seed for _ in SHOWN for seed in range(SEEDS)]
    pictures = paint(pipeline, [name for name in SHOWN for _ in range(SEEDS)], seeds, SKETCH_SIZE)
    strip = io.BytesIO()
    Image.fromarray(np.concatenate(list(pictures), 1)).save(strip, "PNG")
    checkpoint.write_file(folder / "strip.png", strip.getvalue())


def module(name: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", name, *arguments], check=False).returncode


def leave_text(source: Path, target: Path) -> None:
    """A checkpoint folder with the text encoder and the matching head of another, and nothing to paint with."""
    config = checkpoint.read_config(source)
    for file in (checkpoint.TOKENIZER, *(f"{name}.safetensors" for name in NETWORKS)):
        checkpoint.write_file(target / file, checkpoint.read_file(source / file))
    checkpoint.save_config(target, **{name: config[name] for name in NETWORKS})


@main.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the runs.")
@click.option("--docs", type=click.Path(path_type=Path), default=Path("docs"), help="Has experiments.md.")
def page(out: Path, docs: Path) -> None:
    """Writes the table and the figure."""
    done = {name: json.loads(file.read_text()) for name in ROWS if (file := out / name / "figures.json").exists()}
    if not done:
        raise click.ClickException(f"{out} has no figures.json of any row: run them first")
    sheet = Image.new("RGB", (LABEL + len(SHOWN) * SEEDS * SKETCH_SIZE, len(done) * SKETCH_SIZE), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.truetype(FONT, 14)
    for number, name in enumerate(done):
        draw.text((8, (number + 0.5) * SKETCH_SIZE), ROWS[name].title, "black", font, "lm")
        with Image.open(out / name / "strip.png") as strip:
            sheet.paste(strip, (LABEL, number * SKETCH_SIZE))
    figure = io.BytesIO()
    sheet.save(figure, "PNG", optimize=True)
    checkpoint.write_file(docs / "experiments.png", figure.getvalue())
    fill(docs / "experiments.md", table(done))


def table(done: dict[str, dict[str, Any]]) -> str:
    """Markdown: a line a row, from their figures.json."""
    lines = [
        "| recipe | options | kimg | KID × 1000, free · class | R-precision | between latents | copies |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, figures in done.items():
        part = figures["sizes"]["64"]
        kid = {row["kind"]: 1000 * row["kid"] for row in part["realism"] if row["who"] == "generated"}
        named = part["faithfulness"]["kinds"]["all"]["generated"]["value"]
        apart = part["diversity"]["free-form names, generated"]["distance"]
        copies = part["novelty"]["generated"]["value"]
        kimg = next(stage["kimg"] for key, stage in figures["training"].items() if key != "text")
        options = " ".join(ROWS[name].options)
        lines.append(
            f"| {ROWS[name].title} | {f'`{options}`' if options else ''} | {kimg:.0f} "
            f"| {' · '.join(f'{value:.0f}' for value in kid.values())} | {named:.1%} | {apart:.1f} | {copies:.1%} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.experiments")
