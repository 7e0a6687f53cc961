import pytest

from handler.embedding.deadline import Deadline, Progress
from handler.errors import RequestError, UnavailableError


@pytest.fixture
def clock(monkeypatch):
    """Stand still until told otherwise."""
    now = [1000.0]
    monkeypatch.setattr("handler.embedding.deadline.time.monotonic", lambda: now[0])
    return now


def test_work_that_keeps_pace_is_left_alone(clock):
    progress = Progress(Deadline(clock[0], clock[0] + 10), inputs=10)
    for _ in range(10):
        clock[0] += 0.9
        progress.update(100, total=1000)


def test_the_last_word_is_never_thrown_away(clock):
    progress = Progress(Deadline(clock[0], clock[0] + 10), inputs=10)
    clock[0] += 20
    progress.update(1000, total=1000)


def test_hopeless_work_ends_early_and_says_how_many_inputs_fit(clock):
    progress = Progress(Deadline(clock[0], clock[0] + 10), inputs=2048)
    clock[0] += 0.4
    progress.update(1000, total=100_000)  # too early to tell
    clock[0] += 0.4
    with pytest.raises(RequestError, match=r"2048 inputs of 100000 tokens .* 10 seconds .* about 409 of") as refused:
        progress.update(1000, total=100_000)
    assert (refused.value.param, refused.value.code) == ("input", "request_too_long")


def test_one_input_that_takes_too_long_should_be_shorter(clock):
    progress = Progress(Deadline(clock[0], clock[0] + 10), inputs=1)
    clock[0] += 1
    with pytest.raises(RequestError, match="shorten"):
        progress.update(1000, total=100_000)


def test_what_a_slow_load_left_too_little_time_for_is_put_off(clock):
    deadline = Deadline(clock[0], clock[0] + 10)
    clock[0] += 8
    progress = Progress(deadline, inputs=10)
    clock[0] += 1
    with pytest.raises(UnavailableError, match="loading"):
        progress.update(100, total=700)


def test_work_that_slows_down_ends_with_the_deadline(clock):
    progress = Progress(Deadline(clock[0], clock[0] + 10), inputs=10)
    clock[0] += 7
    progress.update(900, total=1000)
    clock[0] += 4
    with pytest.raises(RequestError):
        progress.update(50, total=1000)
