"""Connections, memory, start and end: what a client or an orchestrator does to the process."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import httpx
import pytest
import safetensors.torch
import torch

from app import descriptors, pages, uvicorn_server
from app.application import create_app
from app.connections import MOST_UNREAD, QUIET, Connections
from app.settings import Settings
from model import checkpoint, nearest
from model.checkpoint import CheckpointError
from model.nearest import NamesIndex
from model.pipeline import Pipeline
from tests.conftest import knowing
from tests.serving import FakePipeline, cafeteria, until
from tests.test_app_engine import Clock
from tests.test_app_operations import error, talk

ROOT = Path(__file__).parent.parent

# Connections


class Fake:
    """A connection that notes whether it was cut."""

    def __init__(self, peer: str, *, idle: bool = True, unread: int = 0) -> None:
        self.peer, self.idle, self.unread, self.is_cut = peer, idle, unread, False

    def cut(self) -> None:
        self.is_cut = True


def test_whoever_has_most_connections_loses_the_one_that_has_been_idle_for_longest() -> None:
    connections = Connections(5)
    busy, oldest, middle = Fake("greedy", idle=False), Fake("greedy"), Fake("greedy")
    polite = [Fake("polite"), Fake("polite")]
    for each in (polite[0], busy, oldest, middle, polite[1]):
        connections.add(each)
    connections.used(oldest)
    newcomer = Fake("newcomer")
    connections.add(newcomer)
    assert [each.is_cut for each in (busy, oldest, middle, *polite, newcomer)] == [False, False, True] + [False] * 3
    connections.remove(newcomer)
    connections.add(newcomer)
    assert len(connections) == 5


def test_where_all_are_busy_the_newcomer_is_cut() -> None:
    connections = Connections(3)
    busy = [Fake("a", idle=False) for _ in range(3)]
    for each in busy:
        connections.add(each)
    newcomer = Fake("b", idle=False)
    connections.add(newcomer)
    assert newcomer.is_cut and not any(each.is_cut for each in busy)


def test_what_nobody_reads_is_bounded_in_all() -> None:
    connections = Connections(100, most_unread=1000)
    greedy, polite = [Fake("greedy", unread=150 + k) for k in range(5)], Fake("polite", unread=300)
    for each in (*greedy, polite):
        connections.add(each)
        connections.writing_paused()
    assert [each.is_cut for each in greedy] == [False, False, False, False, True]
    assert not polite.is_cut


def test_the_log_has_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    connections = Connections(1, clock=clock)
    for _ in range(50):
        connections.add(Fake("a"))
    assert len(caplog.messages) == 1
    clock.now += QUIET
    connections.add(Fake("a"))
    assert len(caplog.messages) == 2
    assert "cut 49" in caplog.messages[1]


def test_idle_connections_lock_nobody_out(caplog: pytest.LogCaptureFixture) -> None:
    with cafeteria(FakePipeline(), connections=16) as url, contextlib.ExitStack() as stack:
        address = urlsplit(url)
        opened = [
            stack.enter_context(
                socket.create_connection((address.hostname, address.port), source_address=("127.0.0.2", 0))
            )
            for _ in range(40)
        ]
        assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
        opened[0].settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert opened[0].recv(1) == b""
    assert sum("connections" in message for message in caplog.messages) == 1


def test_a_lack_of_descriptors_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    loop = type("Loop", (), {"time": staticmethod(time.monotonic)})()
    uvicorn_server._noted = -QUIET
    for _ in range(3):
        uvicorn_server._note(loop, {"exception": OSError(24, "Too many open files"), "message": "accept"})
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info is None


def test_the_soft_limit_of_descriptors_is_raised() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        assert descriptors.for_connections() == 256 - descriptors.RESERVED
        descriptors.raise_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_pages_and_files_need_no_descriptor_and_outlive_a_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for folder in ("static", "templates"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    monkeypatch.setattr(pages._templates.loader, "searchpath", [str(tmp_path / "templates")])
    with cafeteria(FakePipeline()) as url, httpx.Client(base_url=url, trust_env=False) as client:
        shutil.rmtree(tmp_path / "static")
        shutil.rmtree(tmp_path / "templates")
        for path in ("/", "/table", "/docs", "/dish?name=tea", "/menu?dish=name%3Dtea", "/nowhere"):
            assert client.get(path, headers={"Accept": "text/html"}).status_code == (404 if "where" in path else 200)
        style = client.get("/static/style.css")
        assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
        tagged = {"If-None-Match": f"W/{style.headers['etag']}"}
        assert client.get("/static/style.css", headers=tagged).status_code == 304
        head = client.head("/static/style.css")
        assert (head.headers["content-length"], head.content) == (str(len(style.content)), b"")
        assert client.post("/static/style.css").status_code == 405


def test_an_unread_answer_is_bounded_in_the_system_too() -> None:
    app = create_app(Settings(), FakePipeline())
    settings = Settings(drain=10, port=0)
    server = uvicorn_server.Server(uvicorn_server.config(app, settings))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        (listening,) = server.servers[0].sockets
        assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * uvicorn_server.UNREAD
    finally:
        server.should_exit = True
        thread.join(30)


class Noisy(FakePipeline):
    """Pictures of some 200 kB."""

    def refine(self, sketches: torch.Tensor, embeddings: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        super().refine(sketches, embeddings, latents)
        return torch.rand(len(latents), 3, 256, 256) * 2 - 1


def test_nothing_is_kept_for_a_reader_who_is_cut_off() -> None:
    with cafeteria(Noisy(), patience=1) as url, socket.socket() as reader:
        until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200)
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect((urlsplit(url).hostname, urlsplit(url).port))
        body = b"name=tea&n=8"
        reader.sendall(
            b"POST /generate HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        time.sleep(3)

        def read_on() -> None:
            while reader.recv(2**16):
                pass

        with pytest.raises(ConnectionResetError):  # by an end it would come after all that the system had held
            read_on()


def test_memory_holds_what_is_unread_and_little_more() -> None:
    def resident() -> float:
        """MiB of this process."""
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

    menu = "&".join(f"dish=name%3Dtea%26seed%3D{k}" for k in range(24))  # 4.8 MB
    with cafeteria(Noisy()) as url, contextlib.ExitStack() as stack:
        until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200)
        assert len(httpx.get(f"{url}/menu.zip?{menu}", trust_env=False, timeout=60).content) > 4e6
        before = most = resident()
        for _ in range(200):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect((urlsplit(url).hostname, urlsplit(url).port))
            reader.sendall(f"GET /menu.zip?{menu} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

        def answered() -> bool:
            nonlocal most
            most = max(most, resident())
            text = httpx.get(f"{url}/metrics", trust_env=False, timeout=30).text
            return f'route="/menu.zip",status="200"}} {1 + 200}.0' in text

        until(answered, 60)
    assert most - before < MOST_UNREAD / 2**20 + 100


def test_the_event_loop_is_asyncios_though_another_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", ModuleType("uvloop"))
    config = uvicorn_server.config(create_app(Settings(), FakePipeline()), Settings())
    factory = config.get_loop_factory()
    assert factory is not None
    loop = factory()
    try:
        assert type(loop).__module__.startswith("asyncio.")
    finally:
        loop.close()


# What is refused


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with cafeteria(FakePipeline()) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("range", ["bytes=x", "bytes=9-1", "bytes=999999999-", "pages=1", "x"])
def test_ranges_of_files_are_ignored(client: httpx.Client, range: str) -> None:
    assert client.get("/static/style.css", headers={"Range": range}).status_code == 200


@pytest.mark.parametrize("path", ["/generate/", "/dish.png/", "/static", "/healthz/"])
def test_nobody_is_sent_to_an_address_of_the_clients_making(client: httpx.Client, path: str) -> None:
    answer = client.get(path, headers={"Host": "elsewhere.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert "location" not in answer.headers


def test_two_lengths_end_the_connection(client: httpx.Client) -> None:
    head = b"POST /generate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    both = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = talk(client, head + both + smuggled)
    assert error(answer) == (400, "bad_request")
    assert b"connection: close" in answer.lower()


# A checkpoint that cannot be served


def index_with(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    pipeline = knowing(Pipeline.load(folder, "cpu"))
    assert pipeline.names_index is not None
    pipeline.names_index.save(folder)
    path = checkpoint.weights_path(folder, nearest.FILE)
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path)


@pytest.mark.parametrize("key", ["quantiles", "projection", "centre"])
def test_an_index_with_a_number_that_is_none_is_named(tiny_checkpoint: Path, tmp_path: Path, key: str) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)

    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors[key].view(-1)[0] = float("nan")

    index_with(folder, spoil)
    with pytest.raises(CheckpointError, match="names-index.safetensors.*not finite"):
        NamesIndex.load(folder, 32)


@pytest.mark.parametrize("kind", [torch.int32, torch.complex64, torch.float8_e4m3fn, torch.bool])
def test_weights_of_a_type_that_cannot_be_served_are_named(
    tiny_checkpoint: Path, tmp_path: Path, kind: torch.dtype
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    path = checkpoint.weights_path(folder, "stage1")
    tensors = safetensors.torch.load_file(path)
    key = next(iter(tensors))
    tensors[key] = tensors[key].float().to(kind)
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(CheckpointError, match="stage1.safetensors.*cannot be served"):
        Pipeline.load(folder, "cpu")


# The end


def test_who_cannot_be_served_before_the_end_is_told_so() -> None:
    pipeline = FakePipeline()
    streamed = {"Accept": "application/x-ndjson"}
    with ThreadPoolExecutor() as threads, cafeteria(pipeline, drain=1) as url:
        until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200)
        pipeline.gate.clear()

        def order(number: int, headers: dict[str, str]) -> httpx.Response:
            fields = {"name": f"tea {number}"}
            return httpx.post(f"{url}/generate", data=fields, headers=headers, trust_env=False, timeout=30)

        def open_late() -> None:
            time.sleep(4)
            pipeline.gate.set()

        kinds: tuple[dict[str, str], ...] = ({}, {"Accept": "application/json"}, {"Accept": "text/html"}, streamed)
        asked = [threads.submit(order, *each) for each in enumerate(kinds)]
        until(lambda: "cafeteria_queue_depth 7.0" in httpx.get(f"{url}/metrics", trust_env=False).text)  # a page has 4
        threads.submit(open_late)
    png, all_at_once, page, stream = (answer.result(30) for answer in asked)
    for answer in (png, all_at_once):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "closing")
        assert int(answer.headers["retry-after"]) >= 1
    assert page.status_code == 503 and page.headers["content-type"].startswith("text/html")
    assert '"closing"' in stream.text and '"done"' in stream.text


@contextlib.contextmanager
def started(
    folder: Path,
    port: int = 0,
    *,
    under: Sequence[str] = (),
    settings: Mapping[str, int] | None = None,
    stdout: int | None = subprocess.PIPE,
    preexec_fn: Callable[[], object] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    environment = {"CAFETERIA_PORT": str(port), "CAFETERIA_CHECKPOINT": str(folder), "CAFETERIA_DEVICE": "cpu"}
    environment |= {f"CAFETERIA_{key.upper()}": str(value) for key, value in (settings or {}).items()}
    process = subprocess.Popen(
        [*under, sys.executable, "-m", "app"],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec_fn,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def listens(pid: int) -> bool:
    """Whether a process has handlers for the signals that stop it."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line for line in status if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_told_to_stop_while_it_starts_it_ends_well(tiny_checkpoint: Path, number: signal.Signals) -> None:
    with started(tiny_checkpoint) as process:
        until(lambda: listens(process.pid), 30)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


FIRST_OF_ITS_OWN = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


def no_namespaces() -> bool:
    if not shutil.which("unshare"):
        return True
    return subprocess.run([*FIRST_OF_ITS_OWN, "true"], capture_output=True).returncode != 0


@pytest.mark.skipif(no_namespaces(), reason="needs unshare, and the right to make a PID namespace")
@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_the_first_process_of_a_container_loses_no_signal_while_it_starts(
    tiny_checkpoint: Path, seconds: float
) -> None:
    """Which by itself ignores those that it has no handler for. `seconds` later torch is being imported."""
    with started(tiny_checkpoint, under=FIRST_OF_ITS_OWN) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(children.read_text, 30)
        server = int(children.read_text())
        until(lambda: listens(server), 30)
        time.sleep(seconds)
        os.kill(server, signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


JSON, HTML, STREAMED = ({"Accept": kind} for kind in ("application/json", "text/html", "application/x-ndjson"))
ORDERS: dict[str, Callable[[httpx.Client], httpx.Response]] = {
    "png": lambda client: client.post("/generate", json={"name": "png"}),
    "json": lambda client: client.post("/generate", json={"name": "json", "n": 8}, headers=JSON),
    "page": lambda client: client.post("/generate", data={"name": "page"}, headers=HTML),
    "stream": lambda client: client.post("/generate", json={"name": "stream", "n": 8}, headers=STREAMED),
    "openai": lambda client: client.post("/v1/images/generations", json={"prompt": "openai", "n": 8}),
    "dish.png": lambda client: client.get("/dish.png?name=png"),
    "dish.webp": lambda client: client.get("/dish.webp?name=webp"),
    "menu.zip": lambda client: client.get("/menu.zip", params={"dish": [f"name=menu&seed={k}" for k in range(9)]}),
    "nearest": lambda client: client.get("/nearest?name=near"),
    "card.jpg": lambda client: client.get("/card.jpg?name=card"),
    "morph.webp": lambda client: client.get("/morph.webp?name=morph&to=tea"),
}  # fmt: skip


@pytest.fixture(scope="module")
def knowing_checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("knowing") / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    index_with(folder, lambda tensors: None)
    return folder


@pytest.mark.parametrize(
    ("drain", "signals"),
    [(60, (signal.SIGINT, signal.SIGINT)), (1, (signal.SIGTERM,))],
    ids=["SIGINT twice", "the end of CAFETERIA_DRAIN"],
)
def test_every_order_that_the_end_cuts_off_is_answered_in_the_one_shape(
    knowing_checkpoint: Path, drain: int, signals: Sequence[signal.Signals]
) -> None:
    in_front = 20  # orders of eight pictures, each of which takes some 20 ms to be enlarged and encoded
    settings = {"drain": drain, "queue": 2000}
    with (
        ThreadPoolExecutor(in_front + len(ORDERS)) as threads,
        started(knowing_checkpoint, settings=settings) as process,
    ):
        assert process.stdout is not None
        url = next(word for word in process.stdout.readline().split() if word.startswith("http"))
        client = httpx.Client(base_url=url, trust_env=False, timeout=60, limits=httpx.Limits())
        until(lambda: client.get("/readyz").status_code == 200, 60)

        def large(number: int) -> httpx.Response:
            return client.post("/generate", json={"name": f"{number}", "n": 8, "size": 1024}, headers=STREAMED)

        def in_hand() -> int:
            (found,) = re.findall(r"^cafeteria_requests_in_progress (\d+)", client.get("/metrics").text, re.MULTILINE)
            return int(found)

        streams = [threads.submit(large, k) for k in range(in_front)]
        until(lambda: in_hand() == 1 + in_front, 30)
        asked = {kind: threads.submit(order, client) for kind, order in ORDERS.items()}
        until(lambda: in_hand() == 1 + in_front + len(asked), 30)
        process.send_signal(signals[0])
        for number in signals[1:]:
            until(lambda: client.get("/readyz").status_code == 503)  # two of a kind at once would be one
            process.send_signal(number)
        streams.append(asked.pop("stream"))
        answers = {kind: order.result(60) for kind, order in asked.items()}
        streamed = [[json.loads(line) for line in stream.result(60).text.splitlines()] for stream in streams]
        _, err = process.communicate(timeout=60)
        client.close()
    told = {kind: (answer.status_code, int(answer.headers["retry-after"])) for kind, answer in answers.items()}
    assert told == dict.fromkeys(answers, (503, 10))
    page = answers.pop("page")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    codes = {kind: answer.json()["error"]["code"] for kind, answer in answers.items()}
    assert codes == dict.fromkeys(answers, "closing")
    for events in streamed:
        first, *rest, last = (event["event"] for event in events)
        assert (first, last) == ("order", "done")
        assert rest.count("picture") + rest.count("error") == 8
    failures = [event["error"]["code"] for events in streamed for event in events if event["event"] == "error"]
    assert set(failures) == {"closing"} and len(failures) > 8
    assert process.returncode == 0
    assert {json.loads(line)["level"] for line in err.splitlines()} == {"INFO"}


def test_a_terminal_that_is_closed_cuts_no_order(tiny_checkpoint: Path) -> None:
    with started(tiny_checkpoint) as process, ThreadPoolExecutor() as threads:
        assert process.stdout is not None
        url = next(word for word in process.stdout.readline().split() if word.startswith("http"))
        order = threads.submit(httpx.post, f"{url}/generate", json={"name": "tea", "n": 8}, trust_env=False, timeout=60)
        until(lambda: "cafeteria_wait_seconds_count 0.0" not in httpx.get(f"{url}/metrics", trust_env=False).text, 60)
        process.send_signal(signal.SIGHUP)
        assert order.result(60).text.count('"picture"') == 8
        process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("stdout", ["full", "closed"])
def test_a_stdout_that_takes_nothing_keeps_no_server_from_starting(tiny_checkpoint: Path, stdout: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if stdout == "closed":
        running = started(tiny_checkpoint, port, stdout=None, preexec_fn=lambda: os.close(1))
    else:
        running = started(tiny_checkpoint, port, stdout=os.open("/dev/full", os.O_WRONLY))
    with running as process:
        until(lambda: answers(f"http://127.0.0.1:{port}"), 120)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
