"""Records the runs behind a checkpoint in its config, and tells them in its model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model.training.options import Options

COLUMNS = ("stage", "kimg", "hours", "batch", "preset", "photographs", "commit")
STATED = ("loss", "augment", "experiment")  # told where a run departed from its preset


def run_entry(options: Options, kimg: float, hours: float) -> dict[str, Any]:
    """The entry of one run, as JSON values.

    Args:
        options: the run's record.
        kimg, hours: what the run itself has trained so far, without what came before it.
    """
    given = options.given
    entry = {
        "kimg": round(kimg, 3),
        "hours": round(hours, 3),
        "batch": options.config["batch"],
        "photographs": options.data["photographs"],
        "commit": options.commit,
    }
    named = {name: given[name] for name in ("preset", *STATED) if given.get(name) is not None}
    return entry | named


def table(config: Mapping[str, Any]) -> str:
    """The runs behind a checkpoint as Markdown rows, stage by stage, oldest first; `config` is the checkpoint's.

    Runs of versions that recorded none are missing.
    """
    lines = [_line(COLUMNS), "|" + "---|" * len(COLUMNS)]
    for stage, section in sorted(config.get("training", {}).items()):
        lines += [_line([stage, *_cells(run)]) for run in section.get("runs", ())]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(run: Mapping[str, Any]) -> Iterator[str]:
    commit = run.get("commit")
    yield f"{run['kimg']:.0f}"
    yield f"{run['hours']:.2f}"
    yield str(run["batch"])
    yield ", ".join([str(run.get("preset", "cpu")), *(f"{name} {run[name]}" for name in STATED if name in run)])
    yield f"{run['photographs']:,}"
    yield commit[:7] + ("-dirty" if commit.endswith("-dirty") else "") if commit else ""
