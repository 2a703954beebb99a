"""Packs the checkpoint that ships from the checkpoint folders of several runs.

    python -m model.pack --part runs/stage1/checkpoint --part runs/stage2/checkpoint --data DATA --out checkpoints

It prints the runs behind the checkpoint as a table for its model card. With --data the checkpoint also gets an index of
the training photographs' names and looks, from which the page tells how novel a dish is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from model import checkpoint
from model.checkpoint import FOCUS, SHIPPED, CheckpointError
from model.commands import plain_errors
from model.data.photos import load
from model.generators import SKETCH_SIZE
from model.nearest import FILE as INDEX
from model.nearest import write_index
from model.pipeline import Pipeline
from model.training.recipe import table

MAX_BYTES = 36 * 2**20  # of the whole folder: every version of it stays in the repository's history


@click.command(context_settings={"show_default": True})
@click.option("--part", "parts", help="Checkpoint folder of a run. Of a network that several have, the one trained longest counts; the first has the text encoder.", type=click.Path(path_type=Path, file_okay=False), multiple=True, required=True)
@click.option("--data", help="The training photographs, whose names the index of what exists is made of; without it there is none.", type=click.Path(path_type=Path))
@click.option("--out", help="Checkpoint folder to write.", type=click.Path(path_type=Path, file_okay=False), required=True)
def main(parts: tuple[Path, ...], data: Path | None, out: Path) -> None:
    """Packs one checkpoint folder from the parts and checks that it serves."""
    with plain_errors(out):
        size = pack(parts, out)
        pipeline = Pipeline.load(out, "cpu")
        print(f"{out}: version {pipeline.version}, {size / 2**20:.1f} MiB")
        print(table(checkpoint.read_config(out)))
        if data is not None:
            print(f"index: {write_index(out, load(data, SKETCH_SIZE), pipeline.embed):,} names of {data}")


def pack(parts: tuple[Path, ...], out: Path) -> int:
    """Writes `out` from the parts and returns its size in bytes.

    Raises CheckpointError, leaving `out` unchanged, if a file is missing, if parts were trained on different text
    encoders, or if the whole would exceed MAX_BYTES.
    """
    configs = {part: checkpoint.read_config(part) for part in parts}
    encoder = checkpoint.read_file(checkpoint.weights_path(parts[0], "text"))
    for part in parts[1:]:
        if checkpoint.read_file(checkpoint.weights_path(part, "text")) != encoder:
            raise CheckpointError(f"{part} was trained on another text encoder than {parts[0]}: they do not fit")
    files = {checkpoint.TOKENIZER: checkpoint.read_file(parts[0] / checkpoint.TOKENIZER)}
    sections: dict[str, Any] = {"training": {}}
    for name in (*SHIPPED, FOCUS) if any(FOCUS in config for config in configs.values()) else SHIPPED:
        stage = name.split("-")[0]
        have = [part for part in parts if name in configs[part]]
        if not have:
            raise CheckpointError(f"none of {', '.join(map(str, parts))} has {name!r}")
        best = max(have, key=lambda part: configs[part].get("training", {}).get(stage, {}).get("kimg", 0.0))
        files[f"{name}.safetensors"] = checkpoint.read_file(checkpoint.weights_path(best, name))
        sections[name] = configs[best][name]
        if stage in configs[best].get("training", {}):
            sections["training"][stage] = configs[best]["training"][stage]
    if (size := sum(map(len, files.values()))) > MAX_BYTES:
        raise CheckpointError(f"{out} would have {size / 2**20:.1f} MiB, and a checkpoint may have {MAX_BYTES // 2**20}")
    checkpoint.weights_path(out, INDEX).unlink(missing_ok=True)  # it would be another model's
    for file, data in files.items():
        checkpoint.write_file(out / file, data)
    checkpoint.save_config(out, **sections)
    return size


if __name__ == "__main__":
    main()
