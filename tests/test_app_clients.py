"""HTTP as the clients, crawlers and proxies that exist speak it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import socket
import subprocess
import urllib.robotparser
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import httpx
import pytest

from app import negotiation
from tests.serving import FakePipeline, cafeteria, ready_client, until

CASES = Path(__file__).parents[2] / "shared" / "cases" / "http"
MANUAL = Path(__file__).parent.parent / "docs" / "operations.md"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with opened() as client:
        yield client


@pytest.fixture(scope="module")
def behind() -> Iterator[httpx.Client]:
    """A server that believes the proxy on this machine."""
    with opened(proxies="127.0.0.1") as client:
        yield client


@contextlib.contextmanager
def opened(**settings: int | str) -> Iterator[httpx.Client]:
    with cafeteria(FakePipeline(), **settings) as url, ready_client(url) as client:
        yield client


# What is asked for


@pytest.mark.parametrize(
    ("accept", "one", "several"),
    [
        ("application/json, text/plain, */*", "application/json", "application/json"),  # axios
        ("*/*;q=0.8, application/json;q=0.8", "application/json", "application/json"),
        ("application/*, */*", "application/x-ndjson", "application/x-ndjson"),
        ("image/*, */*", "image/png", "application/x-ndjson"),
        ("application/json;q=0.5, */*", "image/png", "application/x-ndjson"),
        ("text/plain, */*", "image/png", "application/x-ndjson"),
        ("*/*", "image/png", "application/x-ndjson"),
        ("", "image/png", "application/x-ndjson"),
    ],
)
def test_a_named_type_comes_before_a_wildcard(
    client: httpx.Client, accept: str, one: str, several: str
) -> None:
    for n, kind in ((1, one), (4, several)):
        answer = client.post("/generate", data={"name": "tea", "n": n}, headers={"Accept": accept})
        assert answer.headers["content-type"] == kind


def test_what_is_liked_best_counts_before_how_it_is_named() -> None:
    offers = ("image/png", "application/json", "text/html")
    assert negotiation.media_type("text/html;q=0.9, application/json", offers) == "application/json"
    assert negotiation.media_type("text/*, application/json", offers) == "application/json"
    assert negotiation.media_type("text/*, image/png;q=0", offers) == "text/html"
    assert negotiation.media_type("image/png;q=0", offers) is None


# HEAD


@pytest.mark.parametrize(
    "address",
    ["/", "/healthz", "/readyz", "/metrics", "/table", "/docs", "/menu?dish=name%3Dtea", "/dish?name=tea",
     "/dish.png?name=tea&seed=1", "/menu.zip?dish=name%3Dtea", "/surprise", "/openapi.json", "/robots.txt",
     "/static/style.css", "/v1/models"],
)  # fmt: skip
def test_head_is_get_without_a_body(client: httpx.Client, address: str) -> None:
    head, get = client.head(address), client.get(address)
    assert (head.status_code, head.content) == (200, b"")
    varying = {"date", "x-request-id"}
    if address in ("/metrics", "/surprise", "/dish?name=tea"):  # the last links to seeds drawn at random
        varying |= {"content-length"}
    assert {k: v for k, v in head.headers.items() if k not in varying} == {
        k: v for k, v in get.headers.items() if k not in varying
    }


def test_head_fails_as_get_does(client: httpx.Client) -> None:
    assert client.head("/nowhere").status_code == 404
    assert client.head("/dish.png?name=tea&seed=x").status_code == 422
    refused = client.head("/generate")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    for address in ("/healthz", "/table", "/menu.zip", "/v1/models"):
        assert client.post(address).headers["allow"] == "GET, HEAD"


def test_head_is_counted_as_head(client: httpx.Client) -> None:
    client.head("/table")
    until(lambda: re.search(r'method="HEAD",route="/table",status="200"', client.get("/metrics").text))


# Targets


def spoken(client: httpx.Client, request: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to a request that is written out."""
    address = urlsplit(str(client.base_url))
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as connection:
        connection.sendall(request.replace("\n", "\r\n").encode())
        received = b""
        while more := connection.recv(65536):
            received += more
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    return (
        int(status.split()[1]),
        {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)},
        body,
    )


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://cafe.example/healthz", 200),
        ("HTTP://cafe.example:8000/readyz", 200),
        ("https://cafe.example/dish.png?name=%E9%AE%AD&seed=1", 200),
        ("http://cafe.example", 200),
        ("http://cafe.example?lang=ja", 200),
        ("http://cafe.example/nowhere", 404),
        ("/http://cafe.example/healthz", 404),
        ("ftp://cafe.example/healthz", 404),
        ("http:///healthz", 404),
        ("*", 404),
    ],
)
def test_a_target_may_have_scheme_and_host(client: httpx.Client, target: str, status: int) -> None:
    assert spoken(client, f"GET {target} HTTP/1.1\nHost: proxy.example\nConnection: close\n\n")[0] == status


def test_the_host_of_a_target_counts_before_the_header(client: httpx.Client) -> None:
    head = "HTTP/1.1\nHost: proxy.example\nConnection: close\n\n"
    body = spoken(client, f"GET http://cafe.example/docs {head}")[2].decode()
    assert "http://cafe.example/generate" in body and "proxy.example" not in body


# Crawlers


def test_crawlers_are_kept_from_what_has_no_end(client: httpx.Client) -> None:
    answer = client.get("/robots.txt")
    assert answer.headers["content-type"].startswith("text/plain")
    rules = urllib.robotparser.RobotFileParser()
    rules.parse(answer.text.splitlines())
    for address in (
        "/dish?name=tea",
        "/dish.png?name=tea",
        "/table",
        "/menu?dish=name%3Dtea",
        "/menu.zip",
        "/surprise",
    ):
        assert not rules.can_fetch("Googlebot", address), address
    for address in ("/", "/docs", "/?lang=ja", "/static/style.css"):
        assert rules.can_fetch("Googlebot", address), address
    assert rules.can_fetch("Twitterbot/1.0", "/dish?name=tea")  # shows the picture where a link is posted
    for address in ("/dish?name=tea", "/table?names=tea&seed=1", "/menu?dish=name%3Dtea", "/?name=tea"):
        assert '<meta name="robots" content="noindex, nofollow">' in client.get(address).text
    assert "nofollow" not in client.get("/").text


# What comes back


def test_no_proxy_holds_a_stream_back(client: httpx.Client) -> None:
    answer = client.post(
        "/generate", data={"name": "tea", "n": 2}, headers={"Accept": "application/x-ndjson"}
    )
    assert answer.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize(
    "query",
    [
        {"name": "🍙" * 80, "seed": 4_294_967_295},
        {"name": "鮭" * 80, "path": ".".join(["9999"] * 16)},
        {"name": "👩‍🍳" * 26, "mix": "0.25:" + "🥗" * 80, "path": ".".join(["9999"] * 16)},
        {"name": "é" * 80, "to": "𠮟" * 80, "t": "0.5"},
    ],
)
def test_a_file_has_a_name_that_every_file_system_takes(client: httpx.Client, query: dict[str, str]) -> None:
    answer = client.get("/dish.png", params={"download": 1, **query})
    name = unquote(answer.headers["content-disposition"].partition("filename*=UTF-8''")[2])
    assert len(name.encode()) <= 255
    assert name.endswith(".png") and "\ufffd" not in name
    packed = client.get("/menu.zip", params={"dish": str(answer.url.query, "ascii")})
    (entry,) = zipfile.ZipFile(io.BytesIO(packed.content)).namelist()
    assert entry.startswith("01 ") and len(entry.encode()) <= 255


# What an address ignores


@pytest.mark.parametrize(
    "more",
    [
        "utm_source=a&utm_source=b",
        "ref=%E3%81",
        "n=99",
        "fbclid=" + "x" * 3000,
        "%FF=1",
        "&&=&",
        "utm_source",
        "=a&=b",
    ],
)
@pytest.mark.parametrize("address", ["/dish.png?name=tea&seed=1", "/dish?name=tea", "/?name=tea&seed=1&n=1"])
def test_what_an_address_ignores_is_not_looked_at(client: httpx.Client, address: str, more: str) -> None:
    if more == "n=99" and address.startswith("/?"):
        return  # there it is no stranger
    answer = client.get(f"{address}&{more}")
    assert answer.status_code == 200, answer.text


def test_orders_ignore_a_query(client: httpx.Client) -> None:
    assert client.post("/generate?utm_source=a&utm_source=b&x=%FF", data={"name": "tea"}).status_code == 200


def test_what_an_address_reads_is_still_looked_at(client: httpx.Client) -> None:
    for query, code in (("name=tea&seed=1&seed=2", "repeated_field"), ("name=%E3%81", "not_utf8")):
        assert client.get(f"/dish.png?{query}").json()["error"]["code"] == code


# Bodies


@pytest.mark.parametrize(
    "body",
    [b'{"name": "tea", "name": "cake"}', b'{"name": "tea", "n": 1, "n": 1}', b'{"name": {"a": 1, "a": 2}}'],
)
def test_a_repeated_key_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/generate", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "repeated_field")
    answer = client.post("/v1/images/generations", content=body.replace(b"name", b"prompt"), headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "repeated_field")


@pytest.mark.parametrize(
    ("body", "headers", "path"),
    [
        ('\ufeff{"name": "鮭", "seed": 1}', JSON, "/generate"),
        ('\ufeff{"name": "鮭"}', {"Content-Type": "application/json; charset=utf-8"}, "/generate"),
        ("\ufeffname=鮭&seed=1", FORM, "/generate"),
        ('\ufeff{"prompt": "鮭"}', JSON, "/v1/images/generations"),
    ],
)
def test_a_byte_order_mark_is_read_over(
    client: httpx.Client, body: str, headers: dict[str, str], path: str
) -> None:
    assert client.post(path, content=body.encode(), headers=headers).status_code == 200
    assert client.post(path, content=body.encode("utf-16"), headers=headers).json()["error"]["code"] in (
        "not_utf8", "unknown_field"
    )  # fmt: skip


@pytest.mark.skipif(not CASES.exists(), reason="the shared cases are not here")
def test_the_shared_bodies(client: httpx.Client) -> None:
    bom, repeated = ((CASES / name).read_bytes() for name in ("bom.json", "repeated_key.json"))
    assert client.post("/generate", content=bom, headers=JSON).status_code == 200
    assert client.post("/generate", content=repeated, headers=JSON).status_code == 422


# Where the site is


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://cafe.example", "cafe.example:80", 200),
        ("http://cafe.example:80", "cafe.example", 200),
        ("https://cafe.example", "cafe.example:443", 200),
        ("https://cafe.example:443", "cafe.example", 200),
        ("http://CAFE.example", "cafe.example", 200),
        ("http://[::1]", "[::1]:80", 200),
        ("http://cafe.example", "cafe.example:443", 403),
        ("https://cafe.example", "cafe.example:80", 403),
        ("http://cafe.example:8080", "cafe.example", 403),
        ("http://cafe.example", "other.example", 403),
    ],
)
def test_a_default_port_is_no_port(client: httpx.Client, origin: str, host: str, status: int) -> None:
    answer = client.post("/generate", data={"name": "tea"}, headers={"Origin": origin, "Host": host})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("told", "site"),
    [
        ({"X-Forwarded-Host": "cafe.example", "X-Forwarded-Proto": "https"}, "https://cafe.example"),
        (
            {"X-Forwarded-Host": "cafe.example, inner.example", "X-Forwarded-Proto": "https,http"},
            "https://cafe.example",
        ),
        (
            {"X-Forwarded-Host": "cafe.example:8443", "X-Forwarded-Proto": "HTTPS"},
            "https://cafe.example:8443",
        ),
        ({"X-Forwarded-Host": "[2001:db8::1]:81"}, "http://[2001:db8::1]:81"),
        ({"X-Forwarded-Host": "bad host/<x>"}, "http://inner.example"),
        ({"X-Forwarded-Host": ""}, "http://inner.example"),
        ({"X-Forwarded-Proto": "gopher"}, "http://inner.example"),
    ],
)
def test_a_believed_proxy_says_where_the_site_is(
    client: httpx.Client, behind: httpx.Client, told: dict[str, str], site: str
) -> None:
    told = {"Host": "inner.example", **told}
    assert f"{site}/generate" in behind.get("/docs", headers=told).text
    assert "http://inner.example/generate" in client.get("/docs", headers=told).text
    assert behind.post("/generate", data={"name": "tea"}, headers={"Origin": site, **told}).status_code == 200
    elsewhere = {"Origin": "https://elsewhere.example", **told}
    assert behind.post("/generate", data={"name": "tea"}, headers=elsewhere).status_code == 403


def test_an_unbelieved_proxy_is_not_asked(client: httpx.Client) -> None:
    told = {"Origin": "http://cafe.example", "X-Forwarded-Host": "cafe.example"}
    assert client.post("/generate", data={"name": "tea"}, headers=told).status_code == 403


# Proxies, by the manual's own snippets


def snippet(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", MANUAL.read_text("utf-8"), re.DOTALL)
    assert found, language
    return found[1]


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[str]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def answers() -> bool:
        assert process.poll() is None, process.communicate()[0].decode()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        return False

    try:
        until(answers)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=20)


@contextlib.contextmanager
def nginx(server: str, folder: Path) -> Iterator[str]:
    port = free_port()
    site = snippet("nginx").replace("127.0.0.1:8000", server)
    site = re.sub(r"listen 443 ssl;", f"listen 127.0.0.1:{port};", site)
    site = re.sub(r" *ssl_.*\n", "", site)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{site}}}\n"
    )
    with running(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"], port) as url:
        yield url


@contextlib.contextmanager
def caddy(server: str, folder: Path) -> Iterator[str]:
    port = free_port()
    site = snippet("caddyfile").replace("127.0.0.1:8000", server).replace("cafe.example", f"http://:{port}")
    (folder / "Caddyfile").write_text("{\nadmin off\n}\n" + site)
    with running(
        ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")], port
    ) as url:
        yield url


@pytest.mark.parametrize("proxy", [nginx, caddy])
def test_the_site_works_behind_a_proxy(
    proxy: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = proxy.__name__  # type: ignore[attr-defined]
    if shutil.which(name) is None:
        pytest.skip(f"no {name} here")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    pipeline = FakePipeline()
    with (
        cafeteria(pipeline, proxies="127.0.0.1", rate=16) as url,
        proxy(urlsplit(url).netloc, tmp_path) as front,  # type: ignore[operator]
        httpx.Client(base_url=front, trust_env=False, headers={"Host": "cafe.example"}) as client,
    ):
        until(lambda: client.get("/readyz").status_code == 200)
        assert "http://cafe.example/generate" in client.get("/docs").text
        own = {"Origin": "http://cafe.example"}
        assert client.post("/generate", data={"name": quote("鮭")}, headers=own).status_code == 200
        assert (
            client.post("/generate", data={"name": "tea"}, headers={"Origin": "http://x.example"}).status_code
            == 403
        )
        assert client.head("/dish.png?name=tea&seed=1").status_code == 200
        assert client.post("/generate", content=b"x" * 70_000).status_code == 413
        # Sketches arrive while the pictures are still in the making.
        pipeline.gate.clear()
        with client.stream("POST", "/generate", json={"name": "cake", "n": 2, "seed": 1}) as answer:
            lines = answer.iter_lines()
            assert json.loads(next(lines))["event"] == "order"
            assert json.loads(next(lines))["event"] == "sketch"
            pipeline.gate.set()
            assert json.loads(list(lines)[-1])["event"] == "done"
