"""Evaluates a checkpoint's pictures: `python -m model.evaluate --checkpoint C --data PATH`.

Prints a table and writes `figures.json` and `report.html` into --out. docs/evaluation.md explains each figure and its
limits. Every figure comes with references computed in the same run, and two runs with the same arguments on one machine
write the same figures.

The first run over a set of photographs extracts their features, fits the evaluator and caches both; later runs only pay
for their own pictures. A checkpoint folder without stage 2, such as one from a stage-1 run or a baseline, is evaluated
at 64 px only.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from model import checkpoint
from model.commands import plain_errors
from model.evaluation import report
from model.evaluation.figures import FEWEST, EvaluationConfig, evaluate, table


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{value!r} has no place in figures.json")


@click.command(context_settings={"show_default": True})
@click.option("--checkpoint", "folder", type=click.Path(path_type=Path), required=True,
              help="Checkpoint folder, with or without stage 2.")
@click.option("--data", type=click.Path(path_type=Path), required=True,
              help="Photographs with a train and a validation split.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="runs/evaluation",
              help="Folder for figures.json and report.html.")
@click.option("--pictures", type=click.IntRange(min=FEWEST),
              help="At most so many a kind of name and size, for a quick look; otherwise one a validation photograph.")
@click.option("--crops", type=click.Path(path_type=Path, dir_okay=False),
              help="Table of crops (file, row, x, y, half): only validation photographs in it, cut by it.")
@click.option("--seed", type=click.IntRange(0, 1000), default=0, help="Of latents and draws.")
@click.option("--cache", type=click.Path(path_type=Path, file_okay=False),
              help="Of photographs, features and evaluators; otherwise the user's cache folder.")
def main(folder: Path, data: Path, out: Path, pictures: int | None, crops: Path | None, seed: int,
         cache: Path | None) -> None:  # fmt: skip
    """Says how good a checkpoint's pictures are, beside references from the same run."""
    with plain_errors(out):
        out.mkdir(parents=True, exist_ok=True)  # before the hour that it takes, not behind it
        evaluation = evaluate(folder, data, EvaluationConfig(pictures=pictures, seed=seed), cache, crops)
    click.echo(table(evaluation.figures))
    text = json.dumps(evaluation.figures, indent=2, ensure_ascii=False, default=_plain, allow_nan=False)
    checkpoint.write_file(out / "figures.json", text.encode() + b"\n")
    checkpoint.write_file(out / "report.html", report.render(evaluation.figures, evaluation.images).encode())
    click.echo(f"\n{out / 'figures.json'} · {out / 'report.html'}")


if __name__ == "__main__":
    main()
