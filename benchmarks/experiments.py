"""Shows what made the first attempt fail, and what fixes it: `python -m benchmarks.experiments`.

    python -m benchmarks.experiments run ours --data DATA --out runs/experiments --minutes 15
    python -m benchmarks.experiments run ours --few DATA/cafeteria.parquet --data DATA --out … --minutes 15
    python -m benchmarks.experiments run-all --data DATA --out runs/experiments --minutes 15
    python -m benchmarks.experiments page --out runs/experiments --docs docs

`run` trains one row of the table from nothing for --minutes and evaluates it; with --few on some hundred photographs,
of which a fifth is held back. `run-all` does so for every row that has not been evaluated yet, so that it can be
stopped and called again. Pinned to a core (`OMP_NUM_THREADS=1 taskset -c 0`), two rows can go side by side. `page`
writes the tables and the figure from what the runs left into docs/experiments.md.
"""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks import small_data
from benchmarks.results import fill, leave_strip
from model import checkpoint
from model.checkpoint import CHECKPOINT
from model.contact_sheet import FONT
from model.data.inspection import look
from model.data.photos import Photos, default_cache, load
from model.evaluation import word_swap
from model.evaluation.evaluator import STEPS, fit_evaluator
from model.evaluation.figures import open_checkpoint, sample
from model.features import text_teacher
from model.generators import SKETCH_SIZE
from model.names import normalize
from model.pipeline import choose_device
from model.text_encoder import Tokenizer
from model.training import name_sampler, text_stage
from model.training.gan_loop import SAMPLES

NETWORKS = ("text", checkpoint.MATCHING)  # what every row has in common, but for those about the text
TEXT_MINUTES = 26.0  # of training what reads the names, where that is not the shipped encoder: as long as that was


@dataclass(frozen=True)
class Row:
    """One line of the table: what is trained, and with which options of `model.train`.

    text: what reads the names: "shipped", the text encoder of --text; "teacher", the teacher itself; otherwise a text
        encoder that is trained for this row without it (`benchmarks.ablations`).
    without: what is left out of stage 1, likewise.
    """

    title: str
    options: tuple[str, ...] = ()
    text: str = "shipped"
    without: str | None = None


V1 = ("--preset", "stackgan-v1")
ROWS = {
    "dcgan": Row("DCGAN, BCE", ("--preset", "dcgan")),
    "dcgan-hinge": Row("DCGAN, hinge", ("--preset", "dcgan", "--loss", "hinge")),
    "v1": Row("StackGAN v1, BCE", V1),
    "v1-hinge": Row("StackGAN v1, hinge", (*V1, "--loss", "hinge")),
    "v1-hinge-augment": Row("StackGAN v1, hinge, DiffAugment", (*V1, "--loss", "hinge", "--augment", "1")),
    "ours": Row("ours", ()),
    "ours-bce": Row("ours, BCE", ("--loss", "bce")),
    "no-projection": Row("ours without projected heads", without="projection"),
    "no-augment": Row("ours without DiffAugment", ("--augment", "0")),
    "no-imagined": Row("ours without made-up dishes", without="imagined"),
    "no-mismatched": Row("ours without mismatched pairs", without="mismatched"),
    "no-bent": Row("ours without bent photographs", without="bent"),
    "no-ramp": Row("ours without the conditional ramp", without="ramp"),
    "no-blocks": Row("ours, the name at the bottom only", without="blocks"),
    "no-match": Row("ours without the text-match loss", without="match"),
    "no-reconstruction": Row("ours without reconstructions", without="reconstruction"),
    "text-teacher": Row("ours, read by the teacher itself", (), "teacher"),
    "text-bag": Row("ours, a reader of bags of pieces", (), "order"),
    "text-unmatched": Row("ours, a reader who has seen no photographs", (), "pictures"),
}
FEW = ("dcgan", "dcgan-hinge", "v1", "v1-hinge", "v1-hinge-augment", "ours", "no-augment")  # of `run-all --few`
SHOWN = ("smoky beetroot ramen", "抹茶カレー", "green pea soup", "chocolate pizza")
SEEDS = 3  # pictures of each; of few photographs, the last gives way to the photograph nearest to the one before it
LABEL = 360  # pixels beside them
HEAD = 28  # and above
GAP = 16


@click.group()
def main() -> None:
    """Trains, evaluates and tabulates the experiments."""


@dataclass(frozen=True)
class Setting:
    """The command's options, which every row is run with."""

    data: Path
    out: Path
    minutes: float
    text: Path
    few: Path | None
    teacher: Path | None

    def folder(self, row: str) -> Path:
        return (self.out / "few" if self.few else self.out) / row


options = [
    click.option("--data", type=click.Path(path_type=Path), required=True, help="Photographs, with both splits."),
    click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the runs."),
    click.option("--minutes", type=click.FloatRange(min=0, min_open=True), required=True, help="Of each training."),
    click.option("--text", type=click.Path(path_type=Path), default=CHECKPOINT, help="Whose text encoder."),
    click.option("--few", type=click.Path(path_type=Path), help="Train on these few; --data fits the evaluator then."),
    click.option("--teacher", type=click.Path(path_type=Path), help="The teacher's vectors; otherwise OUT/teacher."),
]


def shared(command: Any) -> Any:
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@click.argument("row", type=click.Choice(list(ROWS)))
@shared
def run(row: str, **given: Any) -> None:
    """Trains and evaluates one row."""
    one(row, Setting(**given))


@main.command("run-all")
@shared
def run_all(**given: Any) -> None:
    """Trains and evaluates every row that has not been; with --few, those that say something about few photographs."""
    setting = Setting(**given)
    for row in FEW if setting.few else ROWS:
        if not (setting.folder(row) / "figures.json").exists():
            one(row, setting)


def one(name: str, setting: Setting) -> None:
    """Trains a row from nothing and evaluates it: its folder gets the run, figures.json and strip.png, and of many
    photographs report.html."""
    folder, photos = setting.folder(name), setting.data
    bare = leave_text(ROWS[name].text, setting)
    if setting.few:
        found = look(setting.few, Tokenizer.load(bare / checkpoint.TOKENIZER))
        left_out = small_data.split(found.groups) == 0
        photos = folder / "photos"
        small_data.leave(found.photos.take(np.flatnonzero(~left_out)), photos)
    training = ["--stage", "1", "--data", str(photos), "--from", str(bare), "--out", str(folder / "run")]
    state, trained = folder / "run" / "state.pt", folder / "run" / "checkpoint"
    resume = ["--resume"] if state.exists() else []
    without = ROWS[name].without
    command = ("benchmarks.ablations", without) if without else ("model.train",)
    # A collapse ends the training with an error, and is a result like any other.
    module(*command, *training, "--minutes", str(setting.minutes), *ROWS[name].options, *resume)
    if not state.exists():
        raise click.ClickException(f"{name} was not trained: see above")
    if setting.few:
        return evaluate_few(name, found.photos, left_out, setting)
    evaluation = ["--checkpoint", str(trained), "--data", str(setting.data), "--out", str(folder)]
    if module("model.evaluate", *evaluation, "--pictures", "300"):
        raise click.ClickException(f"{name} was not evaluated: see above")
    pipeline, _ = open_checkpoint(trained)
    names, seeds = zip(*((dish, seed) for dish in SHOWN for seed in range(SEEDS)), strict=True)
    leave_strip(folder / "strip.png", sample(pipeline, names, seeds, SKETCH_SIZE))


def evaluate_few(name: str, photos: Photos, left_out: np.ndarray, setting: Setting) -> None:
    """Evaluates a row by the photographs that were held back, by an evaluator fit on many: see `small_data`."""
    folder, device = setting.folder(name), choose_device()
    evaluator = fit_evaluator(SKETCH_SIZE, load(setting.data, SKETCH_SIZE), default_cache(), STEPS, device)
    # Names are recombined of the same pieces for every row, whoever reads them.
    source = leave_text("shipped", setting)
    fold = small_data.Fold(photos, left_out, {SKETCH_SIZE: evaluator}, source, folder, setting.minutes, device)
    pipeline, _ = open_checkpoint(folder / "run" / "checkpoint")
    sampler = partial(sample, pipeline, size=SKETCH_SIZE)
    figures = {
        "training": pipeline.config["training"],
        "generated": fold.evaluate(SKETCH_SIZE, sampler),
        "photographs": fold.photographs(SKETCH_SIZE),
    }
    validator, tiles = fold.validators[SKETCH_SIZE], []
    for dish in SHOWN:
        pictures = sampler([dish] * (SEEDS - 1), range(SEEDS - 1))
        _, nearest = validator.nearest(validator.look(pictures[-1:]))
        tiles += [*pictures, fold.at[SKETCH_SIZE].images[int(nearest[0])]]
    leave_strip(folder / "strip.png", np.stack(tiles))
    checkpoint.write_file(folder / "figures.json", json.dumps(figures, indent=1).encode())


def module(name: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", name, *arguments], check=False).returncode


# ---- what reads the names ---------------------------------------------------------------------------------------


def leave_text(reader: str, setting: Setting) -> Path:
    """A checkpoint folder with a reader of names (see `Row`) and a matching head for it, and no generator."""
    target = setting.out / ("text" if reader == "shipped" else f"reader-{reader}")
    last = NETWORKS[-1]
    if checkpoint.weights_path(target, last).exists() and last in checkpoint.read_config(target):
        return target
    store = setting.teacher or setting.out / "teacher"
    if reader == "shipped":
        copy_text(setting.text, target)
    elif reader == "teacher":
        teach(setting.data, target, store)
    else:
        training = [reader, "--stage", "text", "--data", str(setting.data), "--out", str(target)]
        resume = ["--resume"] if (target / text_stage.STATE).exists() else []
        if module("benchmarks.ablations", *training, "--minutes", str(TEXT_MINUTES), "--teacher", str(store), *resume):
            raise click.ClickException("what reads the names was not trained: see above")
    return target


def copy_text(source: Path, target: Path) -> None:
    config = checkpoint.read_config(source)
    for file in (checkpoint.TOKENIZER, *(f"{name}.safetensors" for name in NETWORKS)):
        checkpoint.write_file(target / file, checkpoint.read_file(source / file))
    checkpoint.save_config(target, **{name: config[name] for name in NETWORKS})


def teach(data: Path, target: Path, store: Path) -> None:
    """The teacher's own vectors, in the space that its students are drawn to, and a matching head fit to them."""
    device = choose_device()
    corpus, _, _ = text_stage.prepare(data, target, 0, store, text_stage.COMPOSED, None, device)
    # All at once what would otherwise be asked one by one: a name that the store lacks costs a start of the teacher.
    both = [load(data, SKETCH_SIZE, split) for split in ("train", "validation")]
    known = [name for photos in both for name in photos.all_names()]
    pairs = [name for pair in word_swap.contrasts() for both in pair.names.values() for name in both]
    asked = [normalize(name).text for name in (*known, *pairs, *SHOWN)]
    text_teacher.vectors([*known, *asked, *SAMPLES, *name_sampler.composed(0)], store)
    encoder = text_teacher.TeacherEncoder.of(corpus.reading, store)
    checkpoint.save_weights(target, "text", encoder)
    checkpoint.save_config(target, text=encoder.config)
    text_stage.fit_matching_head(data, target, device=device)


# ---- the page ---------------------------------------------------------------------------------------------------


@main.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the runs.")
@click.option("--docs", type=click.Path(path_type=Path), default=Path("docs"), help="Has experiments.md.")
def page(out: Path, docs: Path) -> None:
    """Writes the tables and the figure."""
    many, few = read(out), read(out / "few")
    if not many and not few:
        raise click.ClickException(f"{out} has no figures.json of any row: run them first")
    names = [name for name in ROWS if name in many or name in few]
    width = len(SHOWN) * SEEDS * SKETCH_SIZE
    size = (LABEL + width + (GAP + width if few else 0), HEAD + len(names) * SKETCH_SIZE)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.truetype(FONT, 14)
    parts = ((many, out, LABEL), (few, out / "few", LABEL + width + GAP))
    for done, _, left in parts:
        for number, dish in enumerate(SHOWN if done else ()):
            draw.text((left + (number + 0.5) * SEEDS * SKETCH_SIZE, HEAD / 2), dish, "black", font, "mm")
    for number, name in enumerate(names):
        top = HEAD + number * SKETCH_SIZE
        draw.text((8, top + SKETCH_SIZE / 2), ROWS[name].title, "black", font, "lm")
        for done, folder, left in parts:
            if name in done:
                with Image.open(folder / name / "strip.png") as strip:
                    sheet.paste(strip, (left, top))
    figure = io.BytesIO()
    sheet.save(figure, "PNG", optimize=True)
    checkpoint.write_file(docs / "experiments.png", figure.getvalue())
    shown = ["", "![Four names by every recipe](experiments.png)"]
    fill(docs / "experiments.md", "\n".join([*table(many, few), *shown, *loss_curves(out, many)]) + "\n")


def read(out: Path) -> dict[str, dict[str, Any]]:
    """The figures of the rows that have been run, by name."""
    return {name: json.loads(file.read_text()) for name in ROWS if (file := out / name / "figures.json").exists()}


def table(many: dict[str, dict[str, Any]], few: dict[str, dict[str, Any]]) -> list[str]:
    """Lines of Markdown: one a row, from its figures.json on many and on few photographs."""
    head = ["recipe", "options", "kimg", "KID × 1000, free · class", "R-precision", "between latents", "copies"]
    if few:
        head += ["few: KID × 1000", "few: R-precision, given · recombined", "few: copies"]
    lines = [line(head), line(["---"] * len(head))]
    for name, row in ROWS.items():
        if name in many or name in few:
            cells = of_many(many[name], "generated") if name in many else [""] * 5
            cells += of_few(few[name]["generated"]) if name in few else [""] * 3 * bool(few)
            chosen = f"ablations {row.without}" if row.without else " ".join(row.options)
            lines.append(line([row.title, f"`{chosen}`" if chosen else "", *cells]))
    cells = of_many(next(iter(many.values())), "photographs") if many else [""] * 5
    cells += of_few(next(iter(few.values()))["photographs"]) if few else []
    return [*lines, line(["photographs", "", *cells])]


def of_many(figures: dict[str, Any], who: str) -> list[str]:
    """Cells about the pictures ("generated") or about photographs in their place."""
    part = figures["sizes"][str(SKETCH_SIZE)]
    kid = [f"{1000 * row['kid']:.0f}" for row in part["realism"] if row["who"] == who]
    named, copies = part["faithfulness"]["kinds"]["all"][who]["value"], part["novelty"][who]["value"]
    kimg = apart = ""
    if who == "generated":
        kimg = f"{next(stage['kimg'] for key, stage in figures['training'].items() if key != 'text'):.0f}"
        apart = f"{part['diversity']['free-form names, generated']['distance']:.1f}"
    return [kimg, " · ".join(kid), f"{named:.1%}", apart, f"{copies:.1%}"]


def of_few(figures: dict[str, float]) -> list[str]:
    named = [f"{figures[key]:.1%}" for key in ("given", "recombined") if key in figures]
    copies = f"{figures['copies']:.1%}" if "copies" in figures else ""
    return [f"{1000 * figures['kid']:.0f}", " · ".join(named), copies]


def loss_curves(out: Path, many: dict[str, dict[str, Any]]) -> list[str]:
    """Lines of Markdown: what the original recipes' log.csv says about hinge against BCE; see docs/experiments.md."""
    found = {}
    for name in many:
        log, given = out / name / "run" / "log.csv", ROWS[name].options
        if "--preset" in given and log.exists():
            found[name] = LossCurves.read(log, hinge="hinge" in given)
    if not found:
        return []
    head = ["recipe", "a fake's pull", "were it log(1 − D)", "discriminator's loss, of chance", "real − fake",
            "spread, lowest · last"]  # fmt: skip
    lines = ["", line(head), line(["---"] * len(head))]
    for name, curves in found.items():
        saturating = "" if curves.saturating is None else f"{curves.saturating:.2f}"
        spread = f"{curves.lowest:.2f} · {curves.last:.2f}"
        cells = [f"{curves.pull:.2f}", saturating, f"{curves.loss:.0%}", f"{curves.apart:.1f}", spread]
        lines.append(line([ROWS[name].title, *cells]))
    for bce in ("dcgan", "v1"):
        hinge = f"{bce}-hinge"
        if bce in found and hinge in found:
            before, after = (of_many(many[name], "generated")[1] for name in (bce, hinge))
            lines += ["", f"{ROWS[bce].title} → hinge: KID {before} → {after}. {found[bce].verdict()}"]
    return lines


@dataclass(frozen=True)
class LossCurves:
    """The balance of generator and discriminator, as means over a run.

    pull: how hard a fake of the mean logit pulls at the generator, |dL/dlogit|. Under hinge 1, whatever the logit;
        under BCE as it was published and is trained here, -log D, sigmoid(-logit).
    saturating: what it would have been under Goodfellow et al. 2014's log(1 - D): sigmoid(logit).
    loss: the discriminator's, as a share of what it is when photographs and fakes cannot be told apart. Near 0 nothing
        is left for it to learn from.
    apart: mean logit of photographs less that of fakes.
    lowest, last: spread.
    """

    pull: float
    saturating: float | None
    loss: float
    apart: float
    lowest: float
    last: float

    @classmethod
    def read(cls, log: Path, hinge: bool) -> LossCurves:
        with log.open(newline="") as file:
            rows = list(csv.DictReader(file))
        column = {key: np.array([float(row[key]) for row in rows]) for key in ("d_loss", "real", "fake", "spread")}
        pull = 1.0 if hinge else float((1 / (1 + np.exp(column["fake"]))).mean())
        return cls(
            pull=pull,
            saturating=None if hinge else 1 - pull,
            loss=float(column["d_loss"].mean()) / (2.0 if hinge else 2 * math.log(2)),
            apart=float((column["real"] - column["fake"]).mean()),
            lowest=float(column["spread"].min()),
            last=float(column["spread"][-1]),
        )

    def verdict(self) -> str:
        """A sentence on whether a saturating gradient can be what tells this run, with BCE, from one with hinge."""
        what = "saturates" if self.pull < 0.5 else "does not saturate: what parts them is something else"
        return f"Under BCE a fake pulls with {self.pull:.2f} of the force that it has under hinge; the gradient {what}."


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.experiments")
