import numpy as np
import pytest

from handler.embedding.deadline import NO_DEADLINE, Progress
from handler.embedding.sharing import Part, Queue, Request, ranges


def request_of(*lengths: int) -> Request:
    """Return a request of sequences with these lengths, the longest first."""
    progress = Progress(NO_DEADLINE, len(lengths), sum(lengths), 1)
    sequences = [list(range(length)) for length in lengths]
    return Request(sequences, np.empty((len(lengths), 1), np.float32), ranges(list(lengths)), NO_DEADLINE, progress)


def queue_of(*requests: Request, batch_tokens: int = 256) -> Queue:
    queue = Queue(batch_tokens)
    for request in requests:
        queue.add(request, sum(map(len, request.sequences)))
    return queue


def runs_of(queue: Queue, workers: int = 1) -> list[list[Part]]:
    """Take every run; the first `workers` of them are taken while so many workers are about to take one."""
    runs: list[list[Part]] = []
    while queue.requests:
        head = next(iter(queue.requests))
        runs.append(queue.take_run(head, max(1, workers - len(runs))))
    return runs


def rows(run: list[Part], requests: list[Request]) -> list[tuple[int, int, int]]:
    return [(requests.index(part.request), part.rows.start, part.rows.stop) for part in run]


@pytest.mark.parametrize(
    ("lengths", "workers", "sizes"),
    [
        ([5], 2, [1]),
        ([5, 5], 2, [1, 1]),  # one for each worker instead of both in one run
        ([5, 5], 1, [2]),
        ([256, 256, 16, 16, 3], 1, [1, 1, 2, 1]),  # each run has one length
        ([300, 300], 1, [1, 1]),  # one sequence at least
        ([2] * 1000, 1, [128] * 7 + [104]),
    ],
)
def test_runs_of_a_request_have_one_length_and_leave_something_for_every_worker(lengths, workers, sizes):
    request = request_of(*lengths)
    runs = runs_of(queue_of(request), workers)
    assert [part.rows.stop - part.rows.start for (part,) in runs] == sizes
    assert [index for (part,) in runs for index in range(part.rows.start, part.rows.stop)] == list(range(len(lengths)))
    assert sum(part.tokens for (part,) in runs) == sum(lengths)
    assert request.running == len(sizes)


def test_requests_share_runs_of_one_length():
    requests = [request_of(9, 4), request_of(4), request_of(9, 9, 4, 4)]
    runs = runs_of(queue_of(*requests))
    assert [rows(run, requests) for run in runs] == [
        [(0, 0, 1), (2, 0, 2)],
        [(1, 0, 1), (2, 2, 4), (0, 1, 2)],
    ]


def test_shared_run_has_no_more_tokens_than_one_of_a_request():
    requests = [request_of(6), request_of(6, 6), request_of(6, 6)]
    runs = runs_of(queue_of(*requests, batch_tokens=20))
    assert [rows(run, requests) for run in runs] == [[(0, 0, 1), (1, 0, 2)], [(2, 0, 2)]]


def test_request_of_many_runs_lets_every_other_take_its_turn():
    many, first, second = request_of(*[8] * 100), request_of(3), request_of(5)
    queue = queue_of(many, first, second, batch_tokens=16)
    heads = []
    while queue.requests:
        head = next(iter(queue.requests))
        heads.append(head)
        queue.take_run(head, 1)
    assert heads == [many, first, second, *[many] * 49]


def test_removed_request_leaves_nothing_that_waits():
    many, other = request_of(9, 8, 8), request_of(8)
    queue = queue_of(many, other)
    (part,) = queue.take_run(many, 1)
    queue.remove(many)
    queue.remove(many)
    assert part.rows == slice(0, 1)
    assert not many.waiting
    assert [rows(run, [many, other]) for run in runs_of(queue)] == [[(1, 0, 1)]]
    assert queue._tokens == 0
