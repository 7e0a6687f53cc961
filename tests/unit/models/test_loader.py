import gc
import threading
import time
import weakref
from contextlib import suppress
from typing import NoReturn

import pytest
from tokenizers import Tokenizer

from handler.errors import ArtifactError, ServiceError, UnavailableError
from handler.models.loader import BackgroundLoader
from tests import tiny
from tests.clock import replace_clock
from tests.process import wait_until


class FlakyLoad:
    """Raises the given exceptions one by one, then returns "loaded"; counts its calls."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "loaded"


def test_result_is_loaded_once():
    load = FlakyLoad()
    reports: list[ServiceError] = []
    loader = BackgroundLoader(load, reports.append)
    assert loader.result is None
    assert [loader.get(5), loader.get(5), loader.result] == ["loaded"] * 3
    assert (load.calls, reports) == (1, [])


def test_concurrent_callers_share_one_attempt():
    gate = threading.Event()
    load = FlakyLoad()
    loader = BackgroundLoader(lambda: gate.wait(5) and load(), lambda _: None)
    first, second = loader.start(), loader.start()
    gate.set()
    assert first is second
    assert (first.result(5), load.calls) == ("loaded", 1)


def test_failure_is_reported_once_and_kept_until_its_backoff_ends(monkeypatch):
    now = 1000.0
    replace_clock(monkeypatch, lambda: now, "handler.models.loader")
    load = FlakyLoad(ArtifactError("no"), ArtifactError("no again"), ArtifactError("never"))
    reports: list[ServiceError] = []
    loader = BackgroundLoader(load, reports.append)
    for message, backoff in (("no", 2), ("no again", 4), ("never", 8)):
        for elapsed in (0.0, 0.5):
            now += elapsed
            with pytest.raises(UnavailableError, match=f"^{message}$") as raised:
                loader.get(5)
            assert raised.value.retry_after == backoff - elapsed
        now += backoff
    assert loader.get(5) == "loaded"
    assert [report.message for report in reports] == ["no", "no again", "never"]
    assert load.calls == 4


def test_backoff_is_at_most_a_minute(monkeypatch):
    replace_clock(monkeypatch, lambda: 0.0, "handler.models.loader")
    loader = BackgroundLoader(FlakyLoad(ArtifactError("no")), lambda _: None)
    loader._failures = 10_000
    with pytest.raises(UnavailableError) as raised:
        loader.get(5)
    assert raised.value.retry_after == 60


def test_get_returns_within_its_timeout():
    gate = threading.Event()
    loader = BackgroundLoader(lambda: gate.wait(5), lambda _: None)
    with pytest.raises(UnavailableError, match=r"still loading after 0\.01 seconds") as raised:
        loader.get(0.01)
    assert raised.value.retry_after == 1
    gate.set()
    assert loader.get(5)


def test_unexpected_exception_counts_as_a_failure():
    reports: list[ServiceError] = []
    with pytest.raises(UnavailableError, match="MemoryError: too much"):
        BackgroundLoader(FlakyLoad(MemoryError("too much")), reports.append).get(5)
    assert [report.message for report in reports] == ["MemoryError: too much"]


def test_failure_of_an_inner_loader_is_not_reported_again():
    reports: list[ServiceError] = []
    with pytest.raises(UnavailableError, match="inner"):
        BackgroundLoader(FlakyLoad(UnavailableError("inner", 3)), reports.append).get(5)
    assert reports == []


def test_waiting_for_an_inner_loader_does_not_prolong_the_backoff():
    loader = BackgroundLoader(FlakyLoad(*[UnavailableError("inner", 0)] * 5, ArtifactError("own")), lambda _: None)
    for _ in range(5):
        with pytest.raises(UnavailableError, match="inner"):
            loader.get(5)
    with pytest.raises(UnavailableError, match="own") as raised:
        loader.get(5)
    assert raised.value.retry_after <= 2


def panic() -> NoReturn:
    """Panic like Rust code, which raises a BaseException."""
    Tokenizer.from_buffer(tiny.panicking("load"))
    raise AssertionError


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


def leave() -> NoReturn:
    raise SystemExit("gone")


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (panic, "PanicException: Precompiled"),
        (interrupt, "KeyboardInterrupt"),
        (leave, "SystemExit: gone"),
    ],
)
def test_attempt_ends_for_every_exception(load, message):
    reports: list[ServiceError] = []
    loader = BackgroundLoader(load, reports.append)
    started = time.monotonic()
    with pytest.raises(UnavailableError, match=message):
        loader.get(5)
    assert time.monotonic() - started < 1
    assert len(reports) == 1


def test_thread_that_cannot_start_is_a_failure(monkeypatch):
    def start(_: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    reports: list[ServiceError] = []
    loader = BackgroundLoader(FlakyLoad(), reports.append)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(UnavailableError, match="RuntimeError: can't start new thread") as raised:
            loader.get(5)
    assert raised.value.retry_after > 1
    assert len(reports) == 1
    loader._retry_at = 0
    assert loader.get(5) == "loaded"


def test_failing_report_does_not_keep_the_attempt_running(caplog):
    def report(_: ServiceError) -> NoReturn:
        raise OSError("the log is full")

    started = time.monotonic()
    with pytest.raises(UnavailableError, match=r"^no$"):
        BackgroundLoader(FlakyLoad(ArtifactError("no")), report).get(5)
    assert time.monotonic() - started < 1
    assert "could not be reported: no" in caplog.text


def test_backoff_starts_again_after_success_and_after_invalidate(monkeypatch):
    now = 1000.0
    replace_clock(monkeypatch, lambda: now, "handler.models.loader")
    load = FlakyLoad(ArtifactError("one"), ArtifactError("two"))
    loader = BackgroundLoader(load, lambda _: None)

    def backoff() -> float:
        nonlocal now
        with pytest.raises(UnavailableError) as raised:
            loader.get(5)
        now += raised.value.retry_after
        return raised.value.retry_after

    assert [backoff(), backoff(), loader.get(5)] == [2, 4, "loaded"]
    assert loader._failures == 0
    load.failures = [ArtifactError("three"), ArtifactError("four"), ArtifactError("five")]
    loader.invalidate()
    assert [backoff(), backoff()] == [2, 4]
    loader.invalidate()
    assert backoff() == 2


def test_failure_keeps_no_frames_of_the_load_or_of_requests():
    class Kept:
        """An object that a frame may keep alive, such as a model's bytes or a request's texts."""

    kept: list[weakref.ref[Kept]] = []

    def hold() -> Kept:
        held = Kept()
        kept.append(weakref.ref(held))
        return held

    def load() -> NoReturn:
        _held = hold()
        raise ArtifactError("no")

    def request() -> None:
        _held = hold()
        with suppress(UnavailableError):
            loader.get(5)

    before = threading.active_count()
    loader = BackgroundLoader(load, lambda _: None)
    request()
    request()
    wait_until(lambda: threading.active_count() <= before)
    gc.collect()
    assert [reference() for reference in kept] == [None, None, None]


def test_load_does_not_keep_the_process_alive():
    assert BackgroundLoader(lambda: threading.current_thread().daemon, lambda _: None).get(5)
