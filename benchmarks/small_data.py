"""What adapting does with some hundred photographs, beside what it replaces: `python -m benchmarks.small_data`.

Every fold leaves a fifth of the photographs out, trains each recipe on the others, and measures what it generates
against those left out. Writes the table, the figure and the goals into docs/small-data.md. What has been measured is
kept in --out, so that a second call goes on where the first was stopped. Pinned to a core each (`OMP_NUM_THREADS=1
taskset -c 0`), two calls with a --fold of their own can go side by side; one without it writes the page.
"""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image

from benchmarks.results import fill, leave_strip
from model import checkpoint
from model.adaptation import run as adaptation
from model.adaptation.loop import adapt, sampler
from model.adaptation.recombine import recombine
from model.adaptation.validation import HeldOutValidator, Sampler
from model.checkpoint import CHECKPOINT
from model.contact_sheet import ContactSheet
from model.data.inspection import look
from model.data.layouts import NAMES, TRANSLATED
from model.data.photos import Photos, default_cache, load
from model.evaluation import metrics
from model.evaluation.evaluator import STEPS, Evaluator, fit_evaluator
from model.evaluation.figures import MIN_PIXELS, sample
from model.features.augment import flip
from model.features.matching import has_bfloat16
from model.generators import PICTURE_SIZE, SKETCH_SIZE
from model.pipeline import Pipeline, choose_device
from model.text_encoder import Tokenizer
from model.training import baselines
from model.training.gan_loop import PhotoBatches
from model.training.name_sampler import NameSampler
from model.training.presets import Preset, build

RECIPES = {
    "DCGAN": Preset(64, baselines.BaselineConfig(conditional=False)),
    "StackGAN from scratch, BCE": Preset(64, baselines.BaselineConfig()),
    "StackGAN from scratch, BCE, DiffAugment": Preset(64, baselines.BaselineConfig(augment=1.0)),
    "StackGAN from scratch, hinge": Preset(64, baselines.BaselineConfig(loss="hinge")),
    "StackGAN from scratch, hinge, DiffAugment": Preset(64, baselines.BaselineConfig(loss="hinge", augment=1.0)),
}
# Measured by --recipe alone: it comes to show dishes, but not in a quarter of an hour.
SLOW = {"DCGAN, hinge, DiffAugment": Preset(32, baselines.BaselineConfig(conditional=False, loss="hinge", augment=1.0))}
BASE, ADAPTED, PHOTOGRAPHS = "shipped, not adapted", "adapted", "photographs"
ADAPTATION = adaptation.AdaptationConfig()
PICTURES = {SKETCH_SIZE: 400, PICTURE_SIZE: 200}  # a figure
AMONG = 100  # names that a picture's own competes with
RECOMBINED = 100
SHOWN = 4  # pictures of each recipe in the figure, half of them of recombined names


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path), required=True, help="The photographs to adapt to.")
@click.option("--judge", "evaluator_data", type=click.Path(path_type=Path), required=True,
              help="Photographs that the evaluator is fit on, with a train split; many, and none of --data.")
@click.option("--from", "source", type=click.Path(path_type=Path), default=CHECKPOINT, help="What is adapted.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/small-data"), help="For what is measured.")
@click.option("--page", type=click.Path(path_type=Path), default=Path("docs/small-data.md"), help="Gets the results.")
@click.option("--folds", type=click.IntRange(2, 5), default=5, help="How many fifths are left out, one at a time.")
@click.option("--fold", "only", type=click.IntRange(0, 4), help="Measure this one, and leave the page as it is.")
@click.option("--recipe", type=click.Choice([*RECIPES, *SLOW]), help="Measure this one alone, on the --fold.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=30.0, help="For every recipe.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
def main(
    data: Path, evaluator_data: Path, source: Path, out: Path, page: Path, folds: int, only: int | None,
    recipe: str | None, minutes: float, device: str,
) -> None:  # fmt: skip
    """Measures every recipe on every fold, five or six times --minutes a fold, and writes the results."""
    if only is not None and only >= folds:
        raise click.BadParameter(f"{only} is none of {folds} folds, which count from 0", param_hint="--fold")
    if recipe is not None and only is None:
        raise click.UsageError("--recipe is measured on one fold: name it with --fold")
    names = (PHOTOGRAPHS, *RECIPES, BASE, ADAPTED) if recipe is None else (recipe,)
    where = choose_device(device)
    due = [n for n in (range(folds) if only is None else [only]) if missing(out / f"fold{n}", names)]
    if due:
        findings = look(data, Tokenizer.load(source / checkpoint.TOKENIZER))
        parts = split(findings.groups)
        evaluators = {}
        for size in (SKETCH_SIZE, PICTURE_SIZE):
            photos = load(evaluator_data, size, min_pixels=MIN_PIXELS[size])
            evaluators[size] = fit_evaluator(size, photos, default_cache(), STEPS, where)
        for n in due:
            Fold(findings.photos, parts == n, evaluators, source, out / f"fold{n}", minutes, where).measure(names)
    if only is None:
        write(page, out, folds, minutes, where)


def split(groups: Sequence[int], folds: int = 5) -> np.ndarray:
    """(N,): which fifth a photograph is in; groups are not parted."""
    order = sorted(set(groups))
    random.Random(0).shuffle(order)
    fold = {group: i * folds // len(order) for i, group in enumerate(order)}
    return np.array([fold[group] for group in groups])


def missing(folder: Path, names: Sequence[str]) -> list[str]:
    """What a fold has not measured yet."""
    return [name for name in names if not (folder / f"{name}.json").exists()]


class Fold:
    """One fifth of the photographs left out, and every recipe on the others."""

    def __init__(
        self, photos: Photos, left_out: np.ndarray, evaluators: dict[int, Evaluator], source: Path, folder: Path,
        minutes: float, device: torch.device,
    ) -> None:  # fmt: skip
        self.evaluators, self.source, self.folder = evaluators, source, folder
        self.minutes, self.device = minutes, device
        self.shown, self.held = (photos.take(np.flatnonzero(mask)) for mask in (~left_out, left_out))
        self.at = {size: resize(self.shown, size) for size in evaluators}
        self.validators = {
            size: HeldOutValidator(size, shown, resize(self.held, size), device, PICTURES[size])
            for size, shown in self.at.items()
        }
        self.given = list(dict.fromkeys(self.shown.names))
        pieces = Tokenizer.load(source / checkpoint.TOKENIZER).pieces
        self.recombined = recombine(self.given, RECOMBINED, 0, pieces)

    def measure(self, names: Sequence[str]) -> None:
        """Measures what has not been measured yet, recipe after recipe."""
        for name in missing(self.folder, names):
            print(f"{self.folder.name}: {name}")
            rows, pictures = self._one(name)
            file = self.folder / f"{name}.json"
            leave_strip(file.with_suffix(".png"), pictures)
            checkpoint.write_file(file, json.dumps(rows, indent=1).encode())

    def _one(self, name: str) -> tuple[dict[str, Any], np.ndarray]:
        """The figures of a recipe, by size, and the pictures that stand for it in the figure."""
        names, seeds = [*self.given[: SHOWN // 2], *self.recombined[: SHOWN - SHOWN // 2]], range(SHOWN)
        if name == PHOTOGRAPHS:
            return {str(size): self.photographs(size) for size in self.evaluators}, self.shown.images[:SHOWN]
        if scratch := RECIPES.get(name) or SLOW.get(name):
            sampler_64, minutes = self._from_scratch(scratch)
            rows = {str(SKETCH_SIZE): {**self.evaluate(SKETCH_SIZE, sampler_64), "minutes": minutes}}
            return rows, sampler_64(names, seeds)
        folder, minutes = (self.source, 0.0) if name == BASE else self._adapt()
        pipeline = Pipeline.load(folder, self.device)
        samplers = {size: partial(sample, pipeline, size=size) for size in self.evaluators}
        rows = {str(size): {**self.evaluate(size, sampler), "minutes": minutes} for size, sampler in samplers.items()}
        return rows, samplers[PICTURE_SIZE](names, seeds)

    def _from_scratch(self, preset: Preset) -> tuple[Sampler, float]:
        torch.manual_seed(0)
        batch = preset.batch
        stage, _ = build("1", preset, self.source, self.device, has_bfloat16(self.device))
        photos, began, shown = self.at[SKETCH_SIZE], time.monotonic(), 0
        name_sampler, batches = NameSampler(photos, self.source, self.device), PhotoBatches(photos, self.device)
        while time.monotonic() - began < 60 * self.minutes:
            index = torch.multinomial(name_sampler.weights, batch, replacement=True)
            names, imagined = name_sampler.names(index), name_sampler.imagined(batch - batch // 2)
            stage.step(flip(batches[index]), names, imagined, shown / 1000)
            shown += batch
        asked = {*self.given, *self.recombined, *self.held.names}
        return sampler(stage, asked, self.source, self.device), (time.monotonic() - began) / 60

    def _adapt(self) -> tuple[Path, float]:
        """As a user would: from a folder of photographs, of which it holds some back in its turn."""
        photos, out = self.folder / "photos", self.folder / "adapted"
        for leftover in (photos, out):  # of a measurement that was stopped
            shutil.rmtree(leftover, ignore_errors=True)
        leave(self.shown, photos)
        began = time.monotonic()
        # As they are, since the photographs that are held out of all recipes are.
        aligned = False
        adapt(adaptation.start(photos, out, self.source, self.minutes, 0, str(self.device), aligned, ADAPTATION))
        return out, (time.monotonic() - began) / 60

    def evaluate(self, size: int, sampler: Sampler) -> dict[str, float]:
        """KID, copies, and R-precision on given and on recombined names."""
        check, evaluator = self.validators[size].check(sampler), self.evaluators[size]
        candidates = [*self.given, *self.recombined]
        read = evaluator.read(candidates)
        precision = {}
        for kind, names in (("given", self.given), ("recombined", self.recombined)):
            asked = [names[i % len(names)] for i in range(PICTURES[size])]
            seen = evaluator.see(evaluator.features(sampler(asked, range(len(asked)))))
            precision[kind] = metrics.r_precision(seen, [candidates.index(name) for name in asked], read, AMONG).value
        return {"kid": check.kid.value, "copies": check.copies.value, **precision}

    def photographs(self, size: int) -> dict[str, float]:
        """What the photographs themselves come to."""
        evaluator, validator, shown = self.evaluators[size], self.validators[size], self.at[size]
        candidates = [*self.given, *self.recombined]
        own = [candidates.index(name) for name in shown.names]
        seen, read = evaluator.see(evaluator.features(shown.images)), evaluator.read(candidates)
        precision = metrics.r_precision(seen, own, read, AMONG)
        return {"kid": metrics.kid(validator.held, validator.shown)[0].value, "given": precision.value}


def leave(photos: Photos, folder: Path) -> None:
    """Photographs as a user has them: files and a metadata.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", *NAMES])
        for i, image in enumerate(photos.images):
            Image.fromarray(image).save(folder / f"{i}.png")
            table.writerow([f"{i}.png", photos.names[i], *(photos.translations[i].get(of, "") for of in TRANSLATED)])


def resize(photos: Photos, size: int) -> Photos:
    images = [np.asarray(Image.fromarray(i).resize((size, size), Image.Resampling.LANCZOS)) for i in photos.images]
    return Photos(np.stack(images), photos.names, photos.translations, photos.kinds, photos.sources)


def write(page: Path, out: Path, folds: int, minutes: float, device: torch.device) -> None:
    """Puts table, figure and goals into the page, between its marks."""
    measured = {name: [file for n in range(folds) if (file := out / f"fold{n}" / f"{name}.json").exists()]
                for name in (*RECIPES, *SLOW, BASE, ADAPTED, PHOTOGRAPHS)}  # fmt: skip
    rows: dict[tuple[str, str], dict[str, list[float]]] = {}
    for name, files in measured.items():
        for file in files:
            for size, figures in json.loads(file.read_text("utf-8")).items():
                for figure, value in figures.items():
                    rows.setdefault((size, name), {}).setdefault(figure, []).append(value)

    def cell(values: list[float] | None, scale: float, digits: int = 1) -> str:
        if not values:
            return ""
        mean = f"{scale * statistics.mean(values):.{digits}f}"
        return f"{mean} ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean

    where = "a GPU" if device.type == "cuda" else f"the CPU, {torch.get_num_threads()} threads"
    lines = [
        f"{folds} folds, {minutes:g} minutes a recipe on {where}; mean ± standard deviation over the folds.", "",
        "| px | | KID × 1000 | R-precision, given names | recombined names | copy rate | minutes |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for (size, name), figures in sorted(rows.items(), key=lambda item: int(item[0][0])):
        cells = [cell(figures.get("kid"), 1000, 0)]
        cells += [cell(figures.get(key), 100) + (" %" if key in figures else "") for key in ("given", "recombined")]
        cells += [cell(figures.get("copies"), 100) + (" %" if "copies" in figures else "")]
        cells += [f"{statistics.mean(figures['minutes']):.0f}" if "minutes" in figures else ""]
        fewer = f" ({count} fold{'s' * (count > 1)})" if (count := len(measured[name])) < folds else ""
        lines.append(f"| {size} | {name}{fewer} | {' | '.join(cells)} |")
    lines += ["", *goals({key: {k: statistics.mean(v) for k, v in figures.items()} for key, figures in rows.items()}),
              "", "DCGAN's copy rate is that of the one of its rows that copies more."]  # fmt: skip
    names = [name for name, files in measured.items() if files]
    sheet = ContactSheet(names, [""] * len(names), SHOWN)
    for group, name in enumerate(names):
        strip = np.asarray(Image.open(measured[name][0].with_suffix(".png")).convert("RGB"))
        for variant, picture in enumerate(np.split(strip, SHOWN, 1)):
            sheet.paste(group, variant, picture)
    buffer = io.BytesIO()
    sheet.image.save(buffer, "JPEG", quality=85)
    checkpoint.write_file(page.parent / "pictures" / "small-data.jpg", buffer.getvalue())
    lines += ["", "![The same four names by every recipe](pictures/small-data.jpg)", ""]
    fill(page, "\n".join(lines))


def goals(means: dict[tuple[str, str], dict[str, float]]) -> list[str]:
    """The project's own targets, at 64 px, and whether they are reached."""
    small = {name: figures for (size, name), figures in means.items() if size == str(SKETCH_SIZE)}
    scratch = min(figures["kid"] for name, figures in small.items() if name.startswith("StackGAN"))
    own, base = small[ADAPTED], small[BASE]
    dcgan = max(figures["copies"] for name, figures in small.items() if name.startswith("DCGAN"))
    reached = {
        "KID at most half of the best StackGAN from scratch": own["kid"] <= scratch / 2,
        "KID below that of the shipped checkpoint": own["kid"] < base["kid"],
        "copy rate at most a tenth of DCGAN's": own["copies"] <= dcgan / 10,
        "R-precision on recombined names at least half of that on given ones": own["recombined"] >= own["given"] / 2,
    }
    return [f"- {goal}: {'reached' if yes else '**not reached**'}" for goal, yes in reached.items()]


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.small_data")
