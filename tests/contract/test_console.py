"""The request log of the local server: a line a request, no text of any, and none with --quiet."""

import re
from collections.abc import Iterator

import httpx2
import pytest

from tests import process, raw_http

SECRET = "an-uncommon-word-of-the-text"
MODEL = "all-MiniLM-L6-v2"
PORT = ("--port", "0")  # as by default, so the log is not off


def lines(service: process.Service) -> list[str]:
    """End a service, and return the lines of its log."""
    service.process.terminate()
    printed, _ = service.process.communicate(timeout=5)
    assert "Traceback" not in printed
    return [line for line in printed.splitlines() if re.match(r"[A-Z]+ /", line)]


@pytest.fixture
def service() -> Iterator[process.Service]:
    with process.serve("", *PORT) as running:
        yield running


def test_every_request_is_a_line_without_its_text(service):
    def post(**body: object) -> None:
        httpx2.post(f"{service.url}/v1/embeddings", json=body)

    post(model="text-embedding-3-small", input=[SECRET, SECRET, "a"])
    post(model="no\x1b[31m-such-model" + "m" * 200, input=SECRET)
    post(model=MODEL, input=[SECRET, ""])
    post(model=MODEL, input={SECRET: 1})
    post(model=MODEL, input=SECRET, dimensions=SECRET)
    post(model=MODEL, input=SECRET, encoding_format=SECRET, user=SECRET)
    httpx2.post(f"{service.url}/v1/embeddings", content=f'{{"model": "tiny", "input": "{SECRET}')
    httpx2.get(f"{service.url}/v2/%1b%0aembeddings?key={SECRET}", headers={"authorization": f"Bearer {SECRET}"})
    httpx2.get(f"{service.url}/health", headers={"host": "evil.example"})
    logged = lines(service)
    assert [line.split()[:3] for line in logged[:7]] == [
        ["POST", "/v1/embeddings", status] for status in ("200", "404", *["400"] * 5)
    ]
    assert re.fullmatch(rf"POST /v1/embeddings 200 {MODEL} inputs=3 tokens=\d+ [\d.]+ms", logged[0])
    assert re.search(r" 404 [\d.]+ms model_not_found: model not found: 'no\\x1b\[31m-such-modelm+", logged[1])
    assert re.search(r" 400 [\d.]+ms empty_input: Invalid 'input.1': it is an empty string.$", logged[2])
    assert re.match(r"GET /v2/\\x1b\\nembeddings 404 [\d.]+ms not_found: ", logged[7])
    assert re.match(r"GET /health 400 [\d.]+ms origin_not_allowed: ", logged[8])
    assert len(logged) == 9
    assert all(SECRET not in line and line.isprintable() and len(line) < 500 for line in logged)


def test_client_that_disconnects_is_a_line(service):
    with raw_http.connect(service.url) as connection:
        before = process.cpu_seconds(service.process.pid)
        connection.sendall(raw_http.request("POST", "/v1/embeddings", body=raw_http.long_body(1_000)))
        process.wait_until(lambda: process.cpu_seconds(service.process.pid) > before + 0.3)
    assert httpx2.get(f"{service.url}/health").status_code == 200
    process.wait_until(lambda: "disconnected" in (service.process.stdout.readline() if service.process.stdout else ""))


def test_quiet_turns_the_log_off():
    with process.serve("", "--quiet") as service:
        assert httpx2.get(f"{service.url}/health").status_code == 200
        assert lines(service) == []


@pytest.mark.parametrize(("pair", "header"), [(f"alice:{'a1' * 32}", ' -H "authorization: Bearer $KEY"'), ("", "")])
def test_start_line_shows_where_a_key_goes_if_one_is_required(pair, header):
    with process.serve(API_KEYS=pair) as service:
        assert service.process.stdout
        example = "".join(service.process.stdout.readline() for _ in range(2))
    assert f"  curl {service.url}/v1/embeddings{header} -d '" in example
