"""Makes pictures from names and seeds, for both the server and the command."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from model import checkpoint
from model.checkpoint import CheckpointError
from model.cuda_graphs import BATCH_SIZES, Buckets
from model.depth_of_field import DepthOfField, FocusedStage2
from model.generators import PICTURE_SIZE, SKETCH_SIZE, SketchGenerator, Stage1Generator, Stage2Generator
from model.names import Name, Notice, normalize
from model.nearest import NamesIndex
from model.text_encoder import MAX_TOKENS, NameEncoder, NameTokenizer, TextEncoder, Tokenizer, pad
from model.words import form_of

log = logging.getLogger(__name__)

Network = Callable[..., Tensor]

MAX_SEED = 2**32 - 1
SIZES = (SKETCH_SIZE, PICTURE_SIZE)
FORM_WEIGHT = 0.6  # of a dish's form, beside 1 for the whole name
TOO_MANY_PIECES = Notice(
    f"This name is long: its end, past {MAX_TOKENS} word pieces, is not read.",
    f"名前が長いので、{MAX_TOKENS}個の語片より後は読みませんでした。",
)


def _unknown(characters: Sequence[str]) -> Notice:
    """The notice about characters that the model does not know; lists at most twelve."""
    listed = "".join(characters[:12]) + ("…" if len(characters) > 12 else "")
    return Notice(
        f"The model has never met {listed}, so it may show little of it.",
        f"{listed}はモデルの知らない文字です。絵にはあまり表れないかもしれません。",
    )


class Pipeline:
    """A loaded checkpoint, ready to make pictures; only of 64 px if `stage2` is None.

    The same name and seed give the same bytes on the same CPU, whatever they are batched with, because a CPU processes
    one picture at a time, in float32 (batches are no faster there). A CUDA GPU runs batches, also in float32, and may
    differ by one grey level; with the shipped weights bfloat16 in stage 2 alone differs by two, as does TF32 in both
    stages. Inputs and outputs are on the CPU, so callers need not know the device.
    """

    def __init__(
        self,
        tokenizer: NameTokenizer,
        text: NameEncoder,
        stage1: SketchGenerator,
        stage2: Stage2Generator | FocusedStage2 | None,
        *,
        version: str,
        config: dict[str, Any],
        device: torch.device,
        names_index: NamesIndex | None = None,
    ) -> None:
        self.version = version
        self.names_index = names_index
        self.config = config
        self.device = device
        self.tokenizer = tokenizer
        self.latent_dim = stage1.latent_dim
        self.batch_size = BATCH_SIZES[-1] if device.type == "cuda" else 1
        self.text = text.eval().to(device)
        self.stage1 = stage1.eval().to(memory_format=torch.channels_last).to(device)
        self.stage2 = None if stage2 is None else stage2.eval().to(memory_format=torch.channels_last).to(device)
        self._forward1: Network = self.stage1
        self._forward2: Network | None = self.stage2
        self._forms: dict[str, Tensor] = {}  # embeddings of the forms met so far, all of them words of the vocabulary

    @classmethod
    def load(cls, folder: Path | str, device: str | torch.device = "auto") -> Self:
        """Loads a checkpoint folder onto "cpu", "cuda", "cuda:1" or, with "auto", a GPU if there is one.

        Raises CheckpointError, naming the file, if the folder is not a complete and consistent checkpoint; ValueError
        if there is no such device.
        """
        chosen = choose_device(device)
        config = checkpoint.read_config(folder)
        try:
            tokenizer = Tokenizer.load(Path(folder) / checkpoint.TOKENIZER)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        text = checkpoint.load_network(folder, "text", TextEncoder)
        stage1 = checkpoint.load_network(folder, "stage1", Stage1Generator)
        stage2 = checkpoint.load_network(folder, "stage2", Stage2Generator)
        _check_fit(Path(folder), tokenizer, text, stage1, stage2)
        finished: Stage2Generator | FocusedStage2 = stage2
        if checkpoint.FOCUS in config:
            finished = FocusedStage2(stage2, checkpoint.load_network(folder, checkpoint.FOCUS, DepthOfField))
        version = checkpoint.version(folder)
        return cls(
            tokenizer,
            text,
            stage1,
            finished,
            version=version,
            config=config,
            device=chosen,
            names_index=NamesIndex.load(folder, text.embedding_dim),
        )

    def notices(self, name: Name) -> tuple[str, ...]:
        """Notices to the visitor about how this name is read, the name's own first."""
        notices = list(name.notices)
        if self.tokenizer.truncated(name.text):
            notices.append(TOO_MANY_PIECES)
        if unknown := self.tokenizer.unknown(name.text):
            notices.append(_unknown(unknown))
        return tuple(notices)

    def embed(self, names: Sequence[str]) -> Tensor:
        """Names, which are normalized again here -> embeddings (B, E) float32; raises like `names.normalize`."""
        return self._read([normalize(name).text for name in names])

    def prompts(self, names: Sequence[str]) -> Tensor:
        """Names -> what the generators are given for them, (B, E) float32: `embed`, with the dish's form emphasized."""
        texts = [normalize(name).text for name in names]
        return self.emphasize(self._read(texts), texts)

    def emphasize(self, embeddings: Tensor, texts: Sequence[str]) -> Tensor:
        """Adds to embeddings (B, E) some of the form that their normalized texts name, if they name one.

        The text encoder reads ingredients more than forms, so that what was asked for as blueberry sushi was a bowl of
        blueberries.
        """
        forms = [form_of(text) for text in texts]
        new = [form for form in dict.fromkeys(forms) if form and form not in self._forms]
        self._forms.update(zip(new, self._read(new), strict=True))
        emphasized = embeddings.clone()
        for row, form in enumerate(forms):
            if form:
                emphasized[row] = mix(torch.stack([embeddings[row], self._forms[form]]), [1.0, FORM_WEIGHT])
        return emphasized

    def embed_pieces(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Token ids of B names -> embeddings (B, E) float32."""
        return self._run(
            lambda part: self.text(pad(ids[part]).to(self.device)), len(ids), self.text.embedding_dim
        )

    def latents(self, seeds: Sequence[int]) -> Tensor:
        """Seeds -> standard normal latents (B, L) float32, each drawn on the CPU from its own seed only."""
        for seed in seeds:
            check_seed(seed)
        rows = [torch.randn(self.latent_dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(rows) if rows else torch.empty(0, self.latent_dim)

    def record(self) -> None:
        """Records CUDA graphs of both stages, for `sketch` and `refine` to replay. Takes seconds.

        After that neither is thread-safe. On a CPU, which runs no batches, this does nothing; a GPU that cannot record
        goes on without graphs, with a warning.
        """
        if self.batch_size == 1:
            return
        text, latent = (self.text.embedding_dim,), (self.latent_dim,)
        # What cuDNN chooses is recorded once, so that timing its algorithms costs no picture anything.
        try:
            with _float32(benchmark=True):
                sketcher = Buckets(self.stage1, (text, latent), self.device)
                refiner = self.stage2 and Buckets(
                    self.stage2, ((3, SKETCH_SIZE, SKETCH_SIZE), text, latent), self.device
                )
        except RuntimeError as error:  # what a driver or its memory refuses; pictures do not depend on graphs
            log.warning("no CUDA graphs on %s, so that small batches take up to twice as long: %s", self.device, error)
        else:
            self._forward1, self._forward2 = sketcher, refiner

    def sketch(self, embeddings: Tensor, latents: Tensor) -> Tensor:
        """Stage 1: embeddings (B, E) and latents (B, L) -> (B, 3, 64, 64) in [-1, 1]."""
        return self._run(
            self._on(self._forward1, embeddings, latents), len(latents), 3, SKETCH_SIZE, SKETCH_SIZE
        )

    def refine(self, sketches: Tensor, embeddings: Tensor, latents: Tensor) -> Tensor:
        """Stage 2: sketches (B, 3, 64, 64), embeddings, latents -> (B, 3, 256, 256) in [-1, 1].

        Raises ValueError if there is no stage 2.
        """
        if self._forward2 is None:
            raise ValueError(f"this checkpoint has no stage 2: ask for {SKETCH_SIZE} px")
        network = self._on(self._forward2, sketches, embeddings, latents)
        return self._run(network, len(latents), 3, PICTURE_SIZE, PICTURE_SIZE)

    def generate(self, names: Sequence[str], seeds: Sequence[int], size: int = PICTURE_SIZE) -> np.ndarray:
        """The picture of each name with its seed, (B, size, size, 3) uint8; size 64 stops after stage 1.

        Raises ValueError for another size, a seed outside 0..MAX_SEED, or different numbers of seeds and names.
        """
        if size not in SIZES:
            raise ValueError(f"size {size} is not one of {SKETCH_SIZE} and {PICTURE_SIZE}")
        if len(names) != len(seeds):
            raise ValueError(f"{len(names)} names but {len(seeds)} seeds")
        latents = self.latents(seeds)
        distinct = {name: row for row, name in enumerate(dict.fromkeys(names))}
        embeddings = self.prompts(list(distinct))[[distinct[name] for name in names]]
        pictures = np.empty((len(names), size, size, 3), np.uint8)
        for part in self._parts(len(names)):
            images = self.sketch(embeddings[part], latents[part])
            if size == PICTURE_SIZE:
                images = self.refine(images, embeddings[part], latents[part])
            pictures[part] = to_uint8(images)
        return pictures

    def _read(self, texts: Sequence[str]) -> Tensor:
        return self.embed_pieces([self.tokenizer.encode(text) for text in texts])

    def _parts(self, count: int) -> Iterator[slice]:
        return (slice(start, start + self.batch_size) for start in range(0, count, self.batch_size))

    def _on(self, network: Network, *inputs: Tensor) -> Callable[[slice], Tensor]:
        return lambda part: network(*(tensor[part].to(self.device) for tensor in inputs))

    @torch.inference_mode()
    def _run(self, network: Callable[[slice], Tensor], count: int, *shape: int) -> Tensor:
        out = torch.empty(count, *shape)
        with _float32(benchmark=False):
            for part in self._parts(count):
                out[part] = network(part)
        return out


def _float32(*, benchmark: bool) -> AbstractContextManager[None]:
    """Runs convolutions without TF32, cuDNN's default, and with either deterministic or the fastest algorithms."""
    return torch.backends.cudnn.flags(
        enabled=True, deterministic=not benchmark, benchmark=benchmark, allow_tf32=False
    )


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """Picks a device: "auto" is a CUDA GPU if there is one, and otherwise the CPU. Raises ValueError if it is
    unusable."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in ("cpu", "cuda"):
        raise ValueError(f"device {str(device)!r} is none of auto, cpu, cuda and cuda:N")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {str(device)!r}: this machine has {torch.cuda.device_count()} CUDA GPUs")
    return chosen


def check_seed(seed: int) -> int:
    """Returns the seed. Raises ValueError if it is not a whole number in 0..MAX_SEED."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"a seed is a whole number from 0 to {MAX_SEED}")
    return int(seed)


def to_uint8(images: Tensor) -> np.ndarray:
    """(B, 3, H, W) in [-1, 1] -> (B, H, W, 3) uint8."""
    return quantize(images).numpy()


def quantize(images: Tensor) -> Tensor:
    """`to_uint8`, on the device of the images."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def slerp(start: Tensor, end: Tensor, t: float) -> Tensor:
    """Spherical interpolation of latents (..., L): `start` at t=0, `end` at t=1, with norms between theirs.

    In high dimensions normal latents lie near a sphere. Straight lines cross its inside, which training has never seen
    (White 2016, Sampling Generative Networks).
    """
    if t in (0, 1):
        return end if t else start  # to the last bit: it is the picture of that latent, not one like it
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=-1).clamp(-1, 1).unsqueeze(-1)
    angle = cosine.acos()
    sine = angle.sin()
    curved = (((1 - t) * angle).sin() * start + (t * angle).sin() * end) / sine
    return torch.where(sine > 1e-4, curved, torch.lerp(start, end, t))


def mix(embeddings: Tensor, weights: Tensor | Sequence[float]) -> Tensor:
    """A weighted blend (E) of embeddings (N, E), with the norm sqrt(E) that the generators expect.

    Weights need not sum to one. Raises ValueError if the blend has no direction, as when all are 0.
    """
    factors = torch.as_tensor(weights, dtype=embeddings.dtype)
    if factors.shape != embeddings.shape[:1]:
        raise ValueError(f"{len(embeddings)} embeddings need as many weights, not {tuple(factors.shape)}")
    blend = factors @ embeddings
    norm = float(blend.norm())
    if not math.isfinite(norm) or norm < 1e-6:
        raise ValueError("these weights leave nothing to paint: make one of them larger")
    return blend * (math.sqrt(embeddings.shape[1]) / norm)


def _check_fit(
    folder: Path, tokenizer: Tokenizer, text: TextEncoder, stage1: Stage1Generator, stage2: Stage2Generator
) -> None:
    path = folder / checkpoint.CONFIG
    if len(tokenizer) != text.config["vocabulary"]:
        raise CheckpointError(
            f"{folder / checkpoint.TOKENIZER} has {len(tokenizer)} pieces, "
            f"but {path} gives 'text' a vocabulary of {text.config['vocabulary']}"
        )
    for name, stage in (("stage1", stage1), ("stage2", stage2)):
        width = stage.config["embedding_dim"]
        if width != text.embedding_dim:
            raise CheckpointError(
                f"{path}: {name!r} takes embeddings {width} wide, and 'text' makes them {text.embedding_dim}"
            )
    if (stage1.z_dim, stage1.latent_dim) != (stage2.z_dim, stage2.latent_dim):
        raise CheckpointError(
            f"{path}: 'stage1' and 'stage2' share a latent, but differ in z_dim or condition_dim"
        )
