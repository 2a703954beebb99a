"""A training run's folder: log, sample grids, state and checkpoint."""

from __future__ import annotations

import csv
import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from model import checkpoint
from model.contact_sheet import ContactSheet
from model.pipeline import to_uint8
from model.training import distributed
from model.training.stage import Stage, Stateful

STATE, CHECKPOINT = "state.pt", "checkpoint"  # in a run's folder


def check_run(out: Path, state_file: Path, resume: bool) -> None:
    """Raises ValueError if a run would overwrite another, or there is none to resume."""
    if state_file.exists() and not resume:
        raise ValueError(f"{out} holds a run already: go on with --resume, or name another --out")
    if resume and not state_file.exists():
        raise ValueError(f"{state_file} does not exist: there is nothing to resume")


class SampleGrid:
    """A grid of samples with the same names and latents at every checkpoint."""

    def __init__(
        self, stage: Stage, names: Sequence[str], embeddings: Tensor, device: torch.device, seed: int, columns: int
    ) -> None:
        self.stage, self.names, self.columns = stage, names, columns
        self.embeddings = embeddings.repeat_interleave(columns, 0)
        generator = torch.Generator().manual_seed(seed)
        self.latents = torch.randn(columns, stage.latent_dim, generator=generator).repeat(len(names), 1).to(device)

    def draw(self, path: Path) -> None:
        """Writes the grid: each name's pictures side by side, one column per latent."""
        sheet = ContactSheet(self.names, [""] * len(self.names), self.columns)
        pairs = zip(self.embeddings.split(self.columns), self.latents.split(self.columns), strict=True)
        for group, (embedding, latent) in enumerate(pairs):
            for variant, picture in enumerate(to_uint8(self.stage.sample(embedding, latent).cpu())):
                sheet.paste(group, variant, picture)
        buffer = io.BytesIO()
        sheet.image.save(buffer, "PNG", compress_level=1)
        checkpoint.write_file(path, buffer.getvalue())


class Log:
    """A CSV file with a row per tick: the means of the steps' values since the last one.

    Args:
        position: where a resumed run continues. Rows beyond it are from steps that were lost to a kill, and are
            dropped. None starts a new file.
        column: name of the first column, the position.
    """

    def __init__(self, path: Path, position: float | None, column: str = "kimg") -> None:
        self.path, self.column = path, column
        self.steps: list[dict[str, Tensor]] = []
        self.columns: list[str] = []
        self.earlier: list[dict[str, str]] = []
        if position is not None and path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                self.earlier = [row for row in reader if float(row[column]) <= position + 1e-3]
                self.columns = list(reader.fieldnames or ())

    def add(self, stats: dict[str, Tensor]) -> None:
        self.steps.append(stats)

    def means(self, position: float, seconds: float) -> dict[str, float]:
        """The means for the next row, over all processes."""
        steps = torch.stack([torch.stack([s.float() for s in step.values()]) for step in self.steps])
        means = distributed.mean(steps.mean(0))
        row = {self.column: position, "seconds": seconds, "steps": float(len(self.steps))}
        row |= dict(zip(self.steps[0], means.tolist(), strict=True))
        self.steps = []
        return row

    def write(self, row: dict[str, float]) -> None:
        """Adds a row to the file."""
        written = {name: f"{value:.6g}" for name, value in row.items()}
        self._append(written | {self.column: f"{row[self.column]:.3f}"})  # to the photograph, however long a run is

    def _append(self, row: dict[str, str]) -> None:
        if list(row) == self.columns and not self.earlier:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)
            return
        # The first row of a run, or of its going on: the file is written anew, with what is kept of it.
        self.columns = list(dict.fromkeys([*self.columns, *row]))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, restval="")
        writer.writeheader()
        writer.writerows([*self.earlier, row])
        self.earlier = []
        checkpoint.write_file(self.path, text.getvalue().encode())


class Trained(Protocol):
    """Anything with weights and optimizers to resume from: a `Stage`, or the text stage."""

    def modules(self) -> Mapping[str, nn.Module]: ...

    def optimizers(self) -> Mapping[str, Stateful]: ...


State = TypeVar("State")  # a dataclass of numbers, strings, and lists and dicts of them


def write_state(path: Path, trained: Trained, state: Any) -> None:
    """Writes everything that --resume needs into one file, replaced atomically. `state`: a dataclass."""
    content = {
        "state": asdict(state),
        "modules": {name: module.state_dict() for name, module in trained.modules().items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in trained.optimizers().items()},
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    checkpoint.write_file(path, buffer.getvalue())


def read_state(path: Path, kind: type[State], trained: Trained | None = None) -> State:
    """Reads a run's state and, if `trained` is given, restores its weights and optimizers.

    Raises ValueError, naming the file, if it belongs to another run or is damaged.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        for name, module in trained.modules().items() if trained else ():
            module.load_state_dict(content["modules"][name])
        for name, optimizer in trained.optimizers().items() if trained else ():
            optimizer.load_state_dict(content["optimizers"][name])
        return kind(**content["state"])
    except (KeyError, TypeError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is not the state of such a run, or is damaged: {error}") from error


def resume_hint(state_file: Path) -> str:
    """The message about what a stopped run leaves behind."""
    if not state_file.exists():
        return "nothing had been saved yet"
    folder = state_file.parent
    return f"state and checkpoint of the last save are kept in {folder}; --resume --seed N goes on from there"


def start_checkpoint(target: Path, source: Path) -> None:
    """Creates the run's checkpoint folder with everything in `source`; later saves replace this stage's part."""
    config = checkpoint.read_config(source)
    for file in sorted(source.iterdir()):
        if file.suffix in {".safetensors", ".model"}:
            checkpoint.write_file(target / file.name, checkpoint.read_file(file))
    config.pop("format")
    checkpoint.save_config(target, **config)


def save_checkpoint(
    target: Path, stage: Stage, kimg: float, hours: float, runs: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """Writes this stage's part of the run's checkpoint folder.

    `runs`: all runs behind the weights, see `model.training.recipe`; None leaves the recorded ones.
    """
    training = checkpoint.read_config(target).get("training", {})
    recorded = training.get(stage.name, {}) if runs is None else {"runs": list(runs)}
    training[stage.name] = {**recorded, "kimg": round(kimg, 3), "hours": round(hours, 3)}
    save_networks(target, stage.shipped(), training=training)


def save_networks(target: Path, networks: Mapping[str, nn.Module], **sections: Mapping[str, Any]) -> None:
    """Writes weights and configs of networks, by name, and further sections of the config, into a checkpoint folder."""
    for name, module in networks.items():
        checkpoint.save_weights(target, name, module)
    configs: dict[str, Any] = {name: module.config for name, module in networks.items()}
    checkpoint.save_config(target, **sections, **configs)
