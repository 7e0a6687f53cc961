import os
import sys
from contextlib import suppress

import pytest

from handler.console import MAX_CHARACTERS, ConsoleLog
from handler.telemetry import RequestRecord


@pytest.fixture
def logged(capsys):
    """Return a function that logs a record, and returns what is on the screen."""

    def log(record: RequestRecord, status: int = 200) -> str:
        ConsoleLog().log_request(record, status, 0.0123)
        printed = capsys.readouterr()
        assert printed.out == ""
        return str(printed.err)

    return log


def test_request_is_one_line_with_its_counts(logged):
    record = RequestRecord("id", "POST", "/v1/embeddings", model="tiny", inputs=2, tokens=7)
    assert logged(record) == "POST /v1/embeddings 200 tiny inputs=2 tokens=7 12.3ms\n"


def test_failed_request_has_its_code_and_message(logged):
    record = RequestRecord("id", "GET", "/v1/nothing", error="not_found", message="Invalid URL")
    assert logged(record, 404) == "GET /v1/nothing 404 12.3ms not_found: Invalid URL\n"


def test_client_that_has_disconnected_gets_no_status(logged):
    assert logged(RequestRecord("id", "POST", "/v1/embeddings"), 0) == "POST /v1/embeddings disconnected 12.3ms\n"


@pytest.mark.parametrize(
    "sent", ["a\nb", "a\r\x1b[2Jb", "a\x07\x00b", "a\x9b31mb", "a\u202eb\u2066", "a\u2028b", "\ud800"]
)
def test_what_a_client_sent_cannot_control_the_terminal(logged, sent):
    line = logged(RequestRecord("id", "POST", f"/{sent}", error="code", message=sent), 400)
    assert line[:-1].isprintable()
    assert line.count(ascii(sent)[1:-1]) == 2


def test_what_a_client_sent_is_shortened(logged):
    line = logged(RequestRecord("id", "POST", "/" + "p" * 10_000, error="code", message="m" * 10_000), 400)
    assert len(line) < 2 * MAX_CHARACTERS + 100


def test_other_alphabets_stay_readable(logged):
    assert "'müller-模型' is not served" in logged(
        RequestRecord("id", error="x", message="'müller-模型' is not served")
    )


def test_screen_that_is_gone_does_not_fail_the_request(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with suppress(BrokenPipeError), open(writer, "w") as screen:  # noqa: PTH123 - a descriptor has no path
        monkeypatch.setattr(sys, "stderr", screen)
        ConsoleLog().log_request(RequestRecord("id"), 200, 0)
        monkeypatch.undo()
