"""The loop of an adaptation: both stages, one after the other, and what is written at the end."""

from __future__ import annotations

import math
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from model import checkpoint
from model.adaptation import report
from model.adaptation.regularization import Restrained, gentle
from model.adaptation.run import Run
from model.adaptation.validation import Check, Examiner, Painter, spread
from model.features.augment import flip
from model.features.matching import has_bfloat16
from model.features.text_reader import embed
from model.generators import PICTURE_SIZE, SKETCH_SIZE
from model.nearest import write_index
from model.pipeline import Pipeline, to_uint8
from model.training.gan_loop import Feed, finite, reseed
from model.training.presets import build
from model.training.run_folder import Gallery, Log, begin, pack, read_state, reading_state, write_state
from model.training.signals import stop_on_signal
from model.training.stage import Stage

CHECKS = 10  # a stage, spread over its kimg or over half of the minutes, whichever comes sooner
CHECK_SHARE = 0.1  # of the time that checks may take, on whatever machine
PATIENCE = 4  # checks without a better one
COPIES = 0.03  # of the pictures at most, above the share of a checkpoint that has seen none of the photographs
TICK = 50  # steps between rows of the log
BATCH = 16  # pictures painted at once in a check
GRID = 12  # names on a grid, a third of them recombined


class Stopped(Exception):
    """A signal asked for the end; all is saved."""

    def __init__(self, signal: int) -> None:
        self.signal = signal


def adapt(run: Run) -> None:
    """Adapts both stages, best checks kept, and writes the report. Raises Stopped when a signal asked for the end."""
    for line in run.found:
        print(line)
    shown, held = len(run.photos) - run.held.sum(), run.held.sum()
    print(f"{shown} are trained on and {held} held back · {run.plan.name} · {run.minutes:g} minutes · {run.device}")
    if not (run.out / checkpoint.CONFIG).exists():
        begin(run.out, run.base)
    for stage in ("1", "2"):
        play(run, stage)
    finish(run)


# ---- one stage --------------------------------------------------------------------------------------------------


def play(run: Run, stage: str) -> None:
    """Adapts one stage, from where it was."""
    state_file = run.folder / f"stage{stage}.pt"
    history = read_history(state_file)
    if history.get("finished"):
        return
    preset, last = gentle(stage), run.plan.kimg[int(stage) - 1]
    built, past = build(stage, preset, run.base if stage == "1" else run.out, run.device, has_bfloat16(run.device))
    game = Restrained(built, run.plan, run.base, run.menu.composed, preset.batch)
    shown = 0
    history = {"kimg": past.get("kimg", 0.0), "hours": past.get("hours", 0.0), "checks": [], "finished": "",
               "began": run.spent()}  # fmt: skip
    resumed = state_file.exists()
    if resumed:
        shown, _, history = read_state(state_file, game)
    checks, before, entered = history["checks"], history["kimg"], history["began"]

    photos = run.part(~run.held, game.size)
    examiner = Examiner(game.size, photos, run.part(run.held, game.size), run.device)
    weights = run.menu.weights.clone()
    if stage == "2":
        weights[torch.from_numpy(run.small[~run.held]).to(weights.device)] = 0
    names = grid_names(photos.names, run.recombined)
    gallery = Gallery(game, names, embed(names, run.base, run.device), run.device, run.seed)
    paint = painter(game, {*examiner.strange, *examiner.known}, run.base, run.device)
    log = Log(run.folder / f"stage{stage}.csv", before + shown / 1000 if resumed else None)
    feed, saved, seen = Feed(photos, run.device), time.monotonic(), shown
    every = 60 * run.minutes / (2 * CHECKS)

    def look_up() -> None:
        """A check: keeps the checkpoint where it is the best yet, and saves all."""
        nonlocal saved, seen, every
        began = time.monotonic()
        found = examiner.check(paint)
        checks.append({"kimg": shown / 1000, "kid": found.kid.value, "copies": found.copies.value})
        if len(checks) > 1 and best(checks) == len(checks) - 1:
            pack(run.out, game, before + shown / 1000, history["hours"] + (run.spent() - entered) / 3600)
        history["finished"] = history["finished"] or verdict(checks)
        gallery.draw(run.folder / "samples" / f"stage{stage}-{shown:06d}.png")
        write_state(state_file, game, shown, run.spent(), history)
        run.save()
        saved, seen = time.monotonic(), shown
        every = max(every, (saved - began) / CHECK_SHARE)
        reseed(run.seed, shown, 0)

    calm = 0.1 if sys.stderr.isatty() else 10.0
    bar = tqdm(desc=f"stage {stage}", unit="img", unit_scale=True, initial=shown, dynamic_ncols=True, mininterval=calm)
    with bar, stop_on_signal() as stop:
        if not checks:
            look_up()
        reseed(run.seed, shown, 0)
        steps = 0
        while not history["finished"]:
            time_share = (run.spent() - entered) / max(1e-6, run.until(stage) - entered)
            done = max(shown / 1000 / last, time_share)
            if done >= 1:
                history["finished"] = "its time was up" if time_share >= 1 else f"{last:g} kimg were shown"
            elif not stop:
                index = torch.multinomial(weights, preset.batch, replacement=True)
                imagined = run.menu.imagined(preset.batch - preset.batch // 2)
                log.add(game.step(flip(feed[index]), run.menu.names(index), imagined, before + shown / 1000))
                shown, steps = shown + preset.batch, steps + 1
                bar.total = max(shown, round(shown / max(done, 1e-3)))
                bar.set_postfix_str(progress(checks, run.minutes - run.spent() / 60), refresh=False)
                bar.update(preset.batch)
            ends = bool(history["finished"] or stop)
            if log.steps and (ends or steps % TICK == 0):
                row = log.write(before + shown / 1000, run.spent(), True)
                if not all(map(math.isfinite, row.values())) or not finite(game):
                    history["finished"] = "a number was none any more"
                    write_state(state_file, game, shown, run.spent(), history)
                    break
            due = time.monotonic() - saved >= every or shown - seen >= 1000 * last / CHECKS
            if seen < shown and (history["finished"] or due) and not stop:
                look_up()
            elif ends:
                write_state(state_file, game, shown, run.spent(), history)
                run.save()
            if stop:
                raise Stopped(stop[0])
    kept = checks[best(checks)]
    print(f"stage {stage}: {history['finished']} after {shown / 1000:.3g} kimg; kept what it was at {kept['kimg']:.3g}")


def progress(checks: Sequence[dict[str, float]], minutes: float) -> str:
    """What the bar says besides: the last check, the best, and the time that is left."""
    last, kept, left = checks[-1], checks[best(checks)], math.ceil(max(0.0, minutes))
    kids = f"KID {1000 * last['kid']:.0f} (best {1000 * kept['kid']:.0f})"
    return f"{kids} copies {last['copies']:.0%} · {left} min left in all"


def read_history(state_file: Path) -> dict[str, Any]:
    """What a stage's state says of its past: `checks`, and `finished`, which is the reason or empty."""
    if not state_file.exists():
        return {}
    with reading_state(state_file):
        history: dict[str, Any] = torch.load(state_file, map_location="cpu", weights_only=True)["past"]
        return history


def best(checks: Sequence[dict[str, float]]) -> int:
    """Which check is nearest to the photographs held back, of those that do not copy."""
    return min((i for i, check in enumerate(checks) if not _copies(check, checks)), key=lambda i: checks[i]["kid"])


def verdict(checks: Sequence[dict[str, float]]) -> str:
    """Why a stage should end by itself, or nothing."""
    if len(checks) > 2 and all(_copies(check, checks) for check in checks[-2:]):
        return "it began to copy photographs"
    if len(checks) - 1 - best(checks) >= PATIENCE:
        return "it came no nearer to the photographs held back"
    return ""


def _copies(check: dict[str, float], checks: Sequence[dict[str, float]]) -> bool:
    """More than the first of the checks, the checkpoint's own. A fifth of a hundred photographs is few to say how near
    is too near: of one such fifth the checkpoint, which has seen none of them, came too near with a quarter of its
    pictures, of another with none."""
    return check["copies"] > checks[0]["copies"] + COPIES


def grid_names(names: Sequence[str], recombined: Sequence[str]) -> list[str]:
    """A dozen names for the grids: some of the photographs', spread evenly, and some that no photograph has."""
    made_up = list(recombined[: GRID // 3])
    return [*spread(list(dict.fromkeys(names)), GRID - len(made_up)), *made_up]


def painter(game: Stage, names: set[str], source: Path, device: torch.device) -> Painter:
    """Paints with the game's average, names that are among these; `source` has the text encoder."""
    ordered = sorted(names)
    row = {name: i for i, name in enumerate(ordered)}
    embeddings = embed(ordered, source, device)

    def latent(seed: int) -> Tensor:
        return torch.randn(game.latent_dim, generator=torch.Generator().manual_seed(seed))

    def paint(names: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        pictures = np.empty((len(names), game.size, game.size, 3), np.uint8)
        for i in range(0, len(names), BATCH):
            texts = embeddings[[row[name] for name in names[i : i + BATCH]]]
            latents = torch.stack([latent(seed) for seed in seeds[i : i + BATCH]]).to(device)
            pictures[i : i + BATCH] = to_uint8(game.paint(texts, latents).cpu())
        return pictures

    return paint


# ---- the end ----------------------------------------------------------------------------------------------------


def finish(run: Run) -> None:
    """Says how new a dish is by the photographs' names too, writes the report, and clears away what --resume needed."""
    before, after = Pipeline.load(run.base, run.device), Pipeline.load(run.out, run.device)
    # What is new is what this cafeteria has no photograph of.
    write_index(run.out, run.part(run.held | True, SKETCH_SIZE), after.embed)
    stages = {stage: read_history(run.folder / f"stage{stage}.pt") for stage in ("1", "2")}
    shown, held = run.part(~run.held), run.part(run.held)
    facts = report.Facts(
        data=run.data, found=run.found, plan=run.plan.name, minutes=run.spent() / 60, shown=len(shown), held=len(held),
        versions=(run.version, after.version),
        curves={stage: report.curves(run.folder / f"stage{stage}.csv", stages[stage]["checks"],
                                           best(stages[stage]["checks"])) for stage in stages},
        ends={stage: history["finished"] for stage, history in stages.items()},
    )  # fmt: skip
    examiner = Examiner(PICTURE_SIZE, shown, held, run.device)
    checks = report.write(run.out / "report.html", facts, examiner, (before, after), shown, run.recombined)
    describe(run, checks, after.version)
    run.save(finished=True)
    shutil.rmtree(run.base)
    for name in ("photos.npz", "stage1.pt", "stage2.pt"):
        (run.folder / name).unlink()
    if after.version == run.version:
        print("No check was better than the checkpoint as it was, so that it is kept as it is: give it more --minutes.")
    print(f"{run.out}: version {after.version}, {run.spent() / 60:.0f} minutes. See {run.out / 'report.html'}; then")
    print(f"make serve CHECKPOINT={shlex.quote(str(run.out))}")


def describe(run: Run, checks: tuple[Check, Check], version: str) -> None:
    """The checkpoint's own words on where it comes from: a section of its config, and a short model card."""
    training = checkpoint.read_config(run.out).get("training", {})
    minutes = round(run.spent() / 60, 1)
    training["adaptation"] = {"from": run.version, "photographs": len(run.photos), "minutes": minutes}
    checkpoint.save_config(run.out, training=training)
    kid = " | ".join(f"{1000 * check.kid.value:.0f} ± {1000 * check.kid.spread:.0f}" for check in checks)
    copies = " | ".join(f"{check.copies.value:.0%}" for check in checks)
    text = f"""# A cafeteria of its own

Version {version}: the checkpoint {run.version}, adapted by `python -m model.adapt` to {len(run.photos)} photographs
({run.plan.name}; {minutes:.0f} minutes on {run.device}). `report.html` shows what came of it.

| at 256 px | before | after |
|---|---|---|
| KID × 1000 to photographs held back | {kid} |
| copies of photographs | {copies} |
"""
    checkpoint.write_file(run.out / "README.md", text.encode())
