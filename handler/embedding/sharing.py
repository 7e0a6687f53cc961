"""The requests of which token sequences wait, and which of the sequences share a run."""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import groupby
from threading import Lock

from handler.embedding.deadline import Deadline, Progress
from handler.embedding.pooling import Vectors


@dataclass(slots=True, eq=False)
class Request:
    """The token sequences of one request.

    sequences  distinct, the longest first
    pooled     float32 (sequences, hidden), filled by the runs
    waiting    by length, the longest first: the range of the sequences that no run has taken
    running    number of parts that runs have taken and not finished
    error      why the request has failed; then nothing of it waits
    wake       what its thread waits for while it sleeps: until the request is done, or the thread is chosen as a worker
    chosen     whether its thread is a worker when it wakes
    """

    sequences: list[list[int]]
    pooled: Vectors
    waiting: dict[int, range]
    deadline: Deadline
    progress: Progress
    running: int = 0
    error: BaseException | None = None
    wake: "Lock | None" = None
    chosen: bool = False

    @property
    def is_done(self) -> bool:
        """Whether nothing of it waits or runs."""
        return not self.waiting and not self.running

    def prepare_sleep(self) -> "Lock":
        """Return the lock that its thread is to wait for."""
        self.wake = Lock()
        self.wake.acquire()
        return self.wake

    def end_sleep(self) -> None:
        """Wake its thread, if that sleeps."""
        if self.wake:
            self.wake.release()
            self.wake = None


@dataclass(slots=True, eq=False)
class Part:
    """What a run reads of a request: the sequences of a slice, with so many tokens; `error` is why that has failed."""

    request: Request
    rows: slice
    tokens: int
    error: BaseException | None = None


class Queue:
    """The `requests` of which something waits, in the order of their turns.

    In its turn, a request gets a run, which is filled up with sequences of the others. Then it goes to the end: so each
    waits for at most one run of every other, however many texts that has.
    """

    def __init__(self, batch_tokens: int) -> None:
        """Form runs of at most about so many tokens."""
        self.requests: OrderedDict[Request, None] = OrderedDict()
        self._batch_tokens = batch_tokens
        self._tokens = 0  # that wait

    def add(self, request: Request, tokens: int) -> None:
        """Append a request of which so many tokens wait."""
        self.requests[request] = None
        self._tokens += tokens

    def remove(self, request: Request) -> None:
        """Have nothing of a request wait."""
        self._tokens -= sum(length * len(indexes) for length, indexes in request.waiting.items())
        request.waiting.clear()
        self.requests.pop(request, None)

    def sleeper(self) -> Request | None:
        """Return the first request whose thread sleeps, or None."""
        return next((request for request in self.requests if request.wake), None)

    def take_run(self, head: Request, workers: int) -> list[Part]:
        """Take the longest sequences of a request, and others of their length: none of them needs padding.

        They have at most about `batch_tokens` tokens, or are one sequence, and fewer where another of the workers that
        are about to take a run would find nothing.
        """
        length = next(iter(head.waiting))
        share = -(-self._tokens // workers)
        room = max(1, min(self._batch_tokens, share) // length)
        self.requests.move_to_end(head)
        run: list[Part] = []
        for request in (head, *self.requests):
            if not room:
                break
            if length in request.waiting:
                first, last = self._take(request, length, room)
                run.append(Part(request, slice(first, last), (last - first) * length))
                room -= last - first
        return run

    def _take(self, request: Request, length: int, room: int) -> tuple[int, int]:
        """Take as many of a request's sequences of a length as there is room for; return the range of their indexes."""
        indexes = request.waiting[length]
        first, last = indexes.start, indexes.stop
        if last - first > room:
            last = first + room
            request.waiting[length] = range(last, indexes.stop)
        else:
            del request.waiting[length]
            if not request.waiting:
                del self.requests[request]
        request.running += 1
        self._tokens -= (last - first) * length
        return first, last


def ranges(lengths: list[int]) -> dict[int, range]:
    """Return the range of the indexes of each length; equal lengths are neighbours."""
    found, start = {}, 0
    for length, same in groupby(lengths):
        end = start + len(list(same))
        found[length] = range(start, end)
        start = end
    return found
