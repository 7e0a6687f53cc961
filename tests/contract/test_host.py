"""The local server on another address than 127.0.0.1: other machines need a key, and only loopback is open."""

import socket
from collections.abc import Iterator

import httpx2
import pytest

from handler.api.keys import digest_of
from tests import process, raw_http

KEY = "sk-a-neighbour-has-this-key-for-the-tests"
BODY = b'{"model": "text-embedding-ada-002", "input": "a"}'
AUTHORIZED = f"authorization: Bearer {KEY}"


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    """Serve on every IPv4 address of this machine; return the port."""
    options = ("--host", "0.0.0.0", "--port", "0", "--quiet")  # noqa: S104 - with a key
    with process.serve("", *options, API_KEYS=f"neighbour:{digest_of(KEY)}") as service:
        assert service.url.startswith("http://0.0.0.0:")
        yield service.url.rpartition(":")[2]


def post(url: str, host: str, *headers: str) -> int:
    payload = raw_http.request("POST", "/v1/embeddings", *headers, body=BODY)
    return raw_http.send(url, payload.replace(b"host: localhost", f"host: {host}".encode())).status


@pytest.mark.parametrize("host", ["192.0.2.7:3000", "host.docker.internal:3000", "my-laptop.local", "localhost"])
def test_neighbour_with_the_key_is_served_under_every_name_of_the_machine(port, host):
    assert post(f"http://127.0.0.1:{port}", host, AUTHORIZED) == 200


@pytest.mark.parametrize("headers", [(), ("authorization: Bearer sk-none-of-the-configured-keys",)])
@pytest.mark.parametrize("page", [(), ("origin: https://evil.example", "sec-fetch-site: cross-site")])
def test_caller_without_the_key_is_refused_and_so_are_pages_which_cannot_have_it(port, headers, page):
    assert post(f"http://127.0.0.1:{port}", "evil.example", *headers, *page) == 401


@pytest.mark.parametrize("environment", [{}, {"API_KEYS": f"a:{digest_of(KEY)}", "AUTH_MODE": "none"}])
def test_server_for_others_does_not_start_without_a_key(environment):
    with process.start("", "--host", "0.0.0.0", "--port", "0", **environment) as service:  # noqa: S104 - refused
        (line,) = service.communicate(timeout=20)[0].splitlines()
    assert service.returncode == 1
    assert line.startswith("HOST=0.0.0.0 lets other machines call, so a key is required: create one with make api-key")
    assert line.endswith("set API_KEYS to the name:sha256 pair that it prints, and leave AUTH_MODE at api-key")


def test_other_addresses_of_loopback_need_no_key_and_refuse_foreign_pages():
    with process.serve("", "--host", "127.0.0.2", "--port", "0", "--quiet") as service:
        assert post(service.url, service.url.removeprefix("http://")) == 200
        assert post(service.url, "evil.example") == 400


@pytest.mark.skipif(not socket.has_ipv6, reason="Python was built without IPv6")
def test_ipv6_loopback_needs_no_key_and_refuses_foreign_pages():
    with process.serve("", "--host", "::1", "--port", "0", "--quiet") as service:
        if not service.url:
            pytest.skip("this machine has no IPv6")
        assert service.url.startswith("http://[::1]:")
        assert httpx2.post(f"{service.url}/v1/embeddings", content=BODY).status_code == 200
        assert post(service.url, "evil.example") == 400
