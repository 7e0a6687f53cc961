from threading import Event

import pytest

from handler.embedding.deadline import MIN_BATCHES, NO_DEADLINE, Deadline, Progress
from handler.errors import CancelledRequestError, RequestError, UnavailableError
from tests.clock import replace_clock


class Clock:
    """A monotonic clock that only the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def work(self, progress: Progress, *batches: tuple[int, float]) -> None:
        """Report one worker's micro-batches, each with its tokens and its duration in seconds."""
        for tokens, seconds in batches:
            self.now += seconds
            progress.update(tokens, seconds)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    replace_clock(monkeypatch, lambda: clock.now, "handler.embedding.deadline")
    return clock


def progress(clock: Clock, seconds: float, *, inputs: int, tokens: int, workers: int = 1) -> Progress:
    return Progress(Deadline(clock.now, clock.now + seconds), inputs, tokens, workers)


def test_work_on_pace_is_not_interrupted(clock):
    clock.work(progress(clock, 10, inputs=10, tokens=1000), *[(100, 0.9)] * 10)


def test_work_ends_once_the_client_disconnects(clock):
    disconnected = Event()
    deadline = Deadline(clock.now, is_cancelled=disconnected.is_set)
    work = Progress(deadline, 10, 1000, 1)
    deadline.check()
    clock.work(work, (100, 0.1))
    disconnected.set()
    with pytest.raises(CancelledRequestError):
        deadline.check()
    with pytest.raises(CancelledRequestError):
        clock.work(work, (100, 0.1))


def test_finished_request_is_not_rejected(clock):
    clock.work(progress(clock, 10, inputs=10, tokens=1000), (1000, 20))


def test_work_that_cannot_finish_in_time_fails_early_and_names_how_many_inputs_fit(clock):
    slow = progress(clock, 10, inputs=2048, tokens=100_000)
    clock.work(slow, *[(100, 0.05)] * MIN_BATCHES)  # too early to estimate the pace
    with pytest.raises(RequestError, match=r"2048 inputs of 100000 tokens .* 10 seconds .* about 327 of") as raised:
        clock.work(slow, *[(100, 0.05)] * 10)
    assert (raised.value.param, raised.value.code) == ("input", "request_too_long")
    assert clock.now < 1001


def test_error_for_a_single_slow_input_asks_for_a_shorter_one(clock):
    slow = progress(clock, 10, inputs=1, tokens=100_000)
    clock.work(slow, *[(100, 0.1)] * (MIN_BATCHES - 1))  # too early to estimate the pace
    with pytest.raises(RequestError, match="shorten"):
        clock.work(slow, (100, 0.1))


def test_pace_is_the_median_of_the_micro_batches(clock):
    fast, slow = [(10, 0.01)], [(10, 0.2)]
    clock.work(progress(clock, 10, inputs=10, tokens=1000), *slow * 4, *fast * 5)
    with pytest.raises(RequestError):
        clock.work(progress(clock, 10, inputs=10, tokens=1000), *slow * 5, *fast * 4)


@pytest.mark.parametrize("delayed", range(MIN_BATCHES + 3))
def test_single_delay_does_not_fail_a_request(clock, delayed):
    batches = [(256, 0.01)] * 300
    batches[delayed] = (256, 5)
    clock.work(progress(clock, 28, inputs=2048, tokens=256 * 300), *batches)


def test_pace_accounts_for_parallel_workers(clock):
    busy = progress(clock, 10, inputs=100, tokens=10_000, workers=2)
    for _ in range(50):
        clock.now += 0.16
        busy.update(100, 0.16)
        busy.update(100, 0.16)  # the other worker's, at the same time
    with pytest.raises(RequestError):
        clock.work(progress(clock, 10, inputs=100, tokens=10_000), *[(100, 0.16)] * 100)


def test_request_delayed_by_a_slow_load_can_be_retried(clock):
    deadline = Deadline(clock.now, clock.now + 10)
    clock.now += 8
    with pytest.raises(UnavailableError, match="too little time"):
        clock.work(Progress(deadline, 10, 700, 1), *[(10, 0.1)] * 70)


def test_request_delayed_during_inference_can_be_retried(clock):
    with pytest.raises(UnavailableError, match="too little time"):
        clock.work(progress(clock, 10, inputs=10, tokens=1000), *[(10, 0.01)] * 20, (10, 20))


def test_work_that_slows_down_fails_at_the_deadline(clock):
    slowing = progress(clock, 10, inputs=10, tokens=1000)
    with pytest.raises(RequestError):
        clock.work(slowing, *[(90, 0.7)] * 10, *[(10, 0.45)] * 10)
    assert clock.now < 1011


@pytest.mark.parametrize("seconds", [-4, 0, 0.1, 1, 4])
def test_error_message_contains_no_negative_number(clock, seconds):
    with pytest.raises(RequestError) as raised:
        clock.work(progress(clock, seconds, inputs=2048, tokens=100_000), *[(100, 0.5)] * 100)
    assert " -" not in raised.value.message


def test_check_rejects_a_passed_deadline(clock):
    NO_DEADLINE.check()
    deadline = Deadline(clock.now, clock.now + 1)
    deadline.check()
    clock.now += 2
    with pytest.raises(UnavailableError, match="too little time"):
        deadline.check()


@pytest.mark.parametrize(("seconds", "ends"), [(3, 1003), (30, 1010)])
def test_earlier_deadline_is_of_the_same_request(clock, seconds, ends):
    deadline = Deadline(clock.now - 1, clock.now + 10, lambda: True)
    earlier = deadline.within(seconds)
    assert (earlier.arrived, earlier.ends, earlier.is_cancelled()) == (clock.now - 1, ends, True)
