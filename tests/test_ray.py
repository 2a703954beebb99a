"""Two replicas under Ray Serve on this machine: `serve run` as a stranger would type it, in processes of its own."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml
from click import ClickException
from starlette.testclient import TestClient

from app.application import create_app
from app.settings import Settings
from tests.serving import Query, until

ROOT = Path(__file__).resolve().parents[1]
STREAM = {"Accept": "application/x-ndjson"}
QUEUE = 16
CLIENTS = 12  # three times what one replica should have in hand, and less than its queue
LINE = re.compile(
    r"ServeReplica\S* pid=(\d+)\)\S* (\{.*\"app\.request_log\".*\})"
)  # after Ray's prefix, app.request_log's

pytestmark = [
    pytest.mark.skipif(
        find_spec("ray") is None,
        reason="Ray is not installed: pip install '.[ray]' --constraint constraints.txt",
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Ray's own code, as it is imported
]


class Cluster:
    """`serve run`, and what its replicas have written: which process answered which request."""

    def __init__(self, checkpoint: Path, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        application = {
            "name": "cafeteria",
            "import_path": "app.ray:deployment",
            "args": {"min_replicas": 1, "max_replicas": 2},
        }
        file = folder / "ray.yaml"
        file.write_text(yaml.safe_dump({"http_options": {"port": port}, "applications": [application]}))
        self.lines: list[str] = []
        self.answered: dict[str, int] = {}  # request id → process; a moment after the answer itself
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ray.serve.scripts", "run", str(file)],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "HOME": str(folder),  # Ray leaves a token of its own there
                "RAY_TMPDIR": str(folder),
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_DEDUP_LOGS": "0",
                "CAFETERIA_CHECKPOINT": str(checkpoint),
                "CAFETERIA_QUEUE": str(QUEUE),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.lines.append(line)
                if match := LINE.search(line):
                    self.answered[json.loads(match[2])["request_id"]] = int(match[1])


@pytest.fixture(scope="module")
def cluster(tiny_checkpoint: Path) -> Iterator[Cluster]:
    # Not pytest's own folder, whose name would be too long for Ray's sockets.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(tiny_checkpoint, Path(folder))
        try:
            with httpx.Client(base_url=cluster.url, trust_env=False) as client:
                until(lambda: ready(client), 240)
            yield cluster
        except AssertionError:
            print("".join(cluster.lines))
            raise
        finally:
            cluster.process.terminate()
            cluster.process.wait(30)


def ready(client: httpx.Client) -> bool:
    time.sleep(0.2)  # what starts needs the CPU more
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def client(cluster: Cluster) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cluster.url, trust_env=False, timeout=60) as client:
        yield client


def deployed(arguments: dict[str, str]) -> Any:
    from app.ray import deployment

    return deployment(arguments)._bound_deployment


@pytest.mark.parametrize(
    ("arguments", "variables", "fault"),
    [
        ({"replicas": "2"}, {}, "replicas"),
        ({"min_replicas": "0"}, {}, "min_replicas"),
        ({"min_replicas": "3", "max_replicas": "2"}, {}, "max_replicas"),
        ({}, {"CAFETERIA_QUEUE": "0"}, "CAFETERIA_QUEUE"),
        ({}, {"CAFETERIA_DEVICE": "cuda:1"}, "CAFETERIA_DEVICE"),
        ({}, {"CAFETERIA_CHECKPOINT": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_deployed_is_named(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, str], variables: dict[str, str], fault: str
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ClickException, match=fault):
        deployed(arguments)


@pytest.mark.parametrize(("device", "gpus"), [("cpu", 0), ("cuda", 1)])
def test_a_replica_gets_a_gpu_or_cpus_and_limits_that_follow_the_queue(
    monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path, device: str, gpus: int
) -> None:
    monkeypatch.setenv("CAFETERIA_CHECKPOINT", str(tiny_checkpoint))
    monkeypatch.setenv("CAFETERIA_DEVICE", device)
    monkeypatch.setenv("CAFETERIA_QUEUE", "100")
    made = deployed({"cpus": "3", "min_replicas": "2", "max_replicas": "5"})
    resources = made.ray_actor_options
    assert (resources["num_cpus"], resources["num_gpus"]) == (3, gpus)
    assert (made.max_ongoing_requests, made.max_queued_requests) == (200, 400)
    scaling = made._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (2, 5, 25)


def test_the_application_is_the_same_behind_rays_proxy(client: httpx.Client, tiny_checkpoint: Path) -> None:
    with TestClient(create_app(Settings(checkpoint=str(tiny_checkpoint), device="cpu"), threads=1)) as alone:
        expected = alone.get("/dish.png?name=鮭&seed=1").content
    picture = client.get("/dish.png?name=鮭&seed=1", headers={"X-Request-ID": "mine"})
    assert picture.content == expected
    assert picture.headers.get_list("x-request-id") == ["mine"]
    assert client.get("/readyz").headers["x-request-id"]
    page = client.get("/")
    assert "</html>" in page.text and "default-src 'none'" in page.headers["content-security-policy"]
    assert client.get("/static/page.js").status_code == 200
    refused = client.post("/generate", data={"n": 2})
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "name")
    with client.stream("POST", "/generate", data={"name": "tea", "n": 2}, headers=STREAM) as answer:
        events = [json.loads(line)["event"] for line in answer.iter_lines()]
    assert events[0] == "order" and events[-1] == "done"
    assert events.count("picture") == 2


def test_who_has_left_costs_nothing_more(client: httpx.Client) -> None:
    before = figures(client)
    for k in range(4):
        order = {"name": "coffee", "n": 8, "seed": 100 * k}
        with client.stream("POST", "/generate", data=order, headers=STREAM) as answer:
            assert json.loads(next(answer.iter_lines()))["event"] == "order"
    until(lambda: figures(client)["cafeteria_queue_depth"] == 0, 30)
    painted = 'cafeteria_batch_size_sum{step="refine"}'
    assert figures(client)[painted] - before[painted] < 4 * 8


def figures(client: httpx.Client) -> Counter[str]:
    """What /metrics says, summed over the replicas, of which each request meets one."""
    found: dict[float, Counter[str]] = {}
    for _ in range(12):
        lines = [line.split(" ") for line in client.get("/metrics").text.splitlines() if line[0] != "#"]
        values = Counter({name: float(value) for name, value in lines})
        found[values["process_start_time_seconds"]] = values
    return sum(found.values(), Counter())


def test_a_full_queue_says_when_to_come_back(client: httpx.Client) -> None:
    def order(k: int) -> httpx.Response:
        # Eight pictures each, so that a few of these fill every queue.
        data = {"name": "cocoa", "n": 8, "seed": 100 * k}
        return client.post("/generate", data=data, headers={"Accept": "application/json"})

    with ThreadPoolExecutor(40) as threads:
        answers = [*threads.map(order, range(40))]
    assert {answer.status_code for answer in answers} == {200, 503}
    for refused in (answer for answer in answers if answer.status_code == 503):
        assert refused.json()["error"]["code"] == "queue_full"
        assert int(refused.headers["retry-after"]) >= 1


class Visit(NamedTuple):
    id: str
    began: float
    ended: float
    status: int  # 0 where no answer came


class Crowd:
    """Clients that each order one picture after the other, every one of them new, until the crowd leaves."""

    def __init__(self, url: str) -> None:
        self.visits: list[Visit] = []
        self._url = url
        self._leave = threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(k,)) for k in range(CLIENTS)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        for thread in self._threads:
            thread.join()

    def _client(self, k: int) -> None:
        with httpx.Client(base_url=self._url, trust_env=False, timeout=60) as client:
            for order in itertools.takewhile(lambda _: not self._leave.is_set(), itertools.count()):
                id, began = f"crowd-{k}-{order}", time.monotonic()
                query: Query = {"name": "crowd", "seed": 1_000_000 * k + order}
                try:
                    status = client.get("/dish.png", params=query, headers={"X-Request-ID": id}).status_code
                except httpx.TransportError:
                    status = 0
                self.visits.append(Visit(id, began, time.monotonic(), status))


@pytest.mark.timeout(900)  # a replica takes seconds to start, and minutes on a busy core
def test_a_crowd_brings_a_second_replica_and_loses_only_what_a_killed_one_had_in_hand(
    cluster: Cluster,
) -> None:
    def by_replica(since: int) -> Counter[int]:
        """How many of the visits from the `since`th on each process has answered."""
        ids = [visit.id for visit in crowd.visits[since:]]
        return Counter(cluster.answered[id] for id in ids if id in cluster.answered)

    with Crowd(cluster.url) as crowd:
        until(lambda: len(by_replica(-50)) == 2, 300)
        start = len(crowd.visits)
        until(lambda: by_replica(start).total() >= 100, 120)
        spread = by_replica(start)
        assert min(spread.values()) > spread.total() / 4

        killed, survivor = spread
        os.kill(killed, signal.SIGKILL)
        moment = time.monotonic()
        # The survivor goes on, and Ray brings another in the killed one's place.
        until(lambda: {survivor} < by_replica(-50).keys() - {killed}, 300)

    kept = {visit.id for visit in crowd.visits if visit.status == 200}
    until(lambda: cluster.answered.keys() >= kept, 30)
    # Nothing is lost that came after, or that the survivor had taken, and each client has one order at a time.
    lost = [visit for visit in crowd.visits if visit.status != 200]
    assert len(lost) < CLIENTS
    assert all(visit.began < moment < visit.ended for visit in lost)
    # The killed one may have written down an answer that was still on its way.
    assert survivor not in {cluster.answered.get(visit.id) for visit in lost}
