"""Evaluates a text encoder: `python -m model.evaluate_text --checkpoint C --data PATH`.

Measures, on validation rows that no training text contains, whether a name in another language retrieves the English
one and vice versa, and whether a name retrieves its photograph among 100. The student is compared with the teacher,
with the best of several whitenings and, for photographs, through a linear head trained on the same image features.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from model.commands import plain_errors
from model.data.name_pairs import read_names, rows_in
from model.evaluation import text_figures
from model.evaluation.text_figures import best_of, checks, measure_student, measure_teacher, table
from model.features.matching import load_photos
from model.features.retrieval import AMONG, DRAWS
from model.languages import LANGUAGES, OTHERS


@click.command(context_settings={"show_default": True})
@click.option("--checkpoint", type=click.Path(path_type=Path), required=True, help="Folder with the encoder.")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Photographs, names.tsv beside them.")
@click.option("--teacher", "store", type=click.Path(path_type=Path), help="Folder of the teacher's vectors; "
              "without it only the student is measured.")
@click.option("--cache", type=click.Path(path_type=Path), help="Of photographs and image features.")
@click.option("--steps", type=click.IntRange(min=1), default=1000, help="Of each of the teacher's matching heads.")
@click.option("--seed", type=int, default=0, help="Of the teacher's heads.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Also write the figures here.")
def main(
    checkpoint: Path, data: Path, store: Path | None, cache: Path | None, steps: int, seed: int,
    json_path: Path | None,
) -> None:
    """Measures a text encoder beside its teacher, on the validation rows."""
    with plain_errors(data):
        pairs = read_names(data, "validation")
        photos = load_photos(data, "validation", cache)
        student, embedder = measure_student(checkpoint, pairs, photos, cache)
        rows = measure_teacher(data, store, pairs, photos, cache, steps, seed) if store else []
    rows = [student, *([best_of(rows[: len(text_figures.WHITENINGS)]), *rows] if rows else [])]
    click.echo(f"R@1 in per cent: {len(pairs)} pairs of names; {AMONG} of {len(photos)} photographs, ± one sigma of")
    translated = (f"{len(rows_in(photos, language))} photographs have {LANGUAGES[language].name} names."
                  for language in OTHERS)  # fmt: skip
    click.echo(f"{DRAWS} draws. {' '.join(translated)}\n")
    click.echo(table(rows))
    click.echo("\nMade-up names\n" + checks(embedder))
    if json_path:
        json_path.write_text(json.dumps([asdict(row) for row in rows], indent=2), "utf-8")


if __name__ == "__main__":
    main()
