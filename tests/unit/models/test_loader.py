import threading
import time

import pytest

from handler.errors import ArtifactError, ServiceError, UnavailableError
from handler.models.loader import BackgroundLoader


class FlakyLoad:
    """Raises the given exceptions one by one, then returns "loaded"; counts its calls."""

    def __init__(self, *failures: Exception) -> None:
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
    monkeypatch.setattr(time, "monotonic", lambda: now)
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
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    loader = BackgroundLoader(FlakyLoad(ArtifactError("no")), lambda _: None)
    loader._failures = 1000
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
