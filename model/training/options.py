"""A run's record of its options, `options.json` in its folder, used by --resume and model cards."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from model import checkpoint
from model.data.photos import Photos

FILE = "options.json"
PACKAGES = ("torchvision", "numpy", "sentencepiece", "safetensors")


@dataclass(frozen=True)
class Options:
    """Everything that a run was started with.

    given: the command's options by name, including defaults; paths are absolute.
    config: the resolved configuration, nested dataclasses as objects.
    data: `describe` of the photographs.
    versions: see the function.
    commit: of this repository, with the suffix `-dirty` if files differ; None outside a Git checkout.
    earlier: versions and commits of parts before a --resume that changed them, oldest first.
    runs: those behind the weights that the run started from, see `model.training.recipe`.
    """

    given: dict[str, Any]
    config: dict[str, Any]
    data: dict[str, Any]
    versions: dict[str, str] = field(default_factory=lambda: versions())
    commit: str | None = field(default_factory=lambda: commit())
    earlier: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Writes the record, atomically."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False)
        checkpoint.write_file(folder / FILE, text.encode() + b"\n")

    def resumed(self, given: Mapping[str, Any], changeable: Collection[str], folder: Path) -> Options:
        """The record of the run when it is resumed.

        Args:
            given: the options given explicitly along with --resume.
            changeable: names of options that may differ from the record; they replace its values.
            folder: of the run, for the error message.

        Raises:
            ValueError: another option contradicts the record.
        """
        given = plain(given)
        for name, value in given.items():
            if name not in changeable and (name not in self.given or self.given[name] != value):
                was = self.given.get(name)
                begun = f"with --{name} {was}" if was is not None else f"without --{name}"
                raise ValueError(f"--{name} {value}: the run in {folder} was begun {begun}, and goes on only as it was")
        merged = {**self.given, **{name: value for name, value in given.items() if name in changeable}}
        before = {"versions": self.versions, "commit": self.commit}
        now = replace(self, given=merged, versions=versions(), commit=commit())
        same = (now.versions, now.commit) == (self.versions, self.commit)
        return now if same else replace(now, earlier=[*self.earlier, before])


def read(folder: Path) -> Options:
    """Reads the record of a run folder. Raises ValueError, naming the file, if it is missing or damaged."""
    path = folder / FILE
    if not path.exists():
        raise ValueError(
            f"{path} does not exist: the run was begun by an older version. Begin another --from its checkpoint folder"
        )
    try:
        return TypeAdapter(Options).validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        raise ValueError(f"{path} is damaged: {error.errors()[0]['msg']}") from error


def plain(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON values, with absolute paths."""

    def one(value: Any) -> Any:
        if isinstance(value, tuple):
            return [one(item) for item in value]
        return str(value.resolve()) if isinstance(value, Path) else value

    return {name: one(value) for name, value in given.items()}


def describe(photos: Photos, data: Path) -> dict[str, Any]:
    """The record of a set of photographs: location, number, and a digest of their names in order."""
    digest = hashlib.sha256(photos.name_table().encode())
    return {"path": str(data.resolve()), "photographs": len(photos), "names": digest.hexdigest()[:16]}


def check_data(recorded: Mapping[str, Any], photos: Photos, data: Path) -> None:
    """Raises ValueError if a run would be resumed with different photographs; they may have moved."""
    found = describe(photos, data)
    if any(found[name] != recorded.get(name) for name in ("photographs", "names")):
        raise ValueError(
            f"{data} holds other photographs ({len(photos):,}) than the {recorded.get('photographs'):,} of "
            f"{recorded.get('path')} that the run was begun with"
        )


def versions() -> dict[str, str]:
    """The versions of Python and of packages that affect numerical results; torch's includes its CUDA version."""
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):  # a package that was put there without pip
            found[name] = metadata.version(name)
    return found


def commit() -> str | None:
    """The commit of this repository, see `Options`."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
