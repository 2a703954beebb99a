"""Blind comparisons by eye: makes unlabelled sheets of pictures, and counts the answers.

    python -m model.sheets pairs runs/aligned/checkpoint checkpoints --data DATA --out runs/blind --key runs/blind.json
    python -m model.sheets pairs checkpoints photographs --size 128 --data DATA --out runs/photos --key runs/photos.json
    python -m model.sheets quiz checkpoints --out runs/quiz --key runs/quiz.json
    python -m model.sheets count runs/quiz.json answers.txt

Whoever answers gets the folder --out, and never the key.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from model.checkpoint import write_file
from model.commands import plain_errors
from model.data.crops import load_crops, read_crops
from model.data.photos import Photos, load
from model.evaluation import blind_test
from model.evaluation.blind_test import BlindTest, Pictures
from model.evaluation.figures import MIN_PIXELS, sample
from model.generators import PICTURE_SIZE
from model.names import normalize
from model.pipeline import MAX_SEED, Pipeline

PHOTOGRAPHS = "photographs"
SIZES = (PICTURE_SIZE, PICTURE_SIZE // 2)
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that both tests share."""
    for option in reversed(
        (
            click.option("--data", type=click.Path(path_type=Path), help="Photographs with a validation split."),
            click.option("--crops", type=FILE, help="Table of crops (file, row, x, y, half): only validation photographs in it, cut by it."),
            click.option("--size", type=click.Choice(SIZES), default=PICTURE_SIZE, help=f"Pixels a picture; all are made at {PICTURE_SIZE} and reduced."),
            click.option("--seed", type=click.IntRange(0, MAX_SEED), default=0, help="Of names, latents and order."),
            click.option("--out", type=FOLDER, required=True, help="Folder for the sheets and the questions."),
            click.option("--key", type=FILE, required=True, help="Where the key goes, outside that folder."),
        )
    ):
        command = option(command)
    return command


@click.group(context_settings={"show_default": True})
def main() -> None:
    """Has pictures judged by eyes that do not know what they see."""


@main.command()
@click.argument("checkpoint", type=FOLDER)
@click.argument("other", metavar=f"OTHER|{PHOTOGRAPHS}")
@_options
@click.option("--names", "source", type=FILE, help="UTF-8 file, one name a line, for two checkpoints; otherwise the names of validation photographs.")
@click.option("--count", "number", type=click.IntRange(1, 1000), default=60, help="Pairs.")
@click.option("--captions/--no-captions", default=False, help="The dish's name under each pair.")
def pairs(checkpoint: Path, other: str, data: Path | None, crops: Path | None, size: int, seed: int, out: Path,
          key: Path, source: Path | None, number: int, captions: bool) -> None:  # fmt: skip
    """Pairs of two checkpoint folders' pictures of the same names and latents, or of a checkpoint and photographs."""
    with plain_errors(out):
        _check(out, key)
        rng = random.Random(seed)
        if other == PHOTOGRAPHS and source is not None:
            raise click.UsageError("Photographs have names of their own: leave --names out.")
        if source is None:
            photos = _held_out(data, crops)
            first = {name: row for row, name in sorted(enumerate(photos.names), reverse=True)}
            names = _some(list(first), number, rng)
        else:
            names = _some(_read(source), number, rng)
        seeds = [rng.randrange(MAX_SEED) for _ in names]
        a, who = _made(checkpoint, names, seeds)
        if other == PHOTOGRAPHS:
            b, them = photos.take(first[name] for name in names).images, f"{PHOTOGRAPHS} of {data}"
        else:
            b, them = _made(Path(other), names, seeds)
        test = blind_test.pairs(names, _reduced(a, size), _reduced(b, size), (who, them), seed,
                                named=captions, photographs=other == PHOTOGRAPHS)  # fmt: skip
        _write(test, out, key)


@main.command()
@click.argument("of", metavar=f"CHECKPOINT|{PHOTOGRAPHS}")
@_options
def quiz(of: str, data: Path | None, crops: Path | None, size: int, seed: int, out: Path, key: Path) -> None:
    """Twelve forms of dishes in six flavours, or photographs of dishes of these forms."""
    with plain_errors(out):
        _check(out, key)
        if of == PHOTOGRAPHS:
            photos = _held_out(data, crops)
            found = blind_test.photographed(photos.names, seed)
            if not found:
                raise click.ClickException(f"{data} has no validation photograph of any of the forms")
            photos = photos.take(row for _, row in found)
            forms, names, pictures, who = [form for form, _ in found], photos.names, photos.images, f"{of} of {data}"
        else:
            forms, names = map(list, zip(*blind_test.dishes(), strict=True))
            rng = random.Random(seed)
            pictures, who = _made(Path(of), names, [rng.randrange(MAX_SEED) for _ in names])
        _write(blind_test.quiz(forms, names, _reduced(pictures, size), who, seed), out, key)


@main.command()
@click.argument("key", type=FILE)
@click.argument("answers", type=FILE, nargs=-1, required=True)
def count(key: Path, answers: tuple[Path, ...]) -> None:
    """Counts answers by the key. Each file has some of them, one a line: a number, and L, R or a form."""
    with plain_errors(key):
        truth = _read_key(key)
        given: dict[int, str] = {}
        for file in answers:
            try:
                part = blind_test.read_answers(file.read_text("utf-8-sig"))
            except ValueError as error:
                raise click.ClickException(f"{file}: {error}") from error
            if twice := sorted(part.keys() & given.keys()):
                raise click.ClickException(f"{file}: {twice[0]} is answered in another file too")
            given |= part
        try:
            click.echo(blind_test.count(truth, given))
        except ValueError as error:
            raise click.ClickException(f"{', '.join(map(str, answers))}: {error}") from error


def _read_key(key: Path) -> dict[str, Any]:
    try:
        truth = json.loads(key.read_text("utf-8"))
    except ValueError as error:
        raise click.ClickException(f"{key}: not JSON: {error}") from error
    if not isinstance(truth, dict) or truth.get("test") not in ("pairs", "quiz"):
        raise click.ClickException(f"{key}: not the key of such a test")
    return truth


def _check(out: Path, key: Path) -> None:
    """Checks the paths before anything is generated."""
    if key.resolve().is_relative_to(out.resolve()):
        raise click.BadParameter(f"{key} is in {out}, which those who answer are given.", param_hint="--key")
    if out.exists() and any(out.glob("sheet-*.png")):
        raise click.BadParameter(f"{out} has sheets already: name another folder.", param_hint="--out")


def _held_out(data: Path | None, crops: Path | None) -> Photos:
    if data is None:
        raise click.UsageError("Validation photographs are needed: --data.")
    if crops is not None:
        return load_crops(data, read_crops(crops), PICTURE_SIZE)
    return load(data, PICTURE_SIZE, "validation", min_pixels=MIN_PIXELS[PICTURE_SIZE])


def _read(source: Path) -> list[str]:
    try:
        lines = source.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{source} is not UTF-8 (byte {error.start}).", param_hint="--names") from error
    return list(dict.fromkeys(normalize(line).text for line in lines if line.strip()))


def _some(names: list[str], number: int, rng: random.Random) -> list[str]:
    if len(names) < number:
        raise click.BadParameter(f"there are {len(names)} names for {number} pairs.", param_hint="--count")
    return rng.sample(names, number)


def _made(folder: Path, names: Sequence[str], seeds: Sequence[int]) -> tuple[Pictures, str]:
    pipeline = Pipeline.load(folder)
    return sample(pipeline, names, seeds, PICTURE_SIZE), f"{folder} {pipeline.version}"


def _reduced(pictures: Pictures, size: int) -> Pictures:
    if size == PICTURE_SIZE:
        return pictures
    small = (Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS) for picture in pictures)
    return np.stack([np.asarray(image) for image in small])


def _write(test: BlindTest, out: Path, key: Path) -> None:
    """Writes the key first, since sheets without it are of no use."""
    write_file(key, json.dumps(test.key, indent=1, ensure_ascii=False).encode() + b"\n")
    for number, sheet in enumerate(test.sheets, 1):
        file = BytesIO()
        sheet.save(file, "PNG")
        write_file(out / f"sheet-{number:02}.png", file.getvalue())
    write_file(out / "questions.txt", test.questions.encode())
    click.echo(f"Sheets ({len(test.sheets)}) and questions.txt are in {out}; the key is {key}")


if __name__ == "__main__":
    main(prog_name="python -m model.sheets")
