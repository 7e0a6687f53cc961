"""The local server: requests of foreign web pages, requests that never arrive, and clients that disconnect."""

import json
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx2
import pytest

from handler.connections import KEEP_ALIVE_SECONDS
from tests import process, raw_http
from tests.process import Service, wait_until
from tests.stored import FORM, form

ORIGIN = "https://app.example"
BODY = b'{"model": "text-embedding-ada-002", "input": "a"}'
SHORT_TIMEOUT = "import handler.connections; handler.connections.REQUEST_SECONDS = 0.3"
SHORT_KEEP_ALIVE = f"{SHORT_TIMEOUT}; handler.connections.KEEP_ALIVE_SECONDS = 1.5"
HEALTH = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
MAX_FILES = 256  # of a process on macOS


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with process.serve() as service:
        yield service.url


@pytest.fixture(scope="module")
def url_with_origin() -> Iterator[str]:
    with process.serve(CORS_ORIGINS=f"{ORIGIN},http://box.example:3000") as service:
        yield service.url


@pytest.fixture
def short_timeout() -> Iterator[Service]:
    with process.serve(SHORT_TIMEOUT) as service:
        yield service


def post(url: str, host: str, *headers: str) -> raw_http.Response:
    payload = raw_http.request("POST", "/v1/embeddings", "content-type: text/plain", *headers, body=BODY)
    return raw_http.send(url, payload.replace(b"host: localhost", f"host: {host}".encode()))


@pytest.mark.parametrize("host", ["127.0.0.1:3000", "127.0.0.1", "localhost:8080", "LOCALHOST", "[::1]:3000"])
@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["origin: http://localhost:5173", "sec-fetch-site: same-site"],
        ["origin: http://127.0.0.1:3000", "sec-fetch-site: same-origin"],
        ["sec-fetch-site: none"],
    ],
)
def test_requests_of_programs_and_local_pages_are_served(url, host, headers):
    assert post(url, host, *headers).status == 200


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("evil.example", []),
        ("evil.example:3000", ["origin: http://evil.example:3000", "sec-fetch-site: same-origin"]),  # DNS rebinding
        ("localhost.evil.example", []),
        ("127.0.0.1.evil.example:3000", []),
        ("127.0.0.1@evil.example", []),
        ("127x0x0x1", []),
        ("[::1].evil.example", []),
        ("[", []),
        ("localhost:", []),
        ("", []),
        ("localhost", ["sec-fetch-site: cross-site"]),
        ("localhost", ["origin: https://evil.example", "sec-fetch-site: cross-site"]),
        ("localhost", ["origin: https://evil.example"]),  # of a browser without Sec-Fetch-Site
        ("localhost", ["origin: http://localhost.evil.example"]),
        ("localhost", ["origin: null"]),
        ("localhost", [f"origin: {ORIGIN}"]),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS"])
def test_requests_of_foreign_pages_are_rejected(url, host, headers, method):
    payload = raw_http.request(method, "/health", *headers).replace(b"host: localhost", f"host: {host}".encode())
    response = raw_http.send(url, payload)
    assert (response.status, json.loads(response.body)["error"]["code"]) == (400, "origin_not_allowed")
    assert "CORS_ORIGINS" in json.loads(response.body)["error"]["message"]
    assert response.headers["x-request-id"]


FOLLOWED_LINK = ["sec-fetch-site: cross-site", "sec-fetch-mode: navigate", "sec-fetch-dest: document"]


@pytest.mark.parametrize(
    ("method", "host", "headers", "status"),
    [
        ("GET", "localhost", FOLLOWED_LINK, 200),
        ("HEAD", "localhost", FOLLOWED_LINK, 200),
        ("POST", "localhost", [*FOLLOWED_LINK, "origin: https://evil.example"], 400),  # a form of a foreign page
        ("POST", "localhost", FOLLOWED_LINK, 400),
        ("GET", "evil.example", FOLLOWED_LINK, 400),
        ("GET", "localhost", [*FOLLOWED_LINK[:2], "sec-fetch-dest: iframe"], 400),
        ("GET", "localhost", [FOLLOWED_LINK[0], "sec-fetch-mode: no-cors", "sec-fetch-dest: image"], 400),
    ],
)
def test_link_of_a_foreign_page_opens_the_page(url, method, host, headers, status):
    payload = raw_http.request(method, "/", *headers).replace(b"host: localhost", f"host: {host}".encode())
    assert raw_http.send(url, payload, method).status == status


def test_local_server_serves_the_page_even_if_it_has_keys():
    with process.serve(API_KEYS=f"alice:{'0' * 64}") as service:
        assert service.process.stdout
        assert [service.process.stdout.readline() for _ in range(4)][3] == f"or open {service.url}/ in a browser.\n"
        response = httpx2.get(f"{service.url}/")
        assert (response.status_code, 'data-auth="api-key"' in response.text) == (200, True)
        assert httpx2.get(f"{service.url}/v1/models").status_code == 401


def test_requests_of_allowed_origins_are_served(url_with_origin):
    allowed = post(url_with_origin, "localhost:3000", f"origin: {ORIGIN}", "sec-fetch-site: cross-site")
    assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert post(url_with_origin, "box.example:3000").status == 200  # such as a container's name of its host
    assert post(url_with_origin, "localhost", "origin: https://b.example", "sec-fetch-site: cross-site").status == 400
    assert post(url_with_origin, "app.example").status == 400


def seconds_until_closed(connection: socket.socket, trickle: bytes) -> float:
    """Send `trickle` 20 times a second until the server closes the connection."""
    started = time.monotonic()
    connection.settimeout(0.05)
    while time.monotonic() < started + 5:
        try:
            connection.sendall(trickle)
            if connection.recv(1) == b"":
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return time.monotonic() - started


@pytest.mark.parametrize(
    ("begun", "trickle"),
    [
        (b"", b""),
        (b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: ", b"x"),
        (b"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n", b" "),
        (b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\nGET /health HTTP/1.1\r\nx: ", b"x"),
    ],
    ids=["nothing", "head", "body", "second head"],
)
def test_connection_is_closed_if_its_request_does_not_arrive(short_timeout, begun, trickle):
    with raw_http.connect(short_timeout.url) as connection:
        connection.sendall(begun)
        if begun.count(b"GET") == 2:
            assert connection.recv(1024).startswith(b"HTTP/1.1 200")
        assert 0.2 < seconds_until_closed(connection, trickle) < 2


def test_a_large_file_may_arrive_slowly(tmp_path):
    """It takes four times as long as a request may, and arrives at twice the least rate."""
    setup = f"{SHORT_TIMEOUT}; handler.connections.MIN_BYTES = 1000"
    body = form(("purpose", None, b"batch"), ("file", "a.jsonl", b'{"a": 1}\n' * 1000))
    with process.serve(setup, BATCHES=str(tmp_path)) as service, raw_http.connect(service.url) as connection:
        head = raw_http.request("POST", "/v1/files", f"content-type: {FORM['content-type']}", body=body)
        for start in range(0, len(head), 1000):
            connection.sendall(head[start : start + 1000])
            time.sleep(0.13)
        assert connection.recv(1024).startswith(b"HTTP/1.1 200")


def test_idle_connection_is_kept_for_longer_than_clients_keep_theirs():
    assert KEEP_ALIVE_SECONDS > 90  # Go's transport; httpx and Node's agent: 5


def test_idle_connection_is_reused_until_its_own_limit():
    with process.serve(SHORT_KEEP_ALIVE) as service, raw_http.connect(service.url) as connection:
        for _ in range(2):
            connection.sendall(HEALTH)
            response = b""
            while not response.endswith(b'{"status":"ok"}'):
                response += connection.recv(1024)
            assert response.startswith(b"HTTP/1.1 200")
            time.sleep(1)  # longer than a request may take to arrive
        assert seconds_until_closed(connection, b"") < 2


def test_request_that_does_not_arrive_on_a_reused_connection_closes_it():
    with process.serve(SHORT_TIMEOUT) as service, raw_http.connect(service.url) as connection:
        connection.sendall(HEALTH)
        assert connection.recv(1024).startswith(b"HTTP/1.1 200")
        time.sleep(0.5)
        connection.sendall(b"GET /health HTTP/1.1\r\nx: ")
        assert 0.2 < seconds_until_closed(connection, b"x") < 2


def test_connection_stays_open_while_its_request_is_served(short_timeout):
    started = time.monotonic()
    response = httpx2.post(f"{short_timeout.url}/v1/embeddings", content=raw_http.long_body(600), timeout=60)
    assert (response.status_code, time.monotonic() - started > 0.7) == (200, True)


def test_idle_connections_do_not_block_others():
    with process.serve() as service, ExitStack() as stack:
        _, most = resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (MAX_FILES, most))
        for _ in range(MAX_FILES + 50):
            stack.enter_context(raw_http.connect(service.url)).sendall(b"POST /v1/embeddings HTTP/1.1\r\n")
        started = time.monotonic()
        assert post(service.url, "localhost").status == 200
        assert time.monotonic() - started < 5


def test_aborted_requests_are_cancelled():
    with process.serve() as service:
        pid = service.process.pid
        payload = raw_http.request("POST", "/v1/embeddings", body=raw_http.long_body(1_000))
        with ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(raw_http.connect(service.url)).sendall(payload)
            before = process.cpu_seconds(pid)
            wait_until(lambda: process.cpu_seconds(pid) > before + 1)
        started = time.monotonic()
        assert post(service.url, "localhost").status == 200
        assert time.monotonic() - started < 3
        wait_until(lambda: is_idle(pid), seconds=5)


def test_clients_that_disconnect_cost_those_that_share_their_runs_nothing():
    with process.serve(VECTOR_CACHE_MB="0") as service, ThreadPoolExecutor(16) as threads:
        texts = [f"{number} of {length}" + " and more" * length for number in range(8) for length in range(8)]
        bodies = [json.dumps({"model": "text-embedding-ada-002", "input": text}).encode() for text in texts]
        alone = [embedding(service.url, body) for body in bodies]

        def leave(body: bytes) -> None:
            with raw_http.connect(service.url) as connection:
                connection.sendall(raw_http.request("POST", "/v1/embeddings", body=body))

        leaving = [threads.submit(leave, body) for body in bodies * 4]
        together = list(threads.map(embedding, [service.url] * len(bodies), bodies))
        for each in leaving:
            each.result()
        assert together == alone
        wait_until(lambda: is_idle(service.process.pid), seconds=5)


def embedding(url: str, body: bytes) -> list[float]:
    response = raw_http.send(url, raw_http.request("POST", "/v1/embeddings", "connection: close", body=body))
    assert response.status == 200
    (row,) = json.loads(response.body)["data"]
    vector: list[float] = row["embedding"]
    return vector


def is_idle(pid: int) -> bool:
    before = process.cpu_seconds(pid)
    time.sleep(0.3)
    return process.cpu_seconds(pid) - before < 0.1
