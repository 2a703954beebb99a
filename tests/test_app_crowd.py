"""Many visitors at once, and visitors who leave: over a real socket, with a pipeline that can be held."""

from __future__ import annotations

import io
import json
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
import torch
from torch import Tensor

from app.application import create_app
from app.request_parsing import MAX_PICTURES
from app.settings import Settings
from model.nearest import Nearest
from tests.serving import FakePipeline, cafeteria, ready_client, serve, until

STREAM = {"Accept": "application/x-ndjson"}


@contextmanager
def opened(pipeline: FakePipeline, **settings: int) -> Iterator[httpx.Client]:
    with cafeteria(pipeline, **settings) as url, ready_client(url) as client:
        pipeline.sketched.clear()
        pipeline.refined.clear()
        yield client
        pipeline.gate.set()


@pytest.fixture
def pipeline() -> FakePipeline:
    return FakePipeline()


def test_sketches_are_seen_while_the_pictures_are_still_in_the_making(pipeline: FakePipeline) -> None:
    with opened(pipeline) as client:
        pipeline.gate.clear()
        with client.stream("POST", "/generate", data={"name": "tea", "n": 4}, headers=STREAM) as answer:
            lines = answer.iter_lines()
            events = [json.loads(next(lines))["event"] for _ in range(5)]
            assert events == ["order", *["sketch"] * 4]
            pipeline.gate.set()
            assert [json.loads(line)["event"] for line in lines] == [*["picture"] * 4, "done"]


def test_a_full_queue_says_when_to_come_back(pipeline: FakePipeline) -> None:
    with opened(pipeline, queue=8) as client, ThreadPoolExecutor() as threads:
        pipeline.gate.clear()
        first = threads.submit(client.post, "/generate", data={"name": "tea", "n": 8}, headers=STREAM)
        until(lambda: len(pipeline.sketched) == 4)
        refused = client.post("/generate", data={"name": "coffee"})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "queue_full"
        assert int(refused.headers["retry-after"]) == refused.json()["error"]["retry_after"] >= 1
        page = client.post("/generate", data={"name": "coffee"}, headers={"Accept": "text/html"})
        assert page.status_code == 503
        assert int(page.headers["retry-after"]) >= 1
        assert "kitchen is full" in page.text
        assert 'value="coffee"' in page.text
        pipeline.gate.set()
        assert first.result(10).text.count('"picture"') == 8
        assert client.post("/generate", data={"name": "coffee"}).status_code == 200


def test_the_place_in_the_queue_is_told(pipeline: FakePipeline) -> None:
    with opened(pipeline) as client, ThreadPoolExecutor() as threads:
        pipeline.gate.clear()
        first = threads.submit(client.post, "/generate", data={"name": "tea", "n": 3}, headers=STREAM)
        until(lambda: len(pipeline.sketched) == 3)
        with client.stream("POST", "/generate", data={"name": "coffee"}, headers=STREAM) as answer:
            assert json.loads(next(answer.iter_lines()))["ahead"] == 3
        pipeline.gate.set()
        first.result(10)


class Index:
    """Notes on which thread it is asked."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    def nearest(self, embedding: object, name: str) -> Nearest:
        self.threads.append(threading.current_thread().name)
        return Nearest([("tea", 0.0)], 0, exists=True)

    def alike(self, picture: object, *, language: str) -> None:
        """Knows no photographs."""


def test_what_is_near_is_found_in_line_once_and_paid_for(pipeline: FakePipeline) -> None:
    pipeline.names_index = index = Index()  # type: ignore[assignment]
    with opened(pipeline, rate=4) as client:
        for _ in range(3):
            near = client.get("/nearest?name=tea").json()
            assert (near["exists"], near["by_name"]["names"]) == (True, [{"name": "tea", "distance": 0}])
        assert "“tea” exists" in client.get("/dish?name=tea&nearest=1&lang=en", headers={"Accept": "text/html"}).text
        assert index.threads == ["dispatcher-0"]
        # A picture and a comparison an answer.
        assert client.get("/nearest?name=coffee").status_code == 200
        assert client.get("/nearest?name=milk").status_code == 429


def test_a_full_kitchen_compares_nothing(pipeline: FakePipeline) -> None:
    pipeline.names_index = Index()  # type: ignore[assignment]
    with opened(pipeline, queue=8) as client, ThreadPoolExecutor() as threads:
        client.get("/dish.png?name=coffee")
        pipeline.gate.clear()
        first = threads.submit(client.post, "/generate", data={"name": "tea", "n": 8})
        until(lambda: len(pipeline.sketched) >= 4)
        page = client.get("/dish?name=coffee&nearest=1", headers={"Accept": "text/html"})
        assert page.status_code == 503
        assert int(page.headers["retry-after"]) >= 1
        assert "kitchen is full" in page.text
        pipeline.gate.set()
        assert first.result(10).status_code == 200


ORDER = (
    b"POST /generate HTTP/1.1\r\nHost: a\r\nAccept: %s\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 12\r\n\r\nname=tea&n=8"
)


@pytest.mark.parametrize(
    ("request_sent", "pictures"),
    [
        (ORDER % b"application/x-ndjson", 8),
        (ORDER % b"application/json", 8),
        (ORDER % b"text/html", 8),
        (b"GET /dish.png?name=tea HTTP/1.1\r\nHost: a\r\n\r\n", 1),
    ],
    ids=["stream", "json", "page", "permalink"],
)
def test_who_has_left_costs_nothing_more(pipeline: FakePipeline, request_sent: bytes, pictures: int) -> None:
    app = create_app(Settings(queue=9), pipeline)
    with serve(app) as url, httpx.Client(base_url=url, trust_env=False) as client, ThreadPoolExecutor() as threads:
        until(lambda: client.get("/readyz").status_code == 200)
        engine, address = app.state.pictures.engine, urlsplit(url)
        pipeline.refined.clear()
        pipeline.gate.clear()
        # What is in the oven when its client leaves stays there: it is somebody else's.
        stays = threads.submit(client.get, "/dish.png?name=tea&seed=98")
        until(lambda: engine.depth == 1)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(request_sent)
            until(lambda: engine.depth == 1 + pictures)
        until(lambda: engine.depth == 1)
        pipeline.gate.set()
        assert stays.result(10).status_code == 200
        until(lambda: engine.depth == 0)
        assert pipeline.refined == [98]


def test_a_picture_made_before_is_not_made_again(pipeline: FakePipeline) -> None:
    with opened(pipeline) as client:
        a, b = (client.get("/dish.png?name=tea&seed=3").content for _ in "ab")
        assert a == b
        assert pipeline.refined == [3]


class Noisy(FakePipeline):
    """Pictures of some 200 kB."""

    def refine(self, sketches: Tensor, embeddings: Tensor, latents: Tensor) -> Tensor:
        super().refine(sketches, embeddings, latents)
        return torch.rand(len(latents), 3, 256, 256) * 2 - 1


def test_memory_keeps_what_was_asked_for_last() -> None:
    pipeline = Noisy()
    with opened(pipeline, cache_mb=1) as client:
        for seed in (1, 2, 3, 4, 5, 1, 6, 1, 2):  # five fit
            client.get(f"/dish.png?name=tea&seed={seed}")
        assert pipeline.refined == [1, 2, 3, 4, 5, 6, 2]


def test_memory_can_be_switched_off(pipeline: FakePipeline) -> None:
    with opened(pipeline, cache_mb=0) as client:
        for _ in "ab":
            client.get("/dish.png?name=tea&seed=3")
        assert pipeline.refined == [3, 3]


def test_two_who_want_the_same_at_once_cost_one_pass(pipeline: FakePipeline) -> None:
    with opened(pipeline) as client, ThreadPoolExecutor() as threads:
        pipeline.gate.clear()
        answers = [threads.submit(client.get, "/dish.png?name=tea&seed=5") for _ in range(4)]
        until(lambda: pipeline.sketched == [5])
        pipeline.gate.set()
        assert len({answer.result(10).content for answer in answers}) == 1
        assert pipeline.refined == [5]


def test_it_is_not_ready_before_both_stages_are_warm(pipeline: FakePipeline) -> None:
    pipeline.gate.clear()
    with cafeteria(pipeline) as url, httpx.Client(base_url=url, trust_env=False) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert answer.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200
        pipeline.gate.set()
        until(lambda: client.get("/readyz").status_code == 200)
        assert pipeline.sketched
        assert pipeline.refined


def stopped_while(pipeline: FakePipeline, ask: Callable[[httpx.Client, str], httpx.Response]) -> httpx.Response:
    """What a server that is stopped answers to what it had accepted; it paints nothing until it refuses new orders."""
    with httpx.Client(trust_env=False) as client, ThreadPoolExecutor() as threads:
        with cafeteria(pipeline) as url:
            until(lambda: client.get(f"{url}/readyz").status_code == 200)
            pipeline.sketched.clear()
            pipeline.gate.clear()
            answer = threads.submit(ask, client, url)
            until(lambda: pipeline.sketched)

            def go_on() -> None:
                try:
                    until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 503)
                finally:
                    pipeline.gate.set()

            refused = threads.submit(go_on)
        refused.result(10)
        return answer.result(10)


def test_stopping_finishes_what_was_accepted(pipeline: FakePipeline) -> None:
    order = {"name": "tea", "n": 5}
    answer = stopped_while(pipeline, lambda client, url: client.post(f"{url}/generate", data=order, headers=STREAM))
    assert answer.text.count('"picture"') == 5


MENU = {"dish": [f"name=tea&seed={seed}" for seed in range(MAX_PICTURES + 1)]}


def test_a_menu_larger_than_the_kitchen_is_made(pipeline: FakePipeline) -> None:
    with opened(pipeline, queue=MAX_PICTURES) as client:
        answer = client.get("/menu.zip", params=MENU)
        assert len(zipfile.ZipFile(io.BytesIO(answer.content)).namelist()) == MAX_PICTURES + 1


def test_stopping_finishes_a_menu_that_was_begun(pipeline: FakePipeline) -> None:
    """Its last dish is ordered after new orders are refused."""
    answer = stopped_while(pipeline, lambda client, url: client.get(f"{url}/menu.zip", params=MENU))
    assert answer.status_code == 200
