"""The loop of an adaptation: runs both stages, one after the other, and writes the results."""

from __future__ import annotations

import math
import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model import checkpoint
from model.adaptation import report
from model.adaptation.regularization import RegularizedStage
from model.adaptation.run import AdaptationRun
from model.adaptation.validation import Check, HeldOutValidator, Sampler, spread
from model.features.augment import flip
from model.features.matching import has_bfloat16
from model.features.text_reader import embed
from model.generators import PICTURE_SIZE, SKETCH_SIZE
from model.nearest import write_index
from model.pipeline import Pipeline, to_uint8
from model.training import loop
from model.training.gan_loop import GanState, PhotoBatches, finite, reseed
from model.training.loop import TrainingStopped
from model.training.presets import build
from model.training.run_folder import (
    Log,
    SampleGrid,
    read_state,
    save_checkpoint,
    start_checkpoint,
    write_state,
)
from model.training.stage import Stage

BATCH = 16  # pictures generated at once in a check


class Stopped(Exception):
    """A signal asked to stop; everything is saved."""

    def __init__(self, signal: int) -> None:
        self.signal = signal


def adapt(run: AdaptationRun) -> None:
    """Adapts both stages, keeping the best checks, and writes the report. Raises Stopped if a signal asked to stop."""
    for line in run.found:
        print(line)
    shown, held = len(run.photos) - run.held.sum(), run.held.sum()
    print(f"{shown} are trained on and {held} held back · {run.plan.name} · {run.minutes:g} minutes · {run.device}")
    if not (run.out / checkpoint.CONFIG).exists():
        start_checkpoint(run.out, run.base)
    for stage_name in ("1", "2"):
        adapt_stage(run, stage_name)
    if run.config.report:
        finish(run)


# ---- one stage --------------------------------------------------------------------------------------------------


@dataclass
class AdaptationState(GanState):
    """checks: results of each check: `kimg` of the stage, `kid` and `copies`. finished: why the stage has ended, or
    empty.
    began: seconds into the whole run at which the stage began."""

    checks: list[dict[str, float]] = field(default_factory=list)
    finished: str = ""
    began: float = 0.0


class StageAdaptation:
    """The adaptation of one stage, as the loop sees it. See `model.training.loop.Training`."""

    def __init__(self, run: AdaptationRun, stage_name: str, stage: Stage, state: AdaptationState, batch: int) -> None:
        self.run, self.stage_name, self.stage, self.state, self.batch = run, stage_name, stage, state, batch
        self.config, self.last = run.config, run.plan.kimg[int(stage_name) - 1]
        self.state_file = run.folder / f"stage{stage_name}.pt"
        photos = run.part(~run.held, stage.size)
        held = run.part(run.held, stage.size)
        pictures = self.config.pictures[stage.size] if self.config.pictures else None
        self.validator = HeldOutValidator(stage.size, photos, held, run.device, at_most=pictures)
        self.weights = run.name_sampler.weights.clone()
        if stage_name == "2":
            self.weights[torch.from_numpy(run.small[~run.held]).to(self.weights.device)] = 0
        names = grid_names(photos.names, run.recombined, self.config.grid)
        embeddings = embed(names, run.base, run.device)
        self.grid = SampleGrid(stage, names, embeddings, run.device, run.seed, self.config.latents)
        self.sampler = sampler(stage, {*self.validator.held_names, *self.validator.known}, run.base, run.device)
        self.batches = PhotoBatches(photos, run.device)
        self.checked, self.checked_at, self.ticked = time.monotonic(), state.shown, state.shown
        self.every = 60 * run.minutes / (2 * self.config.checks)

    def position(self) -> float:
        return self.state.position

    def time_share(self) -> float:
        run, began = self.run, self.state.began
        return (run.spent() - began) / max(1e-6, run.until(self.stage_name) - began)

    def progress(self) -> float:
        return 1.0 if self.state.finished else max(self.state.shown / 1000 / self.last, self.time_share())

    def step(self) -> dict[str, Tensor]:
        names_of = self.run.name_sampler
        index = torch.multinomial(self.weights, self.batch, replacement=True)
        imagined = names_of.imagined(self.batch - self.batch // 2)
        return self.stage.step(flip(self.batches[index]), names_of.names(index), imagined, self.state.position)

    def ticks(self) -> bool:
        return self.state.shown - self.ticked >= self.config.tick * self.batch

    def tick(self, row: dict[str, float], stopping: bool) -> str:
        self.ticked = self.state.shown
        if not all(map(math.isfinite, row.values())) or not finite(self.stage):
            raise TrainingStopped("a number was none any more")
        return progress(self.state.checks, self.run.minutes - self.run.spent() / 60)

    def saves(self) -> bool:
        state = self.state
        if state.shown == self.checked_at:
            return not state.checks
        due = state.shown - self.checked_at >= 1000 * self.last / self.config.checks
        return due or time.monotonic() - self.checked >= self.every

    def save(self, ended: bool, stopping: bool) -> None:
        state = self.state
        if ended and not stopping and not state.finished:
            state.finished = "its time was up" if self.time_share() >= 1 else f"{self.last:g} kimg were shown"
        if not stopping and (state.shown > self.checked_at or not state.checks):
            self.check()
        self.write()

    def check(self) -> None:
        """Validates, keeps the checkpoint if it is the best so far, and draws the grid."""
        run, state, began = self.run, self.state, time.monotonic()
        found = self.validator.check(self.sampler)
        checks = state.checks
        checks.append({"kimg": state.shown / 1000, "kid": found.kid.value, "copies": found.copies.value})
        if len(checks) > 1 and best(checks) == len(checks) - 1:
            save_checkpoint(run.out, self.stage, state.position, state.hours + (run.spent() - state.began) / 3600)
        state.finished = state.finished or stop_reason(checks, self.config.patience)
        self.grid.draw(run.folder / "samples" / f"stage{self.stage_name}-{state.shown:06d}.png")
        self.checked, self.checked_at = time.monotonic(), state.shown
        self.every = max(self.every, (self.checked - began) / self.config.check_share)
        reseed(run.seed, state.shown, 0)

    def write(self) -> None:
        """Writes the state for --resume."""
        self.state.seconds = self.run.spent()
        write_state(self.state_file, self.stage, self.state)
        self.run.save()


def adapt_stage(run: AdaptationRun, stage_name: str) -> None:
    """Adapts one stage, from where it left off."""
    state_file = run.folder / f"stage{stage_name}.pt"
    resumed = state_file.exists()
    if resumed and read_state(state_file, AdaptationState).finished:
        return
    preset = run.preset(stage_name)
    source = run.base if stage_name == "1" else run.out
    built, past = build(stage_name, preset, source, run.device, has_bfloat16(run.device))
    stage = RegularizedStage(built, run.plan, run.base, run.name_sampler.composed, preset.batch)
    if resumed:
        state = read_state(state_file, AdaptationState, stage)
    else:
        state = AdaptationState(kimg=past.get("kimg", 0.0), hours=past.get("hours", 0.0), began=run.spent())
    state.seconds = run.spent()
    adaptation = StageAdaptation(run, stage_name, stage, state, preset.batch)
    log = Log(run.folder / f"stage{stage_name}.csv", state.position if resumed else None)
    reseed(run.seed, state.shown, 0)
    try:
        stopped = loop.run(adaptation, log, title=f"stage {stage_name}")
    except TrainingStopped as error:
        state.finished, stopped = str(error), 0
        adaptation.write()
    if stopped:
        raise Stopped(stopped)
    kept, end = state.checks[best(state.checks)], f"{state.shown / 1000:.3g} kimg"
    print(f"stage {stage_name}: {state.finished} after {end}; kept what it was at {kept['kimg']:.3g}")


def progress(checks: Sequence[dict[str, float]], minutes: float) -> str:
    """The text for the progress bar: the last check, the best one, and the time left."""
    last, kept, left = checks[-1], checks[best(checks)], math.ceil(max(0.0, minutes))
    kids = f"KID {1000 * last['kid']:.0f} (best {1000 * kept['kid']:.0f})"
    return f"{kids} copies {last['copies']:.0%} · {left} min left in all"


def best(checks: Sequence[dict[str, float]]) -> int:
    """The index of the check that is nearest to the held-out photographs, among those that do not copy."""
    return min((i for i, check in enumerate(checks) if not _copies(check, checks)), key=lambda i: checks[i]["kid"])


def stop_reason(checks: Sequence[dict[str, float]], patience: int) -> str:
    """Why a stage should stop early, or an empty string. `patience`: number of checks without improvement."""
    if len(checks) > 2 and all(_copies(check, checks) for check in checks[-2:]):
        return "it began to copy photographs"
    if len(checks) - 1 - best(checks) >= patience:
        return "it came no nearer to the photographs held back"
    return ""


COPIES = 0.03  # of the pictures at most, above the share of a checkpoint that has seen none of the photographs


def _copies(check: dict[str, float], checks: Sequence[dict[str, float]]) -> bool:
    """Returns whether a check copies more than the first one, which is the base checkpoint's. A fifth of a hundred
    photographs is too few for an absolute threshold: with one such fifth the checkpoint, which has seen none of them,
    came too close with a quarter of its pictures, with another fifth with none."""
    return check["copies"] > checks[0]["copies"] + COPIES


def grid_names(names: Sequence[str], recombined: Sequence[str], count: int) -> list[str]:
    """Names for the grids: an even selection of the photographs' names, and up to a third that no photograph has."""
    made_up = list(recombined[: count // 3])
    return [*spread(list(dict.fromkeys(names)), count - len(made_up)), *made_up]


def sampler(stage: Stage, names: set[str], source: Path, device: torch.device) -> Sampler:
    """Returns a function that samples from the averaged generator, for names among these; `source` has the text
    encoder."""
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
    """Adds the photographs' names to the novelty index, writes the report, and removes the files for --resume."""
    before, after = Pipeline.load(run.base, run.device), Pipeline.load(run.out, run.device)
    # What is new is what this cafeteria has no photograph of.
    write_index(run.out, run.part(run.held | True, SKETCH_SIZE), after.embed)
    stages = {name: read_state(run.folder / f"stage{name}.pt", AdaptationState) for name in ("1", "2")}
    shown, held = run.part(~run.held), run.part(run.held)
    facts = report.ReportFacts(
        data=run.data, found=run.found, plan=run.plan.name, minutes=run.spent() / 60, shown=len(shown), held=len(held),
        versions=(run.version, after.version),
        curves={name: report.curves(run.folder / f"stage{name}.csv", state.checks, best(state.checks))
                for name, state in stages.items()},
        ends={name: state.finished for name, state in stages.items()},
        aligned=list(zip(run.alignment.before, run.photos.images[run.alignment.rows], strict=True)),
        left=run.alignment.left or [],
    )  # fmt: skip
    pictures = run.config.pictures[PICTURE_SIZE] if run.config.pictures else None
    validator = HeldOutValidator(PICTURE_SIZE, shown, held, run.device, at_most=pictures)
    checks = report.write(run.out / "report.html", facts, validator, (before, after), shown, run.recombined,
                          run.config.report_names)  # fmt: skip
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
    """Describes the checkpoint's origin: in a section of its config, and a short model card."""
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
