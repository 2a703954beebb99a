"""A pipeline without networks and a server on a real port, for tests of the app."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import httpx
import torch
from fastapi import FastAPI
from torch import Tensor

from app import uvicorn_server
from app.application import create_app
from app.pictures import Pipeline
from app.settings import Settings
from model.names import Name
from model.nearest import NamesIndex

Value = str | float | Sequence[str]  # of a parameter; several are sent as that many parameters of one name
Query = Mapping[str, Value]

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")


class FakeTokenizer:
    """A piece a character."""

    def pieces(self, text: str) -> list[str]:
        return list(text)

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]


class FakePipeline:
    """Flat colours that follow from name and seed. `gate` holds every refinement until it is opened."""

    version = "0123456789ab"
    device = "cpu"
    batch_size = 1
    tokenizer = FakeTokenizer()
    names_index: NamesIndex | None = None

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.sketched: list[int] = []
        self.refined: list[int] = []
        self.broken = False

    def notices(self, name: Name) -> tuple[str, ...]:
        return name.notices

    def embed(self, names: Sequence[str]) -> Tensor:
        return torch.tensor([[zlib.crc32(name.encode()) % 97 / 97] for name in names])

    def emphasize(self, embeddings: Tensor, texts: Sequence[str]) -> Tensor:
        return embeddings

    def embed_pieces(self, ids: Sequence[Sequence[int]]) -> Tensor:
        return self.embed(["".join(map(chr, row)) for row in ids])

    def latents(self, seeds: Sequence[int]) -> Tensor:
        return torch.tensor([[float(seed % 2**24)] for seed in seeds])

    def record(self) -> None:
        """Has nothing to record."""

    def sketch(self, embeddings: Tensor, latents: Tensor) -> Tensor:
        self.sketched += [int(latent) for latent in latents]
        return self._flat(embeddings, latents, 64)

    def refine(self, sketches: Tensor, embeddings: Tensor, latents: Tensor) -> Tensor:
        assert self.gate.wait(30)
        if self.broken:
            raise RuntimeError("the oven is cold")
        self.refined += [int(latent) for latent in latents]
        return self._flat(embeddings, latents, 256)

    def _flat(self, embeddings: Tensor, latents: Tensor, size: int) -> Tensor:
        rows = [
            torch.stack([e[0], z[0] % 89 / 89, e[0] * 0]) for e, z in zip(embeddings, latents, strict=True)
        ]
        return torch.stack(rows)[:, :, None, None].expand(-1, -1, size, size) * 2 - 1


@contextlib.contextmanager
def serve(
    app: FastAPI, settings: Settings | None = None, door: socket.socket | None = None
) -> Iterator[str]:
    """The app on a free port of this machine, or at a listening socket; yields its URL once it takes requests."""
    settings = replace(settings or Settings(drain=10), port=0)
    server = uvicorn_server.Server(uvicorn_server.config(app, settings))
    thread = threading.Thread(target=server.run, args=([door] if door else None,))
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        assert server.started
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


@contextlib.contextmanager
def cafeteria(pipeline: Pipeline, **given: int | str) -> Iterator[str]:
    settings = Settings(**{"drain": 10, **given})  # type: ignore[arg-type]
    with serve(create_app(settings, pipeline), settings) as url:
        yield url


@contextlib.contextmanager
def ready_client(url: str) -> Iterator[httpx.Client]:
    """A client of a server that has loaded its model."""
    with httpx.Client(base_url=url, trust_env=False) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        yield client


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Waits for something that another thread brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def chromium() -> str | None:
    """The path of the Chromium that is on PATH, if any is."""
    return next((path for name in CHROMIUMS if (path := shutil.which(name))), None)
