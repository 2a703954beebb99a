"""Pictures of made-up dishes from the shell: `python -m model.generate 抹茶ラーメン --out pictures`."""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from model import png
from model.checkpoint import CHECKPOINT, CheckpointError, write_file
from model.contact_sheet import ContactSheet
from model.names import Name, normalize
from model.pipeline import MAX_SEED, SIZES, Pipeline


@click.command()
@click.argument("dishes", metavar="[NAME]...", nargs=-1)
@click.option("--names", "source", metavar="FILE", help="A UTF-8 file, one name a line; - is standard input.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where pictures go."
)
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), default=CHECKPOINT, metavar="DIR",
    help="The trained networks; without it, those that come with this repository.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0, MAX_SEED), default=0, show_default=True, metavar="N",
    help="Chooses among the pictures of a name and repeats them. Variant k has seed N + k.",
)  # fmt: skip
@click.option(
    "-n", "variants", type=click.IntRange(1, 1000), default=1, show_default=True, metavar="K",
    help="Pictures of each name.",
)  # fmt: skip
@click.option(
    "--size", type=click.Choice(SIZES), default=SIZES[-1], show_default=True,
    help=f"Width and height in pixels; {SIZES[0]} is the first stage's sketch.",
)  # fmt: skip
@click.option("--device", default="auto", show_default=True, metavar="D", help="auto, cpu, cuda or cuda:N.")
def main(
    dishes: tuple[str, ...],
    source: str | None,
    out: Path,
    checkpoint: Path,
    seed: int,
    variants: int,
    size: int,
    device: str,
) -> None:
    """Makes pictures of dishes that need not exist.

    DIR gets one PNG for each name and variant, in the order of the names (00000-0.png, 00000-1.png,
    00001-0.png and so on), and sheet.png, which shows them all with their names.
    """
    if bool(dishes) == (source is not None):
        raise click.UsageError("Give names of dishes, or --names FILE: one of the two.")
    if seed + variants - 1 > MAX_SEED:
        raise click.BadParameter(
            f"{seed} + {variants - 1} is over the last seed, {MAX_SEED}.", param_hint="--seed"
        )
    given = _lines(source) if source is not None else _words(dishes)
    names = _read(given)
    try:
        pipeline = Pipeline.load(checkpoint, device)
    except CheckpointError as error:
        raise click.ClickException(str(error)) from error
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--device") from error
    for (place, _), name in zip(given, names, strict=True):
        for notice in pipeline.notices(name):
            click.echo(f"{place}: {notice}", err=True)
    try:
        _make(pipeline, [name.text for name in names], range(seed, seed + variants), size, out)
    except OSError as error:
        raise click.ClickException(f"{error.filename or out} cannot be written: {error.strerror}") from error


def _words(dishes: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"Name {number}", dish) for number, dish in enumerate(dishes, 1)]


def _lines(source: str) -> list[tuple[str, str]]:
    """The location of each name, and the name; blank lines are skipped."""
    place = "standard input" if source == "-" else source
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise click.BadParameter(
            f"{source} cannot be read: {error.strerror}", param_hint="--names"
        ) from error
    lines = []
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise click.BadParameter(f"{place}, line {number} is not UTF-8.", param_hint="--names") from error
        if text.strip():
            lines.append((f"{place}, line {number}", text))
    if not lines:
        raise click.BadParameter(f"{place} has no names.", param_hint="--names")
    return lines


def _read(given: Sequence[tuple[str, str]]) -> list[Name]:
    """Normalizes names. All invalid ones are reported together, so that a list can be corrected in one go."""
    names, faults = [], []
    for place, text in given:
        try:
            names.append(normalize(text))
        except ValueError as error:
            faults.append(f"{place}: {error}")
    if faults:
        more = f"\n… and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise click.ClickException("\n".join(faults[:10]) + more)
    return names


def _make(pipeline: Pipeline, names: Sequence[str], seeds: range, size: int, out: Path) -> None:
    tasks = [(row, variant) for row in range(len(names)) for variant in range(len(seeds))]
    span = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]}–{seeds[-1]}"
    sheet = ContactSheet(names, [f"{row:05} · {span}" for row in range(len(names))], len(seeds))

    def save(task: tuple[int, int], picture: np.ndarray) -> None:
        row, variant = task
        metadata = png.describe(names[row], seeds[variant], pipeline.version)
        write_file(out / f"{row:05}-{variant}.png", png.encode(picture, metadata))

    out.mkdir(parents=True, exist_ok=True)
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(tasks), unit=" pictures", disable=len(tasks) < 5) as bar,
    ):
        for start in range(0, len(tasks), pipeline.batch_size):
            batch = tasks[start : start + pipeline.batch_size]
            pictures = pipeline.generate([names[row] for row, _ in batch], [seeds[k] for _, k in batch], size)
            list(pool.map(save, batch, pictures))  # a list, so that what fails is raised here
            for (row, variant), picture in zip(batch, pictures, strict=True):
                sheet.paste(row, variant, picture)
            bar.update(len(batch))
    file = BytesIO()
    sheet.image.save(file, "PNG")
    write_file(out / "sheet.png", file.getvalue())
    rest = f" (the first {sheet.shown} names)" if sheet.shown < len(names) else ""
    click.echo(
        f"{len(tasks)} pictures and sheet.png{rest} in {out}: model {pipeline.version}, {pipeline.device}"
    )


if __name__ == "__main__":
    main(prog_name="python -m model.generate")
