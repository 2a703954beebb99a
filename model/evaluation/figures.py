"""Computes all metrics of a checkpoint's pictures. docs/evaluation.md explains each one and its limits."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from model import checkpoint
from model.checkpoint import CheckpointError
from model.data.crops import load_crops, read_crops
from model.data.layouts import DataError
from model.data.photos import Photos, default_cache, load
from model.evaluation import metrics, report, word_swap
from model.evaluation.evaluator import NETWORK, RESOLUTIONS, STEPS, Evaluator, fit_evaluator
from model.evaluation.extractors import Extractor, extractors
from model.evaluation.metrics import Measure, share
from model.evaluation.spectrum import SMALLEST, spectral_peaks
from model.features.text_reader import reader
from model.generators import PICTURE_SIZE, SKETCH_SIZE, SketchGenerator, Stage1Generator
from model.languages import DEFAULT, LANGUAGES, OTHERS, Language
from model.pipeline import Pipeline, choose_device
from model.training.baselines import BaselineGenerator

AMONG = 100  # names that a picture's own competes with, itself included
FEWEST = 8  # photographs of a kind; fewer say nothing
MIN_PIXELS = {SKETCH_SIZE: 0, PICTURE_SIZE: 150}  # as the stages are trained
KINDS = {"free": "free-form names", "class": "class names"}
HIGHEST_PEAK = 1.5  # photographs' is 1.1
Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class EvaluationConfig:
    """The numbers of pictures, photographs and names to evaluate."""

    pictures: int | None = None
    """At most so many a kind of name and size; None: one for every validation photograph."""
    seed: int = 0
    translated: int = 500
    """Pictures of dishes with names in every language, from each other language's, a size."""
    dishes: int = 20
    """Whose diversity is measured."""
    latents: int = 16
    """Of each of them."""
    noise: int = 200
    """Pictures of noise."""
    contrasts: int = 60
    tries: int = 4
    """Latents that a composed name is sampled with."""
    shown: int = 12
    """Names, and closest pairs, in the report."""
    steps: int = STEPS
    """Of the evaluator's training."""
    extracted: int = 300
    """Pictures of a kind and size, at most, that the networks of other families look at."""


@dataclass(frozen=True)
class SampleSet:
    """Pictures for the names of some validation photographs of one kind."""

    rows: list[int]
    seeds: list[int]
    pictures: Pictures
    features: Tensor


@dataclass(frozen=True)
class EvaluationContext:
    """Everything needed to evaluate pictures of one size."""

    size: int
    pipeline: Pipeline
    evaluator: Evaluator
    train: Photos
    validation: Photos
    seen: Tensor
    """(N, F) features of the validation photographs."""
    config: EvaluationConfig
    extractors: tuple[Extractor, ...]
    """Networks of other families than the evaluator's."""
    cache: Path
    """Of what they give for photographs."""
    uncropped: Photos | None
    """The validation photographs as they are, where `validation` has only crops of some."""

    def sample(self, names: Sequence[str], seeds: Sequence[int], size: int | None = None) -> Pictures:
        return sample(self.pipeline, names, seeds, size or self.size)

    def rows(self, kind: str) -> list[int]:
        """Rows of the photographs of a kind whose names are sampled, in order."""
        rows = [i for i, k in enumerate(self.validation.kinds) if k == kind]
        return _some(rows, self.config.pictures, self.config.seed)

    def seeds(self, rows: Sequence[int]) -> list[int]:
        return [self.config.seed * 1_000_003 + row for row in rows]


@dataclass
class Evaluation:
    """figures: the contents of figures.json. images: the pictures in the report, by size."""

    figures: dict[str, Any]
    images: dict[str, report.ReportImages] = field(default_factory=dict)


def evaluate(
    folder: Path, data: Path, config: EvaluationConfig, cache: Path | None = None, crops: Path | None = None
) -> Evaluation:
    """Evaluates a checkpoint folder against the photographs in `data`.

    Args:
        cache: folder for photographs, features and evaluators; by default that of `model.data.photos`.
        crops: table of crops. If given, only the validation photographs in it are used, cropped accordingly.

    Raises:
        CheckpointError, DataError: names what cannot be used.
        ModuleNotFoundError: the `train` or the `eval` extra is not installed.
    """
    pipeline, sizes = open_checkpoint(folder)
    cache = default_cache() if cache is None else cache
    others = extractors()
    table = None if crops is None else read_crops(crops)
    figures: dict[str, Any] = {
        "checkpoint": str(folder),
        "version": pipeline.version,
        "training": pipeline.config.get("training", {}),
        "plan": dataclasses.asdict(config),
        "network": NETWORK,
        "resolutions": {str(size): RESOLUTIONS[size] for size in sizes},
        "subsets": metrics.SUBSETS,
        "neighbours": metrics.NEIGHBOURS,
        "among": AMONG,
        "crops": None if crops is None else str(crops),
        "sizes": {},
    }
    evaluation = Evaluation(figures)
    for size in sizes:
        train = load(data, size, "train", cache, MIN_PIXELS[size])
        validation = load(data, size, "validation", cache, MIN_PIXELS[size])
        uncropped = None
        if table is not None:
            validation, uncropped = load_crops(data, table, size, "validation"), validation
        counts = Counter(validation.kinds)
        if not any(counts[kind] >= FEWEST for kind in KINDS):
            found = ", ".join(f"{count} {kind!r}" for kind, count in counts.items())
            raise DataError(
                f"{data}: at least {FEWEST} validation photographs of a kind ({' or '.join(KINDS)}) are needed, "
                f"and there are {found}"
            )
        evaluator = fit_evaluator(size, train, cache, config.steps, pipeline.device)
        seen = evaluator.cached(validation, cache)
        context = EvaluationContext(
            size, pipeline, evaluator, train, validation, seen, config, others, cache, uncropped
        )
        figures["sizes"][str(size)], evaluation.images[str(size)] = _evaluate_size(context)
    figures["goals"] = goals(figures["sizes"])
    return evaluation


def _evaluate_size(context: EvaluationContext) -> tuple[dict[str, Any], report.ReportImages]:
    kinds = [kind for kind in KINDS if len(context.rows(kind)) >= FEWEST]
    samples = {kind: _sample(context, kind) for kind in kinds}
    images = report.ReportImages(samples=_samples(context, samples[kinds[0]]))
    rng = np.random.default_rng(context.config.seed)
    noise = rng.integers(0, 256, (context.config.noise, context.size, context.size, 3), np.uint8)
    blind = context.evaluator.features(noise)
    figures = {
        "photographs": {"train": len(context.train), "validation": len(context.validation)},
        "realism": [row for kind in kinds for row in realism(context, kind, samples[kind], blind)],
        "other_networks": [row for kind in kinds for row in in_other_networks(context, kind, samples[kind])],
        "spectrum": spectrum(context, list(samples.values())),
        "faithfulness": faithfulness(context, samples),
        "diversity": diversity(context, kinds[0], samples[kinds[0]], images),
        "novelty": novelty(context, list(samples.values()), images),
        "composition": compose(context, images),
    }
    return figures, images


# ---- the checkpoint --------------------------------------------------------------------------------------


def open_checkpoint(folder: Path) -> tuple[Pipeline, tuple[int, ...]]:
    """Opens a checkpoint folder, complete or from a stage-1 or baseline run; also returns the sizes of its pictures."""
    config = checkpoint.read_config(folder)
    if "baseline" not in config and "stage2" in config:
        return Pipeline.load(folder), (SKETCH_SIZE, PICTURE_SIZE)
    try:
        tokenizer, text = reader(folder)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    name = "baseline" if "baseline" in config else "stage1"
    network: type[SketchGenerator] = BaselineGenerator if name == "baseline" else Stage1Generator
    stage1 = checkpoint.load_network(folder, name, network)
    digest = hashlib.sha256(json.dumps([config[part] for part in ("text", name)]).encode())
    for part in ("text", name):
        digest.update(checkpoint.weights_path(folder, part).read_bytes())
    pipeline = Pipeline(
        tokenizer,
        text,
        stage1,
        None,
        version=digest.hexdigest()[:12],
        config=config,
        device=choose_device(),
    )
    return pipeline, (SKETCH_SIZE,)


def sample(pipeline: Pipeline, names: Sequence[str], seeds: Sequence[int], size: int) -> Pictures:
    """(N, size, size, 3): the pictures that the server would show for these names and seeds."""
    pictures = np.empty((len(names), size, size, 3), np.uint8)
    for i in tqdm(range(0, len(names), 64), desc=f"pictures of {size} px", unit=" x 64", disable=None, leave=False):
        pictures[i : i + 64] = pipeline.generate(names[i : i + 64], seeds[i : i + 64], size)
    return pictures


def _sample(context: EvaluationContext, kind: str) -> SampleSet:
    rows = context.rows(kind)
    print(f"{context.size} px: {len(rows)} pictures for {KINDS[kind]}", file=sys.stderr)
    seeds = context.seeds(rows)
    pictures = context.sample([context.validation.names[row] for row in rows], seeds)
    return SampleSet(rows, seeds, pictures, context.evaluator.features(pictures))


def _some(rows: list[int], count: int | None, seed: int) -> list[int]:
    """A random selection of at most `count` rows, in their order."""
    if count is None or count >= len(rows):
        return rows
    return sorted(random.Random(seed).sample(rows, count))


# ---- realism ---------------------------------------------------------------------------------------------


def realism(context: EvaluationContext, kind: str, samples: SampleSet, noise: Tensor) -> list[dict[str, Any]]:
    """Distances of the pictures, and of all references, from the validation photographs.

    noise: (N, F) features of noise.
    """
    evaluator, config = context.evaluator, context.config
    real = evaluator.deep(context.seen[samples.rows])
    rows = []

    def compare(who: str, base: Tensor, other: Tensor) -> None:
        far = _distances_apart(base, other, config.seed)
        rows.append({"kind": kind, "who": who, **far, "frechet": metrics.frechet(base, other)})

    compare("generated", real, evaluator.deep(samples.features))
    compare("photographs", real, evaluator.deep(evaluator.train[_likewise(context, samples.rows)].float()))
    if pair := _photographers(context.validation, kind):
        (a, first), (b, second) = pair
        compare(f"photographers: {a}, {b}", evaluator.deep(context.seen[first]), evaluator.deep(context.seen[second]))
    if context.size > SKETCH_SIZE:
        names = [context.validation.names[row] for row in samples.rows]
        sketches = context.sample(names, samples.seeds, SKETCH_SIZE)
        enlarged = evaluator.features(np.stack([_enlarge(sketch, context.size) for sketch in sketches]))
        compare("stage 1, bicubic", real, evaluator.deep(enlarged))
    compare("noise", real, evaluator.deep(noise))
    return rows


def _distances_apart(base: Tensor, other: Tensor, seed: int) -> dict[str, Any]:
    """The distances of features (M, F) from (N, F)."""
    distance, subset = metrics.kid(base, other, seed)
    precision, recall = metrics.precision_recall(base, other)
    return {
        "n": [len(base), len(other)],
        "kid": distance.value,
        "kid_spread": distance.spread,
        "subset": subset,
        "precision": precision,
        "recall": recall,
    }


def in_other_networks(context: EvaluationContext, kind: str, samples: SampleSet) -> list[dict[str, Any]]:
    """The most informative of these distances, in networks of other families than the evaluator's."""
    config, validation = context.config, context.validation

    def few(rows: Sequence[int]) -> list[int]:
        return _some(list(rows), config.extracted, config.seed)

    places = few(range(len(samples.rows)))
    real, likewise = [samples.rows[i] for i in places], few(_likewise(context, samples.rows))
    pair = _photographers(validation, kind)
    rows = []
    for extractor in context.extractors:

        def look(photos: Photos, rows: Sequence[int], extractor: Extractor = extractor) -> Tensor:
            return extractor.cached(np.asarray(photos.images[list(rows)]), context.cache)

        base = look(validation, real)
        sets = {
            "generated": (base, extractor(samples.pictures[places])),
            "photographs": (base, look(context.train, likewise)),
        }
        if (whole := context.uncropped) is not None:
            same = few([row for row, of in enumerate(whole.kinds) if of == kind])
            sets["uncropped photographs"] = (base, look(whole, same))
        if pair:
            (a, first), (b, second) = pair
            sets[f"photographers: {a}, {b}"] = (look(validation, few(first)), look(validation, few(second)))
        rows += [
            {"network": extractor.name, "kind": kind, "who": who, **_distances_apart(one, other, config.seed)}
            for who, (one, other) in sets.items()
        ]
    return rows


def _likewise(context: EvaluationContext, rows: Sequence[int]) -> list[int]:
    """Training photographs, as many of each kind and source as in these validation rows."""
    validation, train = context.validation, context.train
    wanted = Counter((validation.kinds[row], validation.sources[row]) for row in rows)
    there: dict[tuple[str, str], list[int]] = {}
    for i, key in enumerate(zip(train.kinds, train.sources, strict=True)):
        there.setdefault(key, []).append(i)
    chosen = [i for key in sorted(wanted) for i in _some(there.get(key, []), wanted[key], context.config.seed)]
    # Sources may be named otherwise in another split: then any photographs will do.
    return chosen if len(chosen) >= FEWEST else _some(list(range(len(train))), len(rows), context.config.seed)


def _photographers(photos: Photos, kind: str) -> list[tuple[str, list[int]]] | None:
    """The rows of the two sources with the most photographs of a kind, or None if there are fewer than two."""
    by_source: dict[str, list[int]] = {}
    for i, (k, source) in enumerate(zip(photos.kinds, photos.sources, strict=True)):
        if k == kind:
            by_source.setdefault(source, []).append(i)
    largest = sorted(by_source.items(), key=lambda item: (-len(item[1]), item[0]))[:2]
    return largest if len(largest) == 2 and len(largest[1][1]) >= FEWEST else None


def _enlarge(picture: Pictures, size: int) -> Pictures:
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))


# ---- spectrum --------------------------------------------------------------------------------------------


def spectrum(context: EvaluationContext, samples: list[SampleSet]) -> dict[str, Any]:
    """The highest spectral peak and its position; nothing for pictures that are too small."""
    if context.size < SMALLEST:
        return {}
    generated = np.concatenate([part.pictures for part in samples])
    sets = {"generated": generated, "photographs": context.validation.images}
    peaks = {who: spectral_peaks(pictures) for who, pictures in sets.items()}
    return {who: {"highest": found.highest, "where": list(found.where)} for who, found in peaks.items()}


# ---- faithfulness ----------------------------------------------------------------------------------------


def faithfulness(context: EvaluationContext, samples: dict[str, SampleSet]) -> dict[str, Any]:
    """R-precision of pictures, of photographs (the ceiling) and with shuffled names (the floor)."""
    evaluator, validation = context.evaluator, context.validation
    candidates = list(dict.fromkeys(validation.names))
    read = evaluator.read(candidates)
    place = {name: i for i, name in enumerate(candidates)}

    def measure(seen: Tensor, rows: Sequence[int]) -> Measure:
        return metrics.r_precision(evaluator.see(seen), [place[validation.names[row]] for row in rows], read, AMONG)

    figures: dict[str, Any] = {"names": len(candidates), "kinds": {}, "languages": {}}
    rows = [row for part in samples.values() for row in part.rows]
    features = torch.cat([part.features for part in samples.values()])
    parts = {"all": (rows, features), **{kind: (part.rows, part.features) for kind, part in samples.items()}}
    for kind, (part_rows, part_features) in parts.items():
        shuffled = random.Random(context.config.seed).sample(part_rows, len(part_rows))
        figures["kinds"][kind] = {
            "generated": measure(part_features, part_rows),
            "photographs": measure(context.seen[part_rows], part_rows),
            "shuffled": measure(part_features, shuffled),
        }

    # The same dishes and latents in every language that there are names in, measured against the same English names;
    # and, since a reader of Japanese would compare with Japanese names, the Japanese ones against these too.
    at = {row: i for i, row in enumerate(rows)}
    named = {language: names for language in OTHERS if any(names := validation.names_in(language))}
    all_of = [row for row in rows if named and all(names[row] for names in named.values())]
    both = _some(all_of, context.config.translated, context.config.seed)
    if len(both) >= FEWEST:
        among: dict[str, Measure] = {}
        figures["languages"] = {_figure(DEFAULT): measure(features[[at[row] for row in both]], both)}
        for language, names in named.items():
            called, translated = LANGUAGES[language].name, [names[row] or "" for row in both]
            print(f"{context.size} px: {len(both)} pictures for {called} names", file=sys.stderr)
            generated = evaluator.features(context.sample(translated, context.seeds(both)))
            unique = list(dict.fromkeys(filter(None, names)))
            index = {name: i for i, name in enumerate(unique)}
            own, read_here = [index[name] for name in translated], evaluator.read(unique)
            figures["languages"] |= {
                _figure(language): measure(generated, both),
                f"{_figure(language)} among {called} names": metrics.r_precision(
                    evaluator.see(generated), own, read_here, AMONG
                ),
            }
            among[f"photographs among {called} names"] = metrics.r_precision(
                evaluator.see(context.seen[both]), own, read_here, AMONG
            )
        figures["languages"] |= {"photographs": measure(context.seen[both], both), **among}
    return figures


def _figure(language: Language) -> str:
    """The key of the metrics for names in a language."""
    return LANGUAGES[language].name.lower()


# ---- diversity -------------------------------------------------------------------------------------------


def diversity(context: EvaluationContext, kind: str, samples: SampleSet, images: report.ReportImages) -> dict[str, Any]:
    """The mean distance between two pictures of one name, compared with two photographs of one dish and with any two
    pictures."""
    evaluator, config, train = context.evaluator, context.config, context.train
    photos: dict[str, list[int]] = {}
    for i, name in enumerate(train.names):
        photos.setdefault(name, []).append(i)
    many = sorted(name for name, rows in photos.items() if len(rows) >= config.latents)
    common = random.Random(config.seed).sample(many, min(config.dishes, len(many)))
    once = list(dict.fromkeys(context.validation.names[row] for row in samples.rows))
    rare = random.Random(config.seed).sample(once, min(config.dishes, len(once)))
    figures: dict[str, Any] = {"latents": config.latents}

    def spread(names: list[str]) -> dict[str, Any]:
        seeds = [seed for _ in names for seed in range(config.seed, config.seed + config.latents)]
        pictures = context.sample([name for name in names for _ in range(config.latents)], seeds)
        parts = evaluator.deep(evaluator.features(pictures)).split(config.latents)
        images.crowd.extend(
            (name, list(pictures[i * config.latents : (i + 1) * config.latents])) for i, name in enumerate(names[:3])
        )
        return _distances([metrics.pairwise(part) for part in parts])

    figures[f"{KINDS[kind]}, generated"] = spread(rare)
    if common:
        chosen = [_some(photos[name], config.latents, config.seed) for name in common]
        figures["dishes with many photographs, generated"] = spread(common)
        figures["dishes with many photographs, photographs"] = _distances(
            [metrics.pairwise(evaluator.deep(evaluator.train[rows].float())) for rows in chosen]
        )
    figures["different names, generated"] = _distances([metrics.pairwise(evaluator.deep(samples.features))])
    figures["different names, photographs"] = _distances([metrics.pairwise(evaluator.deep(context.seen[samples.rows]))])
    return figures


def _distances(values: list[float]) -> dict[str, Any]:
    """Mean and standard error over names."""
    return {"distance": float(np.mean(values)), "error": float(np.std(values) / len(values) ** 0.5), "n": len(values)}


# ---- novelty ---------------------------------------------------------------------------------------------


def novelty(context: EvaluationContext, samples: list[SampleSet], images: report.ReportImages) -> dict[str, Any]:
    """Measures how close the pictures come to training photographs, compared with validation photographs."""
    deep = context.evaluator.deep
    base = deep(context.evaluator.train)
    rows = [row for part in samples for row in part.rows]
    near, found = metrics.nearest(deep(torch.cat([part.features for part in samples])), base)
    real, _ = metrics.nearest(deep(context.seen[rows]), base)
    threshold = float(torch.quantile(real, 0.01))
    pictures = [picture for part in samples for picture in part.pictures]
    shown: set[int] = set()
    for i in near.argsort().tolist():
        photo = int(found[i])
        if photo not in shown and len(shown) < context.config.shown:
            shown.add(photo)
            images.closest.append(
                report.Closest(
                    pictures[i],
                    np.array(context.train.images[photo]),
                    context.validation.names[rows[i]],
                    context.train.names[photo],
                    float(near[i]),
                )
            )
    return {
        "threshold": threshold,
        "generated": share(near < threshold),
        "photographs": share(real < threshold),
        "median_distance": {"generated": float(near.median()), "photographs": float(real.median())},
    }


# ---- composition -----------------------------------------------------------------------------------------


def compose(context: EvaluationContext, images: report.ReportImages) -> dict[str, Any]:
    """Tests whether pictures of names that differ in one word differ accordingly."""
    config, evaluator = context.config, context.evaluator
    pairs = word_swap.contrasts(config.contrasts)
    names = [name for pair in pairs for both in pair.names.values() for name in both]
    shape = len(pairs), len(LANGUAGES), 2
    seeds = [config.seed + i for i in range(config.tries)]
    print(f"{context.size} px: {len(names) * config.tries} pictures of {len(pairs)} pairs", file=sys.stderr)
    generated = context.sample([name for name in names for _ in seeds], seeds * len(names))
    colours = word_swap.middle(generated).reshape(*shape, config.tries, 3)
    seen = evaluator.see(evaluator.features(generated)).view(*shape, config.tries, -1).mean(3)
    read = evaluator.read(names).view(*shape, -1)
    figures: dict[str, Any] = {"pairs": len(pairs), "latents": config.tries}
    places = range(len(LANGUAGES))
    by_colour = [[word_swap.follows(pair, *colours[i, j]) for j in places] for i, pair in enumerate(pairs)]
    by_head = [[_matches(seen[i, j], read[i, j]) for j in places] for i in range(len(pairs))]
    for j, language in enumerate(LANGUAGES):
        colour, head = [c[j] for c in by_colour], [h[j] for h in by_head]
        figures[_figure(language)] = {
            "colour": share(colour),
            "head": share(head),
            "both": share([a and b for a, b in zip(colour, head, strict=True)]),
        }
    figures["photographs"] = _photographed(context, pairs)
    groups = generated.reshape(*shape, config.tries, *generated.shape[1:])
    for i, pair in enumerate(pairs[: config.shown]):
        for j, both in enumerate(pair.names.values()):
            pictures = list(groups[i, j, 0]), list(groups[i, j, 1])
            images.contrasts.append(report.ContrastImages(both, pair.colours, pictures, by_colour[i][j], by_head[i][j]))
    return figures


def _matches(seen: Tensor, read: Tensor) -> bool:
    """(2, E) pictures and (2, E) names: whether each picture matches its own name better than the other's."""
    scores = seen @ read.T
    return bool(scores[0, 0] + scores[1, 1] > scores[0, 1] + scores[1, 0])


def _photographed(
    context: EvaluationContext, pairs: Sequence[word_swap.Contrast], most: int = 50, fewest: int = 5
) -> dict[str, Any]:
    """The same test on training photographs whose names have one word or the other."""
    evaluator, train = context.evaluator, context.train
    rows: dict[str, list[int]] = {}
    for word in sorted({word for pair in pairs for word in pair.words}):
        pattern = re.compile(rf"\b{word}(s|es)?\b")
        rows[word] = _some([i for i, name in enumerate(train.names) if pattern.search(name)], most, context.config.seed)
    usable = [pair for pair in pairs if all(len(rows[word]) >= fewest for word in pair.words)]
    if not usable:
        return {}
    colours = {word: word_swap.middle(np.asarray(train.images[rows[word]])) for pair in usable for word in pair.words}
    seen = {word: evaluator.see(evaluator.train[rows[word]]).mean(0) for word in colours}
    read = evaluator.read([name for pair in usable for name in pair.names[DEFAULT]]).view(len(usable), 2, -1)
    return {
        "colour": share([word_swap.follows(pair, colours[pair.words[0]], colours[pair.words[1]]) for pair in usable]),
        "head": share(
            [
                _matches(torch.stack([seen[word] for word in pair.words]), names)
                for pair, names in zip(usable, read, strict=True)
            ]
        ),
    }


# ---- what comes out --------------------------------------------------------------------------------------


def _samples(context: EvaluationContext, samples: SampleSet) -> list[report.Sample]:
    rows = samples.rows[:: max(1, len(samples.rows) // context.config.shown)][: context.config.shown]
    names = [context.validation.names[row] for row in rows]
    seeds = [context.config.seed + i for i in range(4)]
    pictures = context.sample([name for name in names for _ in seeds], seeds * len(names))
    sketches = context.sample(names, seeds[:1] * len(names), SKETCH_SIZE) if context.size > SKETCH_SIZE else None
    return [
        report.Sample(
            name,
            context.validation.translations[row],
            np.array(context.validation.images[row]),
            None if sketches is None else sketches[i],
            list(pictures[i * len(seeds) : (i + 1) * len(seeds)]),
        )
        for i, (name, row) in enumerate(zip(names, rows, strict=True))
    ]


def goals(sizes: dict[str, Any]) -> list[dict[str, Any]]:
    """The project's goals for its checkpoint, and whether they are met."""
    found: list[dict[str, Any]] = []

    def goal(what: str, value: float, limit: float, below: bool = True) -> None:
        found.append({"goal": what, "value": value, "limit": limit, "below": below,
                      "reached": bool(value <= limit if below else value >= limit)})  # fmt: skip

    def kids(size: str, kind: str) -> dict[str, float]:
        rows = sizes[size]["realism"]
        return {row["who"].partition(":")[0]: row["kid"] for row in rows if row["kind"] == kind}

    for size, figures in sizes.items():
        for kind in dict.fromkeys(row["kind"] for row in figures["realism"]):
            distances = kids(size, kind)
            # Two sources of class photographs also differ in their dishes, so that this would say nothing there.
            if size == str(SKETCH_SIZE) and kind == "free" and "photographers" in distances:
                goal(f"KID at {size} px, {KINDS[kind]}, below that between two photographers",
                     distances["generated"], distances["photographers"])  # fmt: skip
            if "stage 1, bicubic" in distances:
                goal(f"KID at {size} px, {KINDS[kind]}, 30% below enlarged stage 1",
                     distances["generated"], 0.7 * distances["stage 1, bicubic"])  # fmt: skip
        for network in dict.fromkeys(row["network"] for row in figures["other_networks"]):
            far = {row["who"].partition(":")[0]: row["kid"] for row in figures["other_networks"]
                   if (row["network"], row["kind"]) == (network, "free")}  # fmt: skip
            scales = {"uncropped photographs": "that of uncropped photographs",
                      "photographers": "that between two photographers"}  # fmt: skip
            scale = next((who for who in scales if who in far), None)
            if scale and size != str(SKETCH_SIZE):
                goal(f"KID at {size} px in {network}, {KINDS['free']}, below {scales[scale]}",
                     far["generated"], far[scale])  # fmt: skip
        if peaks := figures["spectrum"]:
            goal(f"Highest spectral peak at {size} px, at most {HIGHEST_PEAK}",
                 peaks["generated"]["highest"], HIGHEST_PEAK)  # fmt: skip
        both = figures["faithfulness"]["kinds"]["all"]
        goal(f"R-precision at {size} px, at least that of photographs",
             both["generated"].value, both["photographs"].value, False)  # fmt: skip
        if languages := figures["faithfulness"]["languages"]:
            values = [languages[_figure(of)].value for of in LANGUAGES if _figure(of) in languages]
            goal(f"R-precision at {size} px, the lowest language at least nine tenths of the highest",
                 min(values), 0.9 * max(values), False)  # fmt: skip
        rates = figures["novelty"]
        goal(f"Copy rate at {size} px, at most twice that of photographs",
             rates["generated"].value, 2 * rates["photographs"].value)  # fmt: skip
        for by in ("colour", "head"):
            shares = [figures["composition"][_figure(language)][by].value for language in LANGUAGES]
            goal(f"Composition at {size} px by {by}, at least 80%", sum(shares) / len(shares), 0.8, False)
    return found


def table(figures: dict[str, Any]) -> str:
    """Formats the metrics as text."""
    seed = figures["plan"]["seed"]
    lines = [f"{figures['checkpoint']} · {figures['version']} · seed {seed} · features of {figures['network']}"]

    def percent(measure: Measure) -> str:
        return f"{100 * measure.value:5.1f} ± {100 * measure.spread:3.1f} %"

    for size, part in figures["sizes"].items():
        lines += ["", f"{size} px: against {part['photographs']['validation']:,} validation photographs", ""]
        lines.append(f"  {'Realism':42}{'KID × 1000':>16}  {'Fréchet':>8}  precision  recall         n")
        for row in part["realism"]:
            what = f"{row['kind']:5} · {row['who']:34}{1000 * row['kid']:8.1f} ± {1000 * row['kid_spread']:5.1f}"
            rest = f"{row['frechet']:8.1f}  {row['precision']:9.2f}  {row['recall']:6.2f}"
            lines.append(f"  {what}  {rest}  {row['n'][0]:>4} × {row['n'][1]}")
        lines += ["", f"  {'In networks of other families':42}{'KID × 1000':>16}  precision  recall         n"]
        for row in part["other_networks"]:
            what = f"{row['network']:10} · {row['kind']:5} · {row['who']:21}"
            far = f"{1000 * row['kid']:8.1f} ± {1000 * row['kid_spread']:5.1f}"
            rest = f"{row['precision']:9.2f}  {row['recall']:6.2f}  {row['n'][0]:>4} × {row['n'][1]}"
            lines.append(f"  {what}{far}  {rest}")
        if part["spectrum"]:
            peaks = (f"{who} {peak['highest']:.2f} (at {peak['where'][0]}/8 down, {peak['where'][1]}/8 across)"
                     for who, peak in part["spectrum"].items())  # fmt: skip
            lines += ["", f"  Highest spectral peak: {' · '.join(peaks)}"]
        faith = part["faithfulness"]
        lines += ["", f"  R-precision among {figures['among']} of {faith['names']:,} names"]
        for kind, group in faith["kinds"].items():
            shares = " · ".join(f"{who} {percent(measure)}" for who, measure in group.items())
            lines.append(f"    {KINDS.get(kind, kind):18}{shares}")
        for who, measure in faith["languages"].items():
            lines.append(f"    {who:36}{percent(measure)}")
        lines += ["", f"  Diversity: mean distance between two of {part['diversity']['latents']}"]
        for who, value in part["diversity"].items():
            if isinstance(value, dict):
                error = f" ± {value['error']:.2f}" if value["n"] > 1 else ""
                lines.append(f"    {who:44}{value['distance']:6.2f}{error}")
        new = part["novelty"]
        lines += ["", f"  Copy rate: generated {percent(new['generated'])} · photographs {percent(new['photographs'])}"]
        composed = part["composition"]
        lines += ["", f"  Composition: {composed['pairs']} pairs"]
        for who in (*map(_figure, LANGUAGES), "photographs"):
            if composed[who]:
                shares = " · ".join(f"{by} {percent(measure)}" for by, measure in composed[who].items())
                lines.append(f"    {who:14}{shares}")
    lines += ["", "Goals"]
    for goal in figures["goals"]:
        reached, sign = "yes" if goal["reached"] else "no", "≤" if goal["below"] else "≥"
        lines.append(f"  {reached:4}{goal['goal']}: {goal['value']:.4f} {sign} {goal['limit']:.4f}")
    return "\n".join(lines)
