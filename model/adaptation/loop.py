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
from model.adaptation.regularization import RegularizedStage, adaptation_preset
from model.adaptation.run import AdaptationRun
from model.adaptation.validation import Check, HeldOutValidator, Sampler, spread
from model.features.augment import flip
from model.features.matching import has_bfloat16
from model.features.text_reader import embed
from model.generators import PICTURE_SIZE, SKETCH_SIZE
from model.nearest import write_index
from model.pipeline import Pipeline, to_uint8
from model.training.gan_loop import PhotoBatches, finite, reseed
from model.training.presets import build
from model.training.run_folder import (
    Log,
    SampleGrid,
    read_state,
    reading_state,
    save_checkpoint,
    start_checkpoint,
    write_state,
)
from model.training.signals import stop_on_signal
from model.training.stage import Stage

CHECKS = 10  # a stage, spread over its kimg or over half of the minutes, whichever comes sooner
CHECK_SHARE = 0.1  # of the time that checks may take, on whatever machine
PATIENCE = 4  # checks without a better one
COPIES = 0.03  # of the pictures at most, above the share of a checkpoint that has seen none of the photographs
TICK = 50  # steps between rows of the log
BATCH = 16  # pictures generated at once in a check
GRID = 12  # names on a grid, a third of them recombined


class Stopped(Exception):
    """A signal asked for the end; all is saved."""

    def __init__(self, signal: int) -> None:
        self.signal = signal


def adapt(run: AdaptationRun) -> None:
    """Adapts both stages, best checks kept, and writes the report. Raises Stopped when a signal asked for the end."""
    for line in run.found:
        print(line)
    shown, held = len(run.photos) - run.held.sum(), run.held.sum()
    print(f"{shown} are trained on and {held} held back · {run.plan.name} · {run.minutes:g} minutes · {run.device}")
    if not (run.out / checkpoint.CONFIG).exists():
        start_checkpoint(run.out, run.base)
    for stage_name in ("1", "2"):
        adapt_stage(run, stage_name)
    finish(run)


# ---- one stage --------------------------------------------------------------------------------------------------


def adapt_stage(run: AdaptationRun, stage_name: str) -> None:
    """Adapts one stage, from where it was."""
    state_file = run.folder / f"stage{stage_name}.pt"
    history = read_history(state_file)
    if history.get("finished"):
        return
    preset, last = adaptation_preset(stage_name), run.plan.kimg[int(stage_name) - 1]
    source = run.base if stage_name == "1" else run.out
    built, past = build(stage_name, preset, source, run.device, has_bfloat16(run.device))
    stage = RegularizedStage(built, run.plan, run.base, run.name_sampler.composed, preset.batch)
    shown = 0
    history = {"kimg": past.get("kimg", 0.0), "hours": past.get("hours", 0.0), "checks": [], "finished": "",
               "began": run.spent()}  # fmt: skip
    resumed = state_file.exists()
    if resumed:
        shown, _, history = read_state(state_file, stage)
    checks, before, entered = history["checks"], history["kimg"], history["began"]

    photos = run.part(~run.held, stage.size)
    validator = HeldOutValidator(stage.size, photos, run.part(run.held, stage.size), run.device)
    weights = run.name_sampler.weights.clone()
    if stage_name == "2":
        weights[torch.from_numpy(run.small[~run.held]).to(weights.device)] = 0
    shown_names = grid_names(photos.names, run.recombined)
    grid = SampleGrid(stage, shown_names, embed(shown_names, run.base, run.device), run.device, run.seed)
    sample = sampler(stage, {*validator.held_names, *validator.known}, run.base, run.device)
    log = Log(run.folder / f"stage{stage_name}.csv", before + shown / 1000 if resumed else None)
    batches, saved, seen = PhotoBatches(photos, run.device), time.monotonic(), shown
    every = 60 * run.minutes / (2 * CHECKS)

    def validate() -> None:
        """A check: keeps the checkpoint where it is the best yet, and saves all."""
        nonlocal saved, seen, every
        began = time.monotonic()
        found = validator.check(sample)
        checks.append({"kimg": shown / 1000, "kid": found.kid.value, "copies": found.copies.value})
        if len(checks) > 1 and best(checks) == len(checks) - 1:
            save_checkpoint(run.out, stage, before + shown / 1000, history["hours"] + (run.spent() - entered) / 3600)
        history["finished"] = history["finished"] or stop_reason(checks)
        grid.draw(run.folder / "samples" / f"stage{stage_name}-{shown:06d}.png")
        write_state(state_file, stage, shown, run.spent(), history)
        run.save()
        saved, seen = time.monotonic(), shown
        every = max(every, (saved - began) / CHECK_SHARE)
        reseed(run.seed, shown, 0)

    calm = 0.1 if sys.stderr.isatty() else 10.0
    bar = tqdm(desc=f"stage {stage_name}", unit="img", unit_scale=True, initial=shown, dynamic_ncols=True,
               mininterval=calm)  # fmt: skip
    with bar, stop_on_signal() as stop:
        if not checks:
            validate()
        reseed(run.seed, shown, 0)
        steps = 0
        while not history["finished"]:
            time_share = (run.spent() - entered) / max(1e-6, run.until(stage_name) - entered)
            done = max(shown / 1000 / last, time_share)
            if done >= 1:
                history["finished"] = "its time was up" if time_share >= 1 else f"{last:g} kimg were shown"
            elif not stop:
                index = torch.multinomial(weights, preset.batch, replacement=True)
                imagined = run.name_sampler.imagined(preset.batch - preset.batch // 2)
                names = run.name_sampler.names(index)
                log.add(stage.step(flip(batches[index]), names, imagined, before + shown / 1000))
                shown, steps = shown + preset.batch, steps + 1
                bar.total = max(shown, round(shown / max(done, 1e-3)))
                bar.set_postfix_str(progress(checks, run.minutes - run.spent() / 60), refresh=False)
                bar.update(preset.batch)
            ends = bool(history["finished"] or stop)
            if log.steps and (ends or steps % TICK == 0):
                row = log.write(before + shown / 1000, run.spent(), True)
                if not all(map(math.isfinite, row.values())) or not finite(stage):
                    history["finished"] = "a number was none any more"
                    write_state(state_file, stage, shown, run.spent(), history)
                    break
            due = time.monotonic() - saved >= every or shown - seen >= 1000 * last / CHECKS
            if seen < shown and (history["finished"] or due) and not stop:
                validate()
            elif ends:
                write_state(state_file, stage, shown, run.spent(), history)
                run.save()
            if stop:
                raise Stopped(stop[0])
    kept = checks[best(checks)]
    why, end = history["finished"], f"{shown / 1000:.3g} kimg"
    print(f"stage {stage_name}: {why} after {end}; kept what it was at {kept['kimg']:.3g}")


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


def stop_reason(checks: Sequence[dict[str, float]]) -> str:
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


def sampler(stage: Stage, names: set[str], source: Path, device: torch.device) -> Sampler:
    """Samples from the averaged generator, names that are among these; `source` has the text encoder."""
    ordered = sorted(names)
    row = {name: i for i, name in enumerate(ordered)}
    embeddings = embed(ordered, source, device)

    def latent(seed: int) -> Tensor:
        return torch.randn(stage.latent_dim, generator=torch.Generator().manual_seed(seed))

    def sample(names: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        pictures = np.empty((len(names), stage.size, stage.size, 3), np.uint8)
        for i in range(0, len(names), BATCH):
            texts = embeddings[[row[name] for name in names[i : i + BATCH]]]
            latents = torch.stack([latent(seed) for seed in seeds[i : i + BATCH]]).to(device)
            pictures[i : i + BATCH] = to_uint8(stage.sample(texts, latents).cpu())
        return pictures

    return sample


# ---- the end ----------------------------------------------------------------------------------------------------


def finish(run: AdaptationRun) -> None:
    """Says how new a dish is by the photographs' names too, writes the report, and clears away what --resume needed."""
    before, after = Pipeline.load(run.base, run.device), Pipeline.load(run.out, run.device)
    # What is new is what this cafeteria has no photograph of.
    write_index(run.out, run.part(run.held | True, SKETCH_SIZE), after.embed)
    stages = {stage_name: read_history(run.folder / f"stage{stage_name}.pt") for stage_name in ("1", "2")}
    shown, held = run.part(~run.held), run.part(run.held)
    facts = report.ReportFacts(
        data=run.data, found=run.found, plan=run.plan.name, minutes=run.spent() / 60, shown=len(shown), held=len(held),
        versions=(run.version, after.version),
        curves={stage_name: report.curves(run.folder / f"stage{stage_name}.csv", stages[stage_name]["checks"],
                                           best(stages[stage_name]["checks"])) for stage_name in stages},
        ends={stage_name: history["finished"] for stage_name, history in stages.items()},
    )  # fmt: skip
    validator = HeldOutValidator(PICTURE_SIZE, shown, held, run.device)
    checks = report.write(run.out / "report.html", facts, validator, (before, after), shown, run.recombined)
    describe(run, checks, after.version)
    run.save(finished=True)
    shutil.rmtree(run.base)
    for name in ("photos.npz", "stage1.pt", "stage2.pt"):
        (run.folder / name).unlink()
    if after.version == run.version:
        print("No check was better than the checkpoint as it was, so that it is kept as it is: give it more --minutes.")
    print(f"{run.out}: version {after.version}, {run.spent() / 60:.0f} minutes. See {run.out / 'report.html'}; then")
    print(f"make serve CHECKPOINT={shlex.quote(str(run.out))}")


def describe(run: AdaptationRun, checks: tuple[Check, Check], version: str) -> None:
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
