"""Running the server: figures, logs, limits, other origins, proxies, slow clients, the end."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import Response
from prometheus_client.parser import text_string_to_metric_families

from app import cpus, logs
from app.application import create_app
from app.clients import network
from app.errors import ApiError
from app.rate_limit import Allowance
from app.settings import SETTINGS, Settings
from model.names import Name
from tests.serving import FakePipeline, cafeteria, ready_client, serve, until

ROOT = Path(__file__).parent.parent


@contextmanager
def opened(pipeline: FakePipeline | None = None, **settings: int | str) -> Iterator[httpx.Client]:
    pipeline = pipeline or FakePipeline()
    with cafeteria(pipeline, **settings) as url, ready_client(url) as client:
        yield client
        pipeline.gate.set()


# Figures


def figures(client: httpx.Client) -> Callable[..., float]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = [s for family in text_string_to_metric_families(answer.text) for s in family.samples]

    def figure(name: str, **labels: str) -> float:
        return sum(
            s.value for s in samples if s.name == f"cafeteria_{name}" and labels.items() <= s.labels.items()
        )

    return figure


def test_the_figures_tell_what_was_done() -> None:
    with opened(queue=8) as client:
        before = figures(client)
        client.post("/generate", json={"name": "tea", "n": 3})
        client.get("/dish.png?name=tea&seed=1&size=64")
        client.get("/nowhere/カレー")
        client.get("/static/style.css")
        client.request("BREW", "/generate")
        until(lambda: figures(client)("requests_in_progress") == 1)  # an answer is read before it is counted
        after = figures(client)

    def grown(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    assert grown("requests_total", route="/generate", method="POST", status="200") == 1
    assert grown("requests_total", route="/dish.png", status="200") == 1
    assert grown("requests_total", route="none", status="404") == 1
    assert grown("requests_total", route="/static", status="200") == 1
    assert grown("requests_total", method="other", status="405") == 1
    assert grown("request_seconds_count", route="/generate") == 2
    assert grown("batch_size_sum", step="sketch") == 4
    assert grown("batch_size_sum", step="refine") == grown("forward_seconds_count", step="refine") == 3
    assert grown("wait_seconds_count") == grown("encode_seconds_count") == 4
    assert after("queue_depth") == 0
    assert after("queue_capacity") == 8
    assert after("requests_in_progress") == 1  # the one that asks
    assert after("tasks") >= 1


def test_the_depth_is_told_and_returns_to_zero_when_the_clients_have_left() -> None:
    pipeline = FakePipeline()
    with opened(pipeline, queue=8) as client:
        pipeline.gate.clear()
        with client.stream("POST", "/generate", data={"name": "tea", "n": 8}) as answer:
            events = answer.iter_lines()  # its end would be the stream's
            assert json.loads(next(events))["event"] == "order"
            assert figures(client)("queue_depth") == 8
            assert client.post("/generate", data={"name": "cake"}).status_code == 503
            assert figures(client)("refusals_total", reason="queue_full") == 1
        until(lambda: figures(client)("queue_depth") <= 1)  # what is in the oven stays there
        pipeline.gate.set()
        until(lambda: figures(client)("queue_depth") == 0)
        until(lambda: figures(client)("requests_in_progress") == 1)


# Logs

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Lines]:
    """Sets this process's logging up as the command does; gives the lines logged so far."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr("sys.stderr", written := io.StringIO())
    logs.configure(getattr(request, "param", "info"))
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    logging.getLogger("app").setLevel(logging.NOTSET)


def test_a_request_leaves_one_line_without_what_was_typed(lines: Lines) -> None:
    with opened() as client:
        given = client.get("/dish.png?name=pumpkin&seed=1", headers={"X-Request-ID": "order-66"})
        drawn = client.post("/generate", json={"name": "pumpkin"}, headers={"X-Request-ID": "no spaces"})
        client.get("/pumpkin")
        lost = client.post("/generate", content=b"x" * 70_000)
    assert given.headers["x-request-id"] == "order-66"
    assert re.fullmatch("[0-9a-f]{32}", drawn.headers["x-request-id"])
    logged = lines()
    assert [(line["request_id"], line["route"], line["status"]) for line in logged] == [
        ("order-66", "/dish.png", 200),
        (drawn.headers["x-request-id"], "/generate", 200),
        (logged[2]["request_id"], "none", 404),
        (lost.headers["x-request-id"], "none", 413),
    ]
    assert all(line["level"] == "INFO" and line["seconds"] >= 0 and line["client"] for line in logged)
    assert "pumpkin" not in json.dumps(logged)


@pytest.mark.parametrize("lines", ["debug"], indirect=True)
def test_debug_writes_down_what_was_asked_for(lines: Lines) -> None:
    with opened() as client:
        client.post("/generate", json={"name": "pumpkin", "seed": 3}, headers={"X-Request-ID": "a"})
        client.get("/dish?name=cake")
    logged = lines()
    assert {"message": "ordered", "request_id": "a", "dishes": ["name=pumpkin&seed=3"]}.items() <= (
        next(line for line in logged if "dishes" in line).items()
    )
    assert "name=cake" in [line.get("query") for line in logged]


def test_a_fault_of_ours_is_logged_with_its_request(lines: Lines) -> None:
    def spoilt(name: Name) -> tuple[str, ...]:
        raise RuntimeError("the menu is torn")

    pipeline = FakePipeline()
    pipeline.notices = spoilt  # type: ignore[method-assign]
    with opened(pipeline) as client:
        answer = client.post("/generate", json={"name": "tea"}, headers={"X-Request-ID": "b"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "failed")
        assert answer.headers["x-request-id"] == "b"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert figures(client)("requests_total", status="500") == 1
    (fault,) = (line for line in lines() if line["level"] == "ERROR")
    assert fault["request_id"] == "b"
    assert "the menu is torn" in fault["exc_info"]


# Settings


def test_every_setting_is_in_the_manual() -> None:
    manual = (ROOT / "docs" / "operations.md").read_text()
    rows = dict(re.findall(r"^\| `(CAFETERIA_\w+)` \| ([^|]*) \|", manual, re.MULTILINE))
    assert rows == {s.variable: "" if s.shown == "none" else f"`{s.shown}`" for s in SETTINGS}


# Limits


def test_a_client_has_an_allowance_of_pictures_made() -> None:
    with opened(rate=8) as client:
        assert client.post("/generate", json={"name": "tea", "n": 7, "seed": 1}).status_code == 200
        refused = client.post("/generate", json={"name": "cake", "n": 2})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_pictures")
        assert refused.headers["retry-after"] == str(refused.json()["error"]["retry_after"])
        # From memory they are free, and so are pages.
        assert client.get("/dish.png?name=tea&seed=1").status_code == 200
        assert client.get("/dish.png?name=tea&seed=8").status_code == 200
        page = client.post("/generate", data={"name": "cake"}, headers={"Accept": "text/html"})
        assert page.status_code == 429
        assert "8 pictures in a minute" in page.text
        assert figures(client)("refusals_total", reason="too_many_pictures") == 2 + 4


def test_what_a_full_kitchen_refuses_costs_nothing_of_an_allowance() -> None:
    pipeline = FakePipeline()
    with opened(pipeline, rate=16, queue=8) as client, ThreadPoolExecutor() as threads:
        pipeline.gate.clear()
        first = threads.submit(client.post, "/generate", json={"name": "tea", "n": 8})
        until(lambda: figures(client)("queue_depth") == 8)
        for _ in range(2):
            refused = client.post("/generate", json={"name": "cake", "n": 8})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "queue_full")
        pipeline.gate.set()
        assert first.result(10).status_code == 200
        assert client.post("/generate", json={"name": "cake", "n": 8}).status_code == 200


def test_an_allowance_grows_back_and_is_each_clients_own() -> None:
    now, refused = [0.0], []
    allowance = Allowance(60, lambda reason, count: refused.append((reason, count)), clock=lambda: now[0])
    allowance.spend("10.0.0.1", 60)
    with pytest.raises(ApiError) as refusal:
        allowance.spend("10.0.0.1", 5)
    assert refusal.value.retry_after == 5
    assert refused == [("too_many_pictures", 5)]
    allowance.spend("10.0.0.2", 60)
    now[0] += 5
    allowance.spend("10.0.0.1", 5)
    # An IPv6 client has a whole network of addresses.
    allowance.spend(network("2001:db8::1"), 60)
    with pytest.raises(ApiError):
        allowance.spend(network("2001:db8::ffff"), 1)
    allowance.spend(network("2001:db8:0:1::1"), 60)
    assert network("::ffff:10.0.0.1") == network("10.0.0.1") == "10.0.0.1"
    allowance.spend(network(""), 1)
    # What is larger than a minute's share is taken by whoever owes nothing.
    now[0] += 3600
    allowance.spend("10.0.0.1", 100)


def test_each_visitor_behind_a_proxy_has_an_allowance_of_their_own() -> None:
    with opened(rate=8, proxies="127.0.0.1") as client:

        def order(visitor: str) -> int:
            told = {"X-Forwarded-For": visitor}
            return client.post("/generate", json={"name": "tea", "n": 8}, headers=told).status_code

        assert [order("203.0.113.9"), order("203.0.113.9"), order("203.0.113.10")] == [200, 429, 200]


def test_an_order_that_waited_too_long_is_told_so() -> None:
    pipeline = FakePipeline()
    with opened(pipeline, wait=1) as client, ThreadPoolExecutor() as threads:
        pipeline.gate.clear()
        threads.submit(client.get, "/dish.png?name=tea&seed=1")
        until(lambda: figures(client)("queue_depth") == 1)
        late = threads.submit(client.get, "/dish.png?name=tea&seed=2")
        until(lambda: figures(client)("queue_depth") == 2)
        time.sleep(1.05)
        pipeline.gate.set()
        answer = late.result(10)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "waited_too_long")
        assert int(answer.headers["retry-after"]) >= 1
        assert 2 not in pipeline.refined


# Other origins, and proxies


def test_other_origins_get_nothing_unless_they_are_let_in() -> None:
    theirs = {"Origin": "https://menu.example", "Sec-Fetch-Site": "cross-site"}
    asks = theirs | {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    order = {"name": "tea", "size": 64}
    with opened() as client:
        assert "access-control-allow-origin" not in client.options("/generate", headers=asks).headers
        assert client.post("/generate", json=order, headers=theirs).status_code == 403
    with opened(cors="https://menu.example, https://other.example") as client:
        assert client.options("/generate", headers=asks).status_code == 200
        for answer, status in (
            (client.post("/generate", json=order, headers=theirs), 200),
            (client.post("/generate", content=b"x" * 70_000, headers=theirs), 413),
        ):
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == theirs["Origin"]
            assert "content-security-policy" in answer.headers
        stranger = theirs | {"Origin": "https://elsewhere.example"}
        answer = client.post("/generate", json=order, headers=stranger)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    with opened(cors="*") as client:
        answer = client.post("/generate", json=order, headers=theirs)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


@pytest.mark.parametrize(
    ("proxies", "client", "scheme"),
    [("", "127.0.0.1", "http"), ("127.0.0.0/8", "203.0.113.9", "https"), ("10.0.0.1", "127.0.0.1", "http")],
)
def test_proxies_are_believed_only_when_told_so(
    lines: Lines, proxies: str, client: str, scheme: str
) -> None:
    told = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    with opened(proxies=proxies) as visitor:
        page = visitor.get("/docs", headers=told)
        assert f"{scheme}://{visitor.base_url.netloc.decode()}/generate" in page.text
    assert [line["client"] for line in lines() if "client" in line] == [client]


def test_a_proxy_that_is_not_believed_is_named_once(lines: Lines) -> None:
    told = {"X-Forwarded-For": "203.0.113.9"}
    for proxies, expected in (("", 1), ("10.0.0.1", 1), ("127.0.0.0/8", 0), ("*", 0)):
        before = len(warnings := [line for line in lines() if line["level"] == "WARNING"])
        with opened(proxies=proxies) as client:
            for _ in range(3):
                client.get("/docs", headers=told)
        warnings = [line["message"] for line in lines() if line["level"] == "WARNING"][before:]
        assert len(warnings) == expected
        assert all("127.0.0.1" in warning and "CAFETERIA_PROXIES" in warning for warning in warnings)


# Clients who are slow, half gone, or speak no HTTP


def talk(client: httpx.Client, *pieces: bytes, pause: float = 0.0) -> bytes:
    """What comes back on one connection, up to its end."""
    address = urlsplit(str(client.base_url))
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        received = b""
        while more := connection.recv(65536):
            received += more
        return received


def error(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


@pytest.mark.parametrize(
    "request_head",
    [b"nothing of the kind\r\n\r\n", b"GET /\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
     b"POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_http_has_an_answer_of_the_same_shape(request_head: bytes, speaker: httpx.Client) -> None:
    assert error(talk(speaker, request_head)) == (400, "bad_request")


@pytest.fixture(scope="module")
def speaker() -> Iterator[httpx.Client]:
    with opened(patience=1) as client:
        yield client


def test_a_head_without_an_end_is_refused(speaker: httpx.Client) -> None:
    endless = b"GET / HTTP/1.1\r\nX-Long: "
    assert error(talk(speaker, endless + b"a" * (2**14 + 1 - len(endless)))) == (431, "head_too_large")
    assert error(talk(speaker, b"GET / HTTP/1.1\r\nHo")) == (408, "too_slow")
    assert talk(speaker) == b""  # whoever says nothing is told nothing


@pytest.mark.parametrize("path", ["/generate", "/v1/images/generations"])
def test_a_body_that_does_not_come_is_refused(speaker: httpx.Client, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n"
    assert error(talk(speaker, head.encode(), b'{"na')) == (408, "too_slow")


def trickle(client: httpx.Client, begun: bytes) -> bytes:
    """What comes back to a client that sends a letter now and then, for four seconds at most."""
    address, received = urlsplit(str(client.base_url)), b""
    with socket.create_connection((address.hostname, address.port), timeout=0.4) as connection:
        connection.sendall(begun)
        for _ in range(10):  # no letter at the second at which the server closes, which would lose its answer
            try:
                if not (more := connection.recv(65536)):
                    break
                received += more
            except TimeoutError:
                connection.sendall(b"a")
            except ConnectionError:
                break
    return received


@pytest.mark.parametrize(
    "begun",
    [
        b"GET / HTTP/1.1\r\nX-Long: ",
        b"POST /generate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n",
    ],
    ids=["head", "body"],
)
def test_patience_does_not_begin_anew_with_every_letter(speaker: httpx.Client, begun: bytes) -> None:
    assert error(trickle(speaker, begun)) == (408, "too_slow")


def test_a_connection_may_rest_between_requests(speaker: httpx.Client) -> None:
    first = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert talk(speaker, first, last, pause=1.1).count(b"HTTP/1.1 200 OK") == 2


def test_a_broken_body_ends_the_connection(speaker: httpx.Client) -> None:
    head = b"POST /generate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert error(talk(speaker, head, b"no chunk\r\n")) == (400, "bad_request")
    assert speaker.get("/healthz").status_code == 200


def test_a_client_that_does_not_read_is_left(speaker: httpx.Client) -> None:
    address = urlsplit(str(speaker.base_url))

    def stuck() -> bool:
        """One answer, and another than these figures', has been waiting for its reader for a while."""
        before = figures(speaker)
        time.sleep(0.2)
        after = figures(speaker)
        same = before("requests_total", route="/openapi.json") == after(
            "requests_total", route="/openapi.json"
        )
        return same and after("requests_in_progress") == 2

    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect((address.hostname, address.port))
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 500)
        until(stuck, 30)
        until(lambda: figures(speaker)("requests_in_progress") == 1, 30)
        answers = 0
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(2**20):
                answers += more.count(b"HTTP/1.1 200 OK")
    assert 0 < answers < 500


def test_nor_may_a_client_leave_the_rest_of_a_short_answer_unread() -> None:
    def held() -> bool:
        """Whether the server still has its end of the connection (Linux)."""
        ours, theirs = door.getsockname()[1], connection.getsockname()[1]
        rows = Path("/proc/net/tcp").read_text()
        return re.search(rf":{ours:04X} [0-9A-F]+:{theirs:04X} 01 ", rows) is not None

    with socket.create_server(("127.0.0.1", 0)) as door, socket.socket() as connection:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # nearly all of an answer stays with the server
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        app = create_app(Settings(), FakePipeline())
        with (
            serve(app, Settings(patience=1, drain=10), door) as url,
            httpx.Client(base_url=url, trust_env=False) as client,
        ):
            length = len(client.get("/static/style.css").content)
            assert length < 2**16
            connection.connect(door.getsockname())
            connection.sendall(b"GET /static/style.css HTTP/1.1\r\nHost: a\r\n\r\n")
            assert held()
            until(lambda: not held())
            received = 0
            with contextlib.suppress(ConnectionResetError):
                while more := connection.recv(65536):
                    received += len(more)
    assert received < length


def test_a_client_that_reads_slowly_gets_all_of_a_long_answer() -> None:
    length, pace = 5 * 2**18, 2**18  # bytes, and bytes a second: two and a half times as long as the patience lasts
    app = create_app(Settings(), FakePipeline())
    app.add_api_route("/long", lambda: Response(bytes(length)))
    with socket.create_server(("127.0.0.1", 0)) as door, socket.socket() as connection:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # nearly all of an answer stays with the server
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        with serve(app, Settings(patience=2, drain=10), door):
            connection.connect(door.getsockname())
            connection.sendall(b"GET /long HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            began, received = time.monotonic(), 0
            while more := connection.recv(4096):
                received += len(more)
                time.sleep(max(0.0, began + received / pace - time.monotonic()))
            assert time.monotonic() - began > 4
    assert received > length


# The end


def test_while_it_drains_the_door_stays_open_to_say_so() -> None:
    pipeline = FakePipeline()
    with ThreadPoolExecutor() as threads:
        with cafeteria(pipeline) as url:
            client = httpx.Client(base_url=url, trust_env=False)
            until(lambda: client.get("/readyz").status_code == 200)
            pipeline.gate.clear()
            accepted = threads.submit(client.get, "/dish.png?name=tea&seed=1")
            until(lambda: figures(client)("queue_depth") == 1)

            def visit() -> None:
                """From another connection, once the server has been told to stop."""
                with httpx.Client(base_url=url, trust_env=False) as late:
                    until(lambda: late.get("/readyz").status_code == 503)
                    order = late.post("/generate", data={"name": "cake"})
                    assert (order.status_code, order.json()["error"]["code"]) == (503, "closing")
                    assert late.get("/healthz").status_code == 200
                pipeline.gate.set()

            visitor = threads.submit(visit)
        visitor.result(10)
        assert accepted.result(10).status_code == 200
        client.close()


def test_what_is_not_done_in_time_is_told_so_as_the_door_closes() -> None:
    pipeline = FakePipeline()
    with ThreadPoolExecutor() as threads, cafeteria(pipeline, drain=2) as url:
        until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200)
        pipeline.gate.clear()
        begun = threading.Event()

        def order() -> list[dict[str, Any]]:
            events = []
            with httpx.stream("POST", f"{url}/generate", json={"name": "tea", "n": 2}, trust_env=False) as answer:
                for line in answer.iter_lines():
                    events.append(json.loads(line))
                    begun.set()
            return events

        def knock() -> None:
            """Until nobody opens, and then for less than the time to drain."""
            try:
                address = urlsplit(url)
                until(lambda: not is_open((str(address.hostname), int(address.port or 0))))
                until(ordered.done, 1.5)
            finally:
                pipeline.gate.set()

        ordered = threads.submit(order)
        assert begun.wait(10)
        knocked = threads.submit(knock)
    events = [event for event in ordered.result(0) if event["event"] != "sketch"]
    assert [event["event"] for event in events] == ["order", "error", "error", "done"]
    assert {event["error"]["code"] for event in events[1:3]} == {"closing"}
    knocked.result(0)


def is_open(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=10).close()
    except ConnectionRefusedError:
        return False
    return True


# CPUs


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        (
            "0::/a/b\n",
            {"a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000", "cpu.max": "max 100000"},
            0.5,
        ),
        ("0::/../..\n", {}, math.inf),
        (
            "4:cpu,cpuacct:/x\n1:memory:/x\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "100000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            1,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
    ],
)
def test_the_quota_of_a_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, membership: str, files: dict[str, str], expected: float
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "membership").write_text(membership)
    assert cpus.usable(tmp_path / "membership", tmp_path) == min(
        64, max(1, math.ceil(expected)) if expected < 64 else 64
    )
    assert cpus.usable(tmp_path / "absent", tmp_path) == 64
