"""The text stage: trains a tokenizer, then the text encoder and the matching head together.

Every step has three losses (weights are below):

* distillation: through a linear map that is not shipped, an embedding points in the direction of the teacher's aligned
  vector of the dish, and the names in a batch are as similar to each other as for the teacher;
* translation: InfoNCE between the names of one dish in two languages, real and composed;
* pictures: InfoNCE between names, in any language, and frozen features of the photographs, so that visible properties
  count most.

`python -m model.train --stage text` runs this.
"""

from __future__ import annotations

import io
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from model.checkpoint import (
    CONFIG,
    MATCHING,
    TOKENIZER,
    read_config,
    save_config,
    save_weights,
    write_file,
)
from model.data.layouts import DataError
from model.data.name_pairs import (
    WORDS,
    Pair,
    class_names,
    composed_pairs,
    held_out,
    key,
    read_names,
    read_pairs,
    rows_in,
)
from model.data.photos import Photos, default_cache, load
from model.features import text_teacher
from model.features.backbone import TRAINING, Backbone
from model.features.matching import (
    RESOLUTION,
    MatchingHead,
    contrastive_loss,
    fit,
    has_bfloat16,
    image_features,
    load_photos,
    name_weights,
)
from model.features.retrieval import recall_among, retrieval
from model.features.text_reader import reader
from model.generators import SKETCH_SIZE
from model.languages import DEFAULT, LANGUAGES, OTHERS
from model.text_encoder import NameEncoder, NameTokenizer, TextEncoder, Tokenizer, embed, pad
from model.training import loop
from model.training.loop import TrainingState
from model.training.options import Options, check_data, describe, plain
from model.training.run_folder import Log, read_state, write_state
from model.training.stage import Stateful
from model.words import compose

log = logging.getLogger(__name__)

STATE = "text-state.pt"
LOG = "text.csv"

VOCABULARY = 8000
COMPOSED = 40_000  # dishes whose composed names the teacher is asked about; more are composed on the way

# What a step sees.
PHOTOS = 256
REAL, WORD, COMPOSED_SHARE, FRESH = 128, 24, 88, 40  # pairs of names

# What a step weighs.
DISTIL, SIMILARITY, TRANSLATION, PICTURES = 4.0, 1.0, 1.0, 1.0

LEARNING_RATE = 1.5e-3
WARMUP = 0.04  # of the run
PIECE_DROPOUT = 0.05
SAMPLED = 0.5  # share of names whose segmentation is drawn at random
VALIDATE_SECONDS = 120.0

# The matching head of the generator's text-match loss sees what stage 1 makes, at the discriminator's resolution.
# More steps overfit: R@1 of 100 was 21.9% after 1,000 and 20.0% after 2,500.
MATCHING_RESOLUTION, MATCHING_VIEWS, MATCHING_STEPS = 96, 4, 1000


@dataclass(frozen=True)
class TextConfig:
    """The components of the text stage, which benchmarks may replace.

    experiment: as in `model.training.gan_loop.LoopConfig`.
    encoder: builds the text encoder for a vocabulary.
    signals: names of the losses to train on.
    """

    experiment: str | None = None
    encoder: Callable[..., TextEncoder] = TextEncoder
    signals: tuple[str, ...] = ("distil", "similarity", "translation", "pictures")


@dataclass(frozen=True)
class Corpus:
    """The training data of the encoder."""

    names: list[str]
    targets: Tensor
    """(n, E) where the teacher wants each name, unit norm."""
    real: list[tuple[int, tuple[int, ...]]]
    """Pairs: the index of the name, and those of its translation's variants."""
    words: list[tuple[int, tuple[int, ...]]]
    composed: list[tuple[int, tuple[int, ...]]]
    photo_names: Tensor
    """(N, L) indices of a photo's names by language; -1 where there is none."""
    photo_weights: Tensor
    features: Tensor
    """(N, F) float16."""
    forbidden: frozenset[str]
    reading: text_teacher.Whitening
    """From the teacher's raw vectors to the targets, before the names of a dish were brought together."""


@dataclass(frozen=True)
class Validation:
    """The validation rows, which are never trained on."""

    pairs: list[Pair]
    photos: Photos
    features: Tensor


def train(
    data: Path,
    out: Path,
    *,
    minutes: float,
    seed: int = 0,
    device: torch.device | str = "cpu",
    resume: bool = False,
    steps: int | None = None,
    teacher_store: Path | None = None,
    composed: int = COMPOSED,
    cache: Path | None = None,
    config: TextConfig | None = None,
    given: Mapping[str, Any] | None = None,
    begun: Options | None = None,
) -> dict[str, float]:
    """Trains tokenizer, text encoder and matching head, and writes them into the run folder `out`.

    Args:
        data: photographs as in `model.data.photos.load`, with an optional `names.tsv` beside them.
        out: receives tokenizer.model, text.safetensors, matching.safetensors, that of MATCHING (see
            `fit_matching_head`), config.json and text.csv.
        minutes: length of the training loop, over which the learning rate falls to 0. The teacher's vectors and the
            photographs' features, unless cached, are computed before that, and `fit_matching_head` runs after it.
        seed: for weights and random draws.
        device: to train on.
        resume: continue from the state in `out`, if there is one.
        steps: ends the run (and the learning rate schedule) after so many steps instead.
        teacher_store: folder of the teacher's vectors; `out`/teacher by default.
        composed: number of dishes with composed names to compute the teacher's vectors for.
        cache: of decoded photographs and of image features; `model.data.photos.default_cache` by default.
        config: the components and losses; everything by default.
        given, begun: the command's options, and the record of the run to resume; see `model.training.gan_loop`.

    Returns:
        The last validation metrics, by name; empty without a validation split.

    SIGTERM and SIGINT end the loop early: the state is saved, and the steps after the loop are left to --resume.

    Raises:
        DataError: there are no photographs or names to train on.
        ValueError: the state in `out` is of another encoder, or damaged.
        FloatingPointError: the loss is not finite; the best weights are in `out`.
    """
    config = config or TextConfig()
    device = torch.device(device)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    Tokenizer.seed_samples(seed)
    rng = random.Random(seed)
    photos = load_photos(data, "train", cache)
    if begun is not None:
        check_data(begun.data, photos, data)
    if begun is None:
        made = {"composed": composed, "experiment": config.experiment}
        begun = Options(plain(given or {}), made, describe(photos, data))
    begun.write(out)
    corpus, validation, tokenizer = prepare(data, out, seed, teacher_store or out / "teacher", composed, cache, device)

    encoder = config.encoder(vocabulary=len(tokenizer)).to(device)
    head = MatchingHead(features=corpus.features.shape[1], embedding_dim=encoder.embedding_dim).to(device)
    head.standardize(corpus.features.to(device))
    helper = _Helper(encoder.embedding_dim, corpus.targets.shape[1]).to(device)
    networks = _Networks(encoder, head, helper)
    state, file = TextState(), out / STATE
    resumed = resume and file.exists()
    if resumed:
        state = read_state(file, TextState, networks)
        rng.seed(seed + state.shown)
        torch.manual_seed(seed + state.shown)
    training = TextTraining(
        out, networks, state, corpus, validation, tokenizer, rng, minutes=minutes, steps=steps, config=config
    )
    if loop.run(training, Log(out / LOG, state.shown if resumed else None, "step"), unit=" steps", title="text"):
        tqdm.write(f"stopped after {state.shown} steps; --resume goes on from there")
        return training.figures
    fit_matching_head(data, out, seed=seed, device=device, cache=cache)
    return training.figures


@dataclass
class TextState(TrainingState):
    """best: the highest sum of validation metrics."""

    best: float = -1.0


class _Networks:
    """The trained networks and their optimizer."""

    def __init__(self, encoder: TextEncoder, head: MatchingHead, helper: _Helper) -> None:
        self.encoder, self.head, self.helper = encoder, head, helper
        self.all = nn.ModuleDict(self.modules())
        self.optimizer = torch.optim.AdamW(_groups(self.all), lr=LEARNING_RATE, betas=(0.9, 0.98), fused=True)

    def modules(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "head": self.head, "helper": self.helper}

    def optimizers(self) -> dict[str, Stateful]:
        return {"adamw": self.optimizer}


class TextTraining:
    """The text stage as the loop sees it. See `model.training.loop.Training`."""

    batch = 1  # its state counts steps

    def __init__(
        self,
        out: Path,
        networks: _Networks,
        state: TextState,
        corpus: Corpus,
        validation: Validation | None,
        tokenizer: Tokenizer,
        rng: random.Random,
        *,
        minutes: float,
        steps: int | None,
        config: TextConfig,
    ) -> None:
        self.out, self.networks, self.state, self.corpus, self.validation = out, networks, state, corpus, validation
        self.tokenizer, self.rng, self.minutes, self.steps, self.config = tokenizer, rng, minutes, steps, config
        self.device = next(networks.encoder.parameters()).device
        self.figures: dict[str, float] = {}
        self.validated = time.monotonic()
        self.unsaved = False

    def position(self) -> float:
        return self.state.shown

    def progress(self) -> float:
        return self.state.shown / self.steps if self.steps else self.state.seconds / 60 / self.minutes

    def step(self) -> dict[str, Tensor]:
        networks = self.networks
        for group in networks.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * _schedule(self.progress())
        networks.all.train()
        losses = _losses(
            self.corpus, self.tokenizer, networks.encoder, networks.head, networks.helper, self.rng, self.device
        )
        losses = {name: loss for name, loss in losses.items() if name in self.config.signals}
        total = sum(losses.values(), torch.zeros((), device=self.device))
        if not torch.isfinite(total):
            raise FloatingPointError(
                f"the loss is not finite after {self.state.shown} steps; the best weights so far are in {self.out}"
            )
        networks.optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(networks.all.parameters(), 1.0)
        networks.optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def ticks(self) -> bool:
        return time.monotonic() - self.validated > VALIDATE_SECONDS

    def tick(self, row: dict[str, float], stopping: bool) -> str:
        losses = " ".join(f"{name} {value:.3f}" for name, value in list(row.items())[3:])
        if not stopping:
            networks = self.networks
            self.figures = validate(networks.encoder, networks.head, self.tokenizer, self.validation)
            row |= self.figures
            found = ", ".join(f"{name} {value:.3f}" for name, value in self.figures.items())
            if found:
                tqdm.write(f"step {self.state.shown}: {found}")
            if (score := sum(self.figures.values())) >= self.state.best:
                self.state.best = score
                _save(self.out, networks.encoder, networks.head, self.state, self.figures)
        self.validated, self.unsaved = time.monotonic(), True
        return losses

    def saves(self) -> bool:
        return self.unsaved

    def save(self, ended: bool, stopping: bool) -> None:
        write_state(self.out / STATE, self.networks, self.state)
        self.unsaved = False


def fit_matching_head(
    data: Path,
    run: Path,
    *,
    resolution: int = MATCHING_RESOLUTION,
    views: int = MATCHING_VIEWS,
    steps: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
) -> dict[str, float]:
    """Fits the frozen matching head of the generator's text-match loss to the finished encoder in `run`.

    It is trained on photographs at the generator's resolution, SKETCH_SIZE pixels a side, in `views` views each, with
    their names in every language, and written to `run` as MATCHING.

    Returns:
        R@1 among 100 validation photographs by language; empty without a validation split.
    """
    tokenizer, encoder = reader(run)
    encoder.to(device).eval()
    backbone = Backbone(TRAINING, resolution=resolution).to(device)
    photos = load(data, SKETCH_SIZE, "train", cache)
    features = np.stack([image_features(photos, backbone, cache or default_cache(), view) for view in range(views)], 1)
    embeddings = _by_language(encoder, tokenizer, photos)
    head = fit(torch.from_numpy(features), embeddings, photos.names, steps or MATCHING_STEPS, seed, device=device)
    figures: dict[str, float] = {}
    try:
        validation = load(data, SKETCH_SIZE, "validation", cache) if data.is_dir() else None
    except DataError:
        validation = None
    if validation is not None:
        images = torch.from_numpy(image_features(validation, backbone, cache or default_cache()))
        figures = validate(encoder, head, tokenizer, Validation([], validation, images))
    save_config(run, **{MATCHING: head.config}, **_features_section(run, MATCHING, resolution, validation=figures))
    save_weights(run, MATCHING, head)  # last: with this file the text stage is finished
    return figures


def _features_section(run: Path, name: str, resolution: int, **more: Any) -> dict[str, dict[str, Any]]:
    """Adds an entry to the section `features` of config.json, which describes the input of each matching head."""
    known = read_config(run).get("features", {}) if (run / CONFIG).exists() else {}
    return {"features": {**known, name: {"resolution": resolution, **more}}}


def _by_language(encoder: NameEncoder, tokenizer: NameTokenizer, photos: Photos) -> Tensor:
    """(N, L, E) embeddings of the photos' names in each language; NaN for missing names."""
    names = list(dict.fromkeys(photos.all_names()))
    table = torch.cat([embed(encoder, tokenizer, names), torch.full((1, encoder.embedding_dim), torch.nan)])
    return table[_places(photos, {name: i for i, name in enumerate(names)})]


def _places(photos: Photos, index: Mapping[str, int]) -> Tensor:
    """(N, L): the indices of the photos' names by language; -1 for missing names."""
    return torch.tensor([[index.get(name or "", -1) for name in photos.names_in(of)] for of in LANGUAGES]).T


def prepare(
    data: Path,
    out: Path,
    seed: int,
    store: Path,
    composed: int,
    cache: Path | None,
    device: torch.device,
) -> tuple[Corpus, Validation | None, Tokenizer]:
    """Reads names and photographs, computes the teacher's vectors, and trains the tokenizer if `out` has none."""
    photos = load_photos(data, "train", cache)
    try:
        validation_photos = load_photos(data, "validation", cache) if data.is_dir() else None
    except DataError:
        validation_photos = None
    pairs_out = read_names(data, "validation")
    forbidden = held_out(pairs_out, validation_photos, class_names(photos))

    def allowed(pairs: list[Pair]) -> list[Pair]:
        return [pair for pair in pairs if not forbidden & {*map(key, pair.names)}]

    real = allowed(read_names(data, "train"))
    for language in OTHERS:
        translated = dict(zip(photos.names, photos.names_in(language), strict=True))
        real += allowed([Pair(name, (other,), language) for name, other in translated.items() if other])
    real = list(dict.fromkeys(real))
    words = allowed(read_pairs(WORDS))
    made_up = allowed(composed_pairs(store / "composed.tsv", composed))
    singles = [n for n in dict.fromkeys(photos.names) if key(n) not in forbidden]

    names = list(
        dict.fromkeys([*singles, *(name for group in (real, words, made_up) for pair in group for name in pair.names)])
    )
    index = {name: i for i, name in enumerate(names)}
    raw = text_teacher.vectors(names, store)

    def indexed(pairs: list[Pair]) -> list[tuple[int, tuple[int, ...]]]:
        return [(index[pair.name], tuple(index[name] for name in pair.translations)) for pair in pairs]

    groups = indexed(real), indexed(words), indexed(made_up)
    both = [pair for group in groups for pair in group]
    reading = text_teacher.read_as(names, raw, [(own, others[0]) for own, others in both], seed)
    targets = torch.from_numpy(reading(names, raw))
    # A dish's names have one target, the mean of theirs: the student is to agree where the teacher does not.
    meeting = targets.clone()
    for own, others in both:
        together = F.normalize(targets[own] + targets[list(others)].mean(0), dim=0)
        meeting[own] = together
        meeting[list(others)] = together

    tokenizer_path = out / TOKENIZER
    if not tokenizer_path.exists():
        write_file(tokenizer_path, train_tokenizer(names))
    tokenizer = Tokenizer.load(tokenizer_path)

    backbone = Backbone(TRAINING, resolution=RESOLUTION).to(device)
    keep = [i for i, n in enumerate(photos.names) if n in index]
    features = torch.from_numpy(image_features(photos, backbone, cache or default_cache()))[keep]
    photo_names = _places(photos, index)[keep]
    corpus = Corpus(
        names,
        meeting,
        *groups,
        photo_names,
        name_weights([photos.names[i] for i in keep]),
        features,
        frozenset(forbidden),
        reading,
    )
    validation = None
    if validation_photos is not None:
        seen = image_features(validation_photos, backbone, cache or default_cache())
        validation = Validation(pairs_out, validation_photos, torch.from_numpy(seen))
    log.info(
        "%d names, %d real pairs, %d words, %d composed pairs, %d photographs; %d names held out",
        len(names), len(real), len(words), len(made_up), len(keep), len(forbidden),
    )
    return corpus, validation, tokenizer


def train_tokenizer(names: Sequence[str], vocabulary: int = VOCABULARY) -> bytes:
    """Trains a sentencepiece unigram model on the names: NFKC and case folding, byte fallback, id 0 is padding."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(names),
        model_writer=model,
        model_type="unigram",
        vocab_size=vocabulary,
        hard_vocab_limit=False,
        byte_fallback=True,
        character_coverage=0.9998,
        normalization_rule_name="nmt_nfkc_cf",
        max_sentencepiece_length=10,
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


class _Helper(nn.Module):
    """Parameters needed only in training: the map to the teacher's space, and a temperature."""

    def __init__(self, embedding_dim: int, teacher_dim: int) -> None:
        super().__init__()
        self.to_teacher = nn.Linear(embedding_dim, teacher_dim, bias=False)
        nn.init.eye_(self.to_teacher.weight)
        self.log_scale = nn.Parameter(torch.tensor(20.0).log())


def _losses(
    corpus: Corpus,
    tokenizer: Tokenizer,
    encoder: TextEncoder,
    head: MatchingHead,
    helper: _Helper,
    rng: random.Random,
    device: torch.device,
) -> dict[str, Tensor]:
    """One batch's weighted losses, by name."""
    rows = torch.multinomial(corpus.photo_weights, min(PHOTOS, len(corpus.photo_weights)))
    photo_names = [_drawn([name for name in own if name >= 0], rng) for own in corpus.photo_names[rows].tolist()]
    dishes = corpus.photo_names[rows, 0]

    known: list[tuple[int, int]] = []
    for group, count in ((corpus.real, REAL), (corpus.words, WORD), (corpus.composed, COMPOSED_SHARE)):
        for own, others in rng.sample(group, min(count, len(group))):
            known.append((own, others[0] if rng.random() < 0.6 else rng.choice(others)))
    pairs = [(corpus.names[own], corpus.names[other]) for own, other in known]
    for _ in range(FRESH):
        composed = compose(rng)
        if corpus.forbidden.isdisjoint(map(key, composed.values())):
            pairs += [(composed[DEFAULT], composed[language]) for language in OTHERS]
    names, translations = [name for name, _ in pairs], [translation for _, translation in pairs]

    texts = [*(corpus.names[i] for i in photo_names), *names, *translations]
    out = _encode(encoder, [_ids(tokenizer, text, rng) for text in texts], device)
    photo_text, own_text, other_text = out.split([len(photo_names), len(names), len(translations)])

    # Only names that the teacher knows are distilled; those composed on the way are not among them.
    targets = corpus.targets[[*photo_names, *(own for own, _ in known), *(other for _, other in known)]].to(device)
    guided = torch.cat([photo_text, own_text[: len(known)], other_text[: len(known)]])
    toward = F.normalize(helper.to_teacher(guided), dim=1)
    distil = (1 - (toward * targets).sum(1)).mean()
    similarity = _similarity_loss(toward, targets)

    same = (_equal(names) | _equal(translations)).to(device)
    translation = contrastive_loss(own_text, other_text, helper.log_scale.exp().clamp(max=50), same)
    image = head(corpus.features[rows].to(device))
    pictures = contrastive_loss(image, photo_text, head.scale, (dishes[:, None] == dishes).to(device))
    return {
        "distil": DISTIL * distil,
        "similarity": SIMILARITY * similarity,
        "translation": TRANSLATION * translation,
        "pictures": PICTURES * pictures,
    }


def _drawn(names: Sequence[int], rng: random.Random) -> int:
    """Draws one of a photo's names."""
    return names[0] if len(names) == 1 else names[int(rng.random() * len(names))]


def _similarity_loss(student: Tensor, target: Tensor, scale: float = 10.0) -> Tensor:
    """The cross-entropy between the teacher's and the student's similarities of each name to the others in the
    batch."""
    own = torch.eye(len(student), dtype=torch.bool, device=student.device)
    wanted = (scale * target @ target.T).masked_fill(own, -torch.inf).softmax(1)
    found = (scale * student @ student.T).masked_fill(own, -1e4).log_softmax(1)
    return F.kl_div(found, wanted, reduction="batchmean")


def _equal(names: Sequence[str]) -> Tensor:
    """(B, B) bool: which names are the same."""
    ids = torch.from_numpy(np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)[1])
    return ids[:, None] == ids


def _ids(tokenizer: Tokenizer, text: str, rng: random.Random) -> list[int]:
    ids = tokenizer.sample(text) if rng.random() < SAMPLED else tokenizer.encode(text)
    if len(ids) > 2:
        ids = [i for i in ids if rng.random() >= PIECE_DROPOUT] or ids
    return ids


def _encode(encoder: TextEncoder, ids: list[list[int]], device: torch.device, chunks: int = 4) -> Tensor:
    """(B, E), encoded in chunks of similar length to minimize padding."""
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    size = -(-len(order) // chunks)
    parts = []
    with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
        for start in range(0, len(order), size):
            parts.append(encoder(pad([ids[i] for i in order[start : start + size]]).to(device)))
    back = torch.empty(len(order), dtype=torch.int64)
    back[order] = torch.arange(len(order))
    return torch.cat(parts)[back.to(device)]


def _groups(modules: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups: weight decay for matrices only, and more for the head, which sees each photo many times."""
    decayed = [p for n, p in modules.named_parameters() if p.dim() > 1 and not n.startswith("head")]
    of_head = [p for n, p in modules.named_parameters() if p.dim() > 1 and n.startswith("head")]
    rest = [p for p in modules.parameters() if p.dim() <= 1]
    return [
        {"params": decayed, "weight_decay": 0.05},
        {"params": of_head, "weight_decay": 0.2},
        {"params": rest, "weight_decay": 0.0},
    ]


def _schedule(progress: float) -> float:
    """The learning rate schedule: linear warm-up, then cosine decay to 0."""
    if progress < WARMUP:
        return max(progress / WARMUP, 0.02)
    return 0.5 * (1 + float(np.cos(np.pi * (progress - WARMUP) / (1 - WARMUP))))


def validate(
    encoder: NameEncoder, head: MatchingHead, tokenizer: NameTokenizer, validation: Validation | None
) -> dict[str, float]:
    """R@1 on the validation rows, by name; empty if there are none."""
    if validation is None:
        return {}
    encoder.eval()
    head.eval()
    device = next(head.parameters()).device
    photos = validation.photos
    with torch.inference_mode():
        images = head(validation.features.to(device)).cpu()
    figures: dict[str, float] = {}
    for language in OTHERS:
        if pairs := [pair for pair in validation.pairs if pair.language == language]:
            found = retrieval(lambda names: embed(encoder, tokenizer, names), pairs)
            figures[f"{language}_{DEFAULT}"], figures[f"{DEFAULT}_{language}"] = found
    for language in LANGUAGES:
        names = photos.names_in(language)
        if rows := rows_in(photos, language):
            text = embed(encoder, tokenizer, [names[i] or "" for i in rows])
            figures[f"photo_{language}"] = recall_among(text, images[rows], [photos.names[i] for i in rows])[0]
    return figures


def _save(
    out: Path, encoder: TextEncoder, head: MatchingHead, state: TextState, figures: dict[str, float]
) -> None:
    save_weights(out, "text", encoder)
    save_weights(out, "matching", head)
    save_config(
        out,
        text=encoder.config,
        matching=head.config,
        **_features_section(out, "matching", RESOLUTION),
        training={
            "text": {"steps": state.shown, "minutes": round(state.seconds / 60, 2), "validation": figures}
        },
    )
