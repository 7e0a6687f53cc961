"""Fixtures: the service in its own process, Chromium, and a page whose requests and messages are recorded."""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import openai
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

ROOT = Path(__file__).parents[2]
MODEL = "all-MiniLM-L6-v2"
KEY = "sk-the-key-of-alice-in-wonderland"
API_KEYS = f"alice:{hashlib.sha256(KEY.encode()).hexdigest()}"
TEXTS = ["a cat sat on the mat", "a kitten sleeps on the rug", "stocks fell on Monday", "the bank raised its rates"]


@dataclass
class Service:
    """The local service; its address, without /v1."""

    address: str
    process: subprocess.Popen[str]

    def vectors(self, texts: list[str], dimensions: int | None = None) -> np.ndarray:
        """Return the vectors that the official client gets."""
        with openai.OpenAI(base_url=f"{self.address}/v1", api_key=KEY) as client:
            options = {"dimensions": dimensions} if dimensions else {}
            response = client.embeddings.create(model=MODEL, input=texts, encoding_format="float", **options)
        return np.array([row.embedding for row in response.data], np.float32)


@contextmanager
def serve(port: int = 0, **settings: str) -> Iterator[Service]:
    """Start the service in the project's environment with these settings."""
    command = [ROOT / ".venv/bin/python", "-m", "handler.local", "--port", str(port), "--quiet"]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stdout=subprocess.PIPE, text=True) as process:
        try:
            found = re.search(r"http://[\d.:]+", process.stdout.readline())
            assert found, "the service did not start; its error is on stderr"
            yield Service(found[0], process)
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with serve() as each:
        yield each


@pytest.fixture(scope="session")
def protected_service() -> Iterator[Service]:
    with serve(API_KEYS=API_KEYS) as each:
        yield each


@pytest.fixture(scope="session")
def base_path_service() -> Iterator[Service]:
    with serve(BASE_PATH="team/emb") as each:
        yield each


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser of this machine."""
    program = subprocess.check_output([Path(__file__).with_name("browser.sh")], text=True).strip()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])  # as root, it needs that
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as each:
        yield each


@dataclass
class Watch:
    """What a page has asked for, and what it has complained about.

    requests    the origin and path of every request
    complaints  errors and warnings on the console, uncaught exceptions, and violations of its policy
    """

    requests: list[tuple[str, str]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def add_message(self, message: ConsoleMessage) -> None:
        """Note an error or a warning."""
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def add_request(self, url: str) -> None:
        """Note a request; the icon is in the page."""
        parts = urlsplit(url)
        if parts.scheme != "data":
            self.requests.append((f"{parts.scheme}://{parts.netloc}", parts.path))


@dataclass
class Tab:
    """A page in the browser, and what happens in it."""

    page: Page
    watch: Watch

    def embed(self, texts: list[str]) -> None:
        """Replace the texts, and embed them."""
        self.page.get_by_label("Texts, one per line").fill("\n".join(texts))
        self.page.get_by_role("button", name="Embed").click()
        self.expect_status(f"Embedded {len(texts)} text")

    def expect_status(self, text: str) -> None:
        """Wait until the status says this."""
        self.page.get_by_role("status").filter(has_text=text).wait_for()

    def expect_error(self, text: str) -> None:
        """Wait until the alert says this."""
        self.page.get_by_role("alert").filter(has_text=text).wait_for()

    def heat_map(self) -> np.ndarray:
        """Return the values in the heat map."""
        rows = self.page.locator("#heat tbody tr").all()
        return np.array([[number(cell) for cell in row.locator("td").all_text_contents()] for row in rows])

    def code(self, language: str) -> str:
        """Copy the code in a language; return what the clipboard holds."""
        self.page.get_by_label(language, exact=True).check()
        self.page.locator("#copy-code").click()
        self.expect_status("Copied")
        return self.page.evaluate("navigator.clipboard.readText()")


def number(text: str) -> float:
    """Read a number as the page writes it."""
    return float(text.replace("\N{MINUS SIGN}", "-"))


@contextmanager
def opened(context: BrowserContext, url: str) -> Iterator[Tab]:
    """Open a URL in a new tab; check that it has asked no other origin for anything, and has complained of nothing."""
    page, watch = context.new_page(), Watch()
    page.set_default_timeout(10_000)
    page.on("console", watch.add_message)
    page.on("pageerror", lambda error: watch.complaints.append(str(error)))
    page.on("request", lambda request: watch.add_request(request.url))
    page.add_init_script("document.onsecuritypolicyviolation = (event) => console.error(event.violatedDirective);")
    page.goto(url)
    yield Tab(page, watch)
    parts = urlsplit(url)
    assert {origin for origin, _ in watch.requests} == {f"{parts.scheme}://{parts.netloc}"}
    assert watch.complaints == []
    page.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(permissions=["clipboard-read", "clipboard-write"]) as context:
        yield context


@pytest.fixture
def tab(context: BrowserContext, service: Service) -> Iterator[Tab]:
    with opened(context, f"{service.address}/") as tab:
        tab.expect_status("Embedded 9 texts")
        yield tab
