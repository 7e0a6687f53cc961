import threading
import time

import pytest

from handler.errors import ArtifactError, ServiceError, UnavailableError
from handler.models.loader import BackgroundLoader


class Maker:
    """Fails as often as it is told, and counts."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "made"


def test_a_result_is_made_once():
    maker = Maker()
    reports: list[ServiceError] = []
    attempts = BackgroundLoader(maker, reports.append)
    assert attempts.result is None
    assert [attempts.get(5), attempts.get(5), attempts.result] == ["made"] * 3
    assert (maker.calls, reports) == (1, [])


def test_those_who_ask_at_once_share_an_attempt():
    gate = threading.Event()
    maker = Maker()
    attempts = BackgroundLoader(lambda: gate.wait(5) and maker(), lambda _: None)
    first, second = attempts.start(), attempts.start()
    gate.set()
    assert first is second
    assert (first.result(5), maker.calls) == ("made", 1)


def test_a_failure_is_reported_once_and_kept_until_the_pause_is_over(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    maker = Maker(ArtifactError("no"), ArtifactError("no again"), ArtifactError("never"))
    reports: list[ServiceError] = []
    attempts = BackgroundLoader(maker, reports.append)
    for message, pause in (("no", 2), ("no again", 4), ("never", 8)):
        for elapsed in (0.0, 0.5):
            now += elapsed
            with pytest.raises(UnavailableError, match=f"^{message}$") as failed:
                attempts.get(5)
            assert failed.value.retry_after == pause - elapsed
        now += pause
    assert attempts.get(5) == "made"
    assert [report.message for report in reports] == ["no", "no again", "never"]
    assert maker.calls == 4


def test_pauses_are_a_minute_at_most(monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    attempts = BackgroundLoader(Maker(ArtifactError("no")), lambda _: None)
    attempts._failures = 1000
    with pytest.raises(UnavailableError) as failed:
        attempts.get(5)
    assert failed.value.retry_after == 60


def test_nobody_waits_longer_than_they_like():
    gate = threading.Event()
    attempts = BackgroundLoader(lambda: gate.wait(5), lambda _: None)
    with pytest.raises(UnavailableError, match=r"still loading after 0\.01 seconds") as failed:
        attempts.get(0.01)
    assert failed.value.retry_after == 1
    gate.set()
    assert attempts.get(5)


def test_what_nobody_expected_is_a_failure_too():
    reports: list[ServiceError] = []
    with pytest.raises(UnavailableError, match="MemoryError: too much"):
        BackgroundLoader(Maker(MemoryError("too much")), reports.append).get(5)
    assert [report.message for report in reports] == ["MemoryError: too much"]


def test_what_was_reported_further_in_is_not_reported_again():
    reports: list[ServiceError] = []
    with pytest.raises(UnavailableError, match="inner"):
        BackgroundLoader(Maker(UnavailableError("inner", 3)), reports.append).get(5)
    assert reports == []
