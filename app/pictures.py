"""Makes picture files of dishes, and finds how new they are: the pipeline behind the engine, and a cache of recent
files."""

from __future__ import annotations

import hashlib
import io
import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from PIL import Image

from app.engine import Engine, Ticket, Watch, served
from model import dishes, png, webp
from model.dishes import Dish
from model.generators import PICTURE_SIZE
from model.languages import Language
from model.names import Name
from model.nearest import NamesIndex, Nearest
from model.pipeline import to_uint8

Format = Literal["png", "webp"]
ENCODERS: dict[Format, Callable[[np.ndarray, Mapping[str, str]], bytes]] = {"png": png.encode, "webp": webp.encode}
MEDIA_TYPES: dict[Format, str] = {key: f"image/{key}" for key in ENCODERS}


@dataclass(frozen=True)
class PictureFile:
    """A dish's picture in one format."""

    dish: Dish
    format: Format = "png"

    @property
    def sketch_only(self) -> bool:
        return self.dish.sketch_only


class Pipeline(Protocol):
    """The part of `model.pipeline.Pipeline` that serving needs."""

    version: str
    device: Any
    tokenizer: Any
    batch_size: int
    names_index: NamesIndex | None

    def notices(self, name: Name) -> tuple[str, ...]: ...
    def embed(self, names: Sequence[str]) -> Any: ...
    def emphasize(self, embeddings: Any, texts: Sequence[str]) -> Any: ...
    def embed_pieces(self, ids: Sequence[Sequence[int]]) -> Any: ...
    def latents(self, seeds: Sequence[int]) -> Any: ...
    def record(self) -> None: ...
    def sketch(self, embeddings: Any, latents: Any) -> Any: ...
    def refine(self, sketches: Any, embeddings: Any, latents: Any) -> Any: ...


@dataclass
class _Sketch:
    embedding: Any
    latent: Any
    image: Any


class _Words:
    """The pipeline with a cache of recently embedded names.

    While a slider is dragged, the same few names come with every picture, and encoding them would take a third as long
    as a sketch. For one thread at a time.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.tokenizer = pipeline.tokenizer
        self.embed_pieces = pipeline.embed_pieces
        self.emphasize = pipeline.emphasize
        self.latents = pipeline.latents
        self._embed = pipeline.embed
        self._known: OrderedDict[str, Any] = OrderedDict()

    def embed(self, names: Sequence[str]) -> Any:
        import torch

        missing = [name for name in dict.fromkeys(names) if name not in self._known]
        if missing:
            self._known.update(zip(missing, self._embed(missing), strict=True))
        for name in names:
            self._known.move_to_end(name)
        rows = torch.stack([self._known[name] for name in names])
        while len(self._known) > 1024:
            self._known.popitem(last=False)
        return rows


def _take_the_cpus(threads: int) -> None:
    """Lets torch use so many threads for work in this thread, and a single one in every later thread.

    OpenMP keeps a team of workers for each thread that ever used them. Once all teams together outnumber the CPUs,
    libgomp no longer lets any of them spin while waiting for work, and a picture takes half as long again (30 ms
    instead of 19).
    """
    import torch

    torch.set_num_threads(threads)
    # A thread takes the number that was set last, by whomever, when it first asks for it, and keeps that.
    torch.get_num_threads()
    other = threading.Thread(target=torch.set_num_threads, args=(1,))
    other.start()
    other.join()


class Novelty(NamedTuple):
    """The training data nearest to a dish, by its name and, if the index has photographs, by its picture."""

    name: Nearest
    picture: Nearest | None

    @classmethod
    def read(cls, data: bytes) -> Novelty:
        """Parses the result of a comparison."""
        name, picture = json.loads(data)
        return cls(Nearest(*name), picture and Nearest(*picture))


@dataclass(frozen=True)
class Comparison:
    """A dish and its `picture` (a PNG file), to be compared with the training data; photographs' names are in a
    language if known. It is queued and cached like a picture, and computed at the stage where pictures are encoded."""

    dish: Dish
    language: Language
    picture: bytes = field(compare=False, repr=False)

    sketch_only = True  # there is nothing to refine


Item = PictureFile | Comparison


class PipelineModel:
    """An `app.engine.Model` that runs a pipeline."""

    def __init__(self, pipeline: Pipeline, threads: int | None = None) -> None:
        """`threads`: torch's number of threads, in the thread that warms up and runs this model; None leaves it
        unchanged."""
        self._pipeline = pipeline
        self._threads = threads
        self._words = _Words(pipeline)
        # On a CPU batching brings no speed, and pictures handed out one by one are seen earlier.
        batch = pipeline.batch_size
        self.sketch_batch, self.refine_batch = max(batch, 4), batch

    def warm(self) -> None:
        if self._threads:
            _take_the_cpus(self._threads)
        self._pipeline.record()
        files = [PictureFile(Dish("warm-up", 0), format) for format in ENCODERS]
        pictures = self.refine(files[:1], self.sketch(files[:1]))
        for file in files:
            self.encode(file, pictures[0])

    def sketch(self, items: Sequence[Item]) -> list[_Sketch | None]:
        """Sketches of items, with None in place of comparisons."""
        wanted = [item.dish for item in items if isinstance(item, PictureFile)]
        if not wanted:
            return [None] * len(items)
        embeddings = dishes.embeddings(self._words, wanted)
        latents = dishes.latents(self._pipeline, wanted)
        images = self._pipeline.sketch(embeddings, latents)
        made = (_Sketch(*row) for row in zip(embeddings, latents, images, strict=True))
        return [next(made) if isinstance(item, PictureFile) else None for item in items]

    def refine(self, items: Sequence[Item], sketches: Sequence[_Sketch | None]) -> Any:
        import torch

        drawn = [sketch for sketch in sketches if sketch is not None]
        return self._pipeline.refine(
            torch.stack([sketch.image for sketch in drawn]),
            torch.stack([sketch.embedding for sketch in drawn]),
            torch.stack([sketch.latent for sketch in drawn]),
        )

    def encode_sketch(self, item: Item, sketch: _Sketch | None) -> bytes:
        if sketch is None:
            assert isinstance(item, Comparison)
            return json.dumps(self._compare(item)).encode()
        return self.encode(item, sketch.image)

    def encode(self, item: Item, picture: Any) -> bytes:
        assert isinstance(item, PictureFile)
        dish = item.dish
        pixels: np.ndarray[Any, Any] = to_uint8(picture[None])[0]
        metadata = png.describe(dish.name, dish.seed, self._pipeline.version)
        if not dish.plain:
            metadata["Recipe"] = dish.query(size=False)
        if dish.size > PICTURE_SIZE:
            enlarged = Image.fromarray(pixels).resize((dish.size, dish.size), Image.Resampling.LANCZOS)
            pixels = np.asarray(enlarged)
            metadata["Enlarged"] = f"from {PICTURE_SIZE} pixels by a Lanczos filter"
        return ENCODERS[item.format](pixels, metadata)

    def _compare(self, item: Comparison) -> Novelty:
        """Compares a dish with the training data by its embedding and its picture."""
        dish, index = item.dish, self._pipeline.names_index
        assert index is not None
        told = dishes.embeddings(self._pipeline, [dish], plain=True)[0]
        # A dish that has been changed is not the one that its name says.
        name = "" if dish.off or dish.mix or (dish.to is not None and dish.t) else dish.name
        with Image.open(io.BytesIO(item.picture)) as image:
            pixels = np.asarray(image.convert("RGB"))
        return Novelty(index.nearest(told, name), index.alike(pixels, language=item.language))


class Recent:
    """An LRU cache of finished files. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._data: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> bytes | None:
        with self._lock:
            if key in self._data:
                self._data.move_to_end(key)
            return self._data.get(key)

    def put(self, key: Hashable, data: bytes) -> None:
        with self._lock:
            self._size += len(data) - len(self._data.pop(key, b""))
            self._data[key] = data
            while self._size > self._limit:
                self._size -= len(self._data.popitem(last=False)[1])


class Pictures:
    """Serves orders of dishes and comparisons, from the cache if possible and otherwise from the engine."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        queue: int,
        cache_bytes: int,
        max_wait: float = math.inf,
        watch: Watch | None = None,
        threads: int | None = None,
    ) -> None:
        self.version = pipeline.version
        self.device = str(pipeline.device)
        self.notices = pipeline.notices
        self.pieces: Callable[[str], list[str]] = pipeline.tokenizer.pieces
        self._index = pipeline.names_index
        self.recent = Recent(cache_bytes)
        # On a CPU an encoder takes one of the model's cores, and the threads on the others wait for that one: beside a
        # forward pass an encoding costs three times what it costs by itself (docs/benchmarks.md).
        encoders = 2 if pipeline.batch_size > 1 else 0
        self.engine: Engine[Item] = Engine(
            [PipelineModel(pipeline, threads)], capacity=queue, max_wait=max_wait, encoders=encoders, watch=watch
        )

    @property
    def has_index(self) -> bool:
        """True if the checkpoint has an index of the names that the model was trained on."""
        return self._index is not None

    def order(
        self,
        asked: Sequence[Dish | Comparison],
        pay: Callable[[int], None],
        *,
        format: Format = "png",
        client: str = "",
        sketches: bool = False,
        further: bool = False,
    ) -> list[Ticket]:
        """Orders items: one ticket each, in order. `client` and `further` are as in `Engine.submit`. Raises QueueFull,
        EngineClosed.

        `pay` is called once there is room, with the number of items that are not cached and have to be made; if it
        raises, none are made."""
        items = [PictureFile(one, format) if isinstance(one, Dish) else one for one in asked]
        known = {item: data for item in items if (data := self.recent.get(item)) is not None}
        missing = [item for item in items if item not in known]
        made = iter(
            self.engine.submit(
                missing, client=client, sketches=sketches, further=further, pay=lambda: pay(len(missing))
            )
            if missing
            else ()
        )
        return [served(known[item]) if item in known else self._remember(item, next(made)) for item in items]

    def etag(self, *parts: object) -> str:
        """A strong entity tag of parts such as a format and a dish's query: equal parts and the same model give the
        same bytes."""
        key = "\n".join(map(str, (self.version, *parts)))
        return f'"{hashlib.sha256(key.encode()).hexdigest()[:24]}"'

    def _remember(self, item: Item, ticket: Ticket) -> Ticket:
        def keep(future: Future[bytes]) -> None:
            if not future.cancelled() and future.exception() is None:
                self.recent.put(item, future.result())

        ticket.picture.add_done_callback(keep)
        return ticket
