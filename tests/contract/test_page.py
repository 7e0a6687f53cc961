"""The page of GET /: where it is served, the headers that confine it, and what its file may contain."""

import base64
import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx2
import pytest

from handler.api import page
from handler.api.app import create_app
from handler.api.keys import digest_of
from handler.lambda_events import LambdaHandler
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import raw_http, tiny
from tests.attacks import KEY, ROUTES
from tests.conftest import serve
from tests.emulator import ROOT, clean_environment
from tests.events import KINDS, context, event, headers

CONTEXT = context()
MAX_BYTES = 30_000


class Document(HTMLParser):
    """A document's attributes, and the text of its scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str | None]] = []
        self.code: dict[str, list[str]] = {"script": [], "style": []}
        self.inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        self.inside = tag

    def handle_data(self, data: str) -> None:
        if self.inside in self.code:
            self.code[self.inside].append(data)

    def handle_endtag(self, _tag: str) -> None:
        self.inside = ""


def build_handler(**settings: Any) -> LambdaHandler:
    app_settings = Settings(token_input="native", **{"page": True, "auth_mode": "none", **settings})
    return LambdaHandler(create_app(app_settings, Catalog.of([tiny.embedder(app_settings)], app_settings)))


def get(kind: str, path: str = "/", stage: str = "$default", **settings: Any) -> dict[str, Any]:
    request_event = event(kind, method="GET", path=path)
    request_event["requestContext"]["stage"] = stage
    return build_handler(**settings)(request_event, CONTEXT)


@pytest.fixture(scope="module")
def protected_client() -> Iterator[httpx2.Client]:
    settings = Settings(token_input="native", page=True, api_keys=(("alice", digest_of(KEY)),))
    app = create_app(settings, Catalog.of([tiny.embedder(settings)], settings))
    with serve(app) as url, httpx2.Client(base_url=url) as client:
        yield client


def test_policy_allows_exactly_the_pages_own_script_and_style(protected_client):
    response = protected_client.get("/")
    code = Document(response.text).code
    hashes = {}
    for tag, texts in code.items():
        (text,) = texts
        hashes[tag] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert response.headers["content-security-policy"] == (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["content-type"] == "text/html; charset=utf-8"


def test_page_without_a_script_is_not_served(monkeypatch, tmp_path):
    (tmp_path / "page.html").write_text("<style></style>")
    monkeypatch.setattr(page, "FILE", tmp_path / "page.html")
    with pytest.raises(ValueError, match=r"page\.html lacks a script or a style"):
        page._load.__wrapped__("none")


def test_file_is_small_and_refers_to_nothing_outside_itself():
    html = page.FILE.read_text()
    assert len(html.encode()) <= MAX_BYTES
    assert set(re.findall(r"https?://[^'\"/]+", html)) == {"http://www.w3.org"}  # the name of SVG's elements
    attributes = Document(html).attributes
    assert not [name for name, _ in attributes if name == "style" or name.startswith("on")]
    assert [value for name, value in attributes if name in {"src", "href"} and not str(value).startswith("data:")] == []


def test_page_puts_texts_into_the_document_as_text_only():
    html = page.FILE.read_text()
    sinks = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setHTML|createContextualFragment"
    )
    stores = r"localStorage|sessionStorage|indexedDB|document\.cookie|caches\b|history\.|serviceWorker"
    assert re.findall(f"{sinks}|{stores}", html) == []


def test_browser_that_has_the_page_gets_304(protected_client):
    first = protected_client.get("/")
    assert first.headers["cache-control"] == "no-cache"
    for known in (first.headers["etag"], f"W/{first.headers['etag']}", f'"other", {first.headers["etag"]}'):
        again = protected_client.get("/", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert protected_client.get("/", headers={"if-none-match": '"other"'}).status_code == 200


def test_page_needs_no_key_and_opens_nothing_else(protected_client):
    expected = ROUTES | {("GET", "/"): 200}
    url = str(protected_client.base_url).rstrip("/")
    assert {
        (method, path): raw_http.send(url, raw_http.request(method, path), method).status for method, path in ROUTES
    } == expected
    assert protected_client.head("/").status_code == 200
    error = protected_client.post("/").json()["error"]
    assert (error["message"], error["code"]) == ("Not allowed to POST on /", "method_not_allowed")


def test_page_asks_for_a_key_only_where_one_is_needed(protected_client):
    assert '<html lang="en" data-auth="api-key">' in protected_client.get("/").text
    assert '<html lang="en" data-auth="none">' in get("http-api-2.0")["body"]
    assert '<html lang="en" data-auth="jwt">' in get("http-api-2.0", auth_mode="jwt")["body"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("path", "stage", "base_path"),
    [
        ("/", "$default", ""),
        ("/prod", "prod", ""),
        ("/prod/", "prod", ""),
        ("/team/emb", "$default", "team/emb"),
        ("/team/emb/", "$default", "team/emb"),
        ("/", "$default", "team/emb"),
        ("/prod/team/emb/", "prod", "team/emb"),
    ],
)
def test_page_is_at_the_root_of_every_base_url(kind, path, stage, base_path):
    response = get(kind, path, stage, base_path=base_path)
    assert (response["statusCode"], response["isBase64Encoded"]) == (200, False)
    assert headers(response)["content-type"] == "text/html; charset=utf-8"
    assert response["body"] == page.FILE.read_text()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("settings", "status"), [({}, 404), ({"auth_mode": "api-key"}, 401)])
def test_path_is_unknown_where_the_page_is_off(kind, settings, status):
    response = get(kind, page=False, **settings)
    assert response["statusCode"] == status
    assert headers(response)["content-type"] == "application/json"


def test_openapi_document_does_not_list_the_page(protected_client):
    document = protected_client.get("/openapi.json", headers={"authorization": f"Bearer {KEY}"}).json()
    assert "/" not in document["paths"]


def test_page_is_imported_and_read_when_it_is_first_requested():
    script = """
import builtins, io, sys
opened, real = [], io.open
io.open = lambda file, *rest, **more: opened.append(str(file)) or real(file, *rest, **more)  # as pathlib calls it
from handler.main import lambda_handler
from tests.events import context, event
assert "handler.api.page" not in sys.modules
assert not [file for file in opened if file.endswith(".html")]
for _ in range(2):
    assert lambda_handler(event("http-api-2.0", method="GET", path="/"), context())["statusCode"] == 200
assert len([file for file in opened if file.endswith("page.html")]) == 1
"""
    environment = clean_environment(PAGE="true")
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True)
