import pytest

from handler.embedding.deadline import Deadline, Progress
from handler.errors import RequestError, UnavailableError


@pytest.fixture
def clock(monkeypatch):
    """Replace the monotonic clock with one that only the test advances."""
    now = [1000.0]
    monkeypatch.setattr("handler.embedding.deadline.time.monotonic", lambda: now[0])
    return now


def test_update_accepts_work_that_is_on_pace(clock):
    progress = Progress(Deadline(clock[0], clock[0] + 10), inputs=10)
    for _ in range(10):
        clock[0] += 0.9
        progress.update(100, total=1000)


def test_update_accepts_finished_work_after_the_deadline(clock):
    progress = Progress(Deadline(clock[0], clock[0] + 10), inputs=10)
    clock[0] += 20
    progress.update(1000, total=1000)


def test_work_that_cannot_finish_in_time_fails_early_and_names_how_many_inputs_fit(clock):
    progress = Progress(Deadline(clock[0], clock[0] + 10), inputs=2048)
    clock[0] += 0.4
    progress.update(1000, total=100_000)  # too early to estimate the pace
    clock[0] += 0.4
    with pytest.raises(RequestError, match=r"2048 inputs of 100000 tokens .* 10 seconds .* about 409 of") as raised:
        progress.update(1000, total=100_000)
    assert (raised.value.param, raised.value.code) == ("input", "request_too_long")


def test_error_for_a_single_slow_input_asks_for_a_shorter_one(clock):
    progress = Progress(Deadline(clock[0], clock[0] + 10), inputs=1)
    clock[0] += 1
    with pytest.raises(RequestError, match="shorten"):
        progress.update(1000, total=100_000)


def test_request_delayed_by_a_slow_load_gets_unavailable_error(clock):
    deadline = Deadline(clock[0], clock[0] + 10)
    clock[0] += 8
    progress = Progress(deadline, inputs=10)
    clock[0] += 1
    with pytest.raises(UnavailableError, match="loading"):
        progress.update(100, total=700)


def test_work_that_slows_down_fails_at_the_deadline(clock):
    progress = Progress(Deadline(clock[0], clock[0] + 10), inputs=10)
    clock[0] += 7
    progress.update(900, total=1000)
    clock[0] += 4
    with pytest.raises(RequestError):
        progress.update(50, total=1000)
