"""Iterators that threads run ahead: how reading, inference and writing overlap."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Self, TypeVar

Item = TypeVar("Item")

POLL_SECONDS = 0.1  # the time in which a thread notices that all are to stop
# A worker that returns from ONNX Runtime waits so long for the GIL, and not Python's 5 ms, while a thread reads.
SWITCH_SECONDS = 0.0005
JOIN_SECONDS = 0.5  # the time that a thread has to end; one that waits for the network is left behind


class Background:
    """A context in which threads run iterators ahead; its end stops them. `stop` is set once they are to stop."""

    def __init__(self) -> None:
        self.stop = Event()
        self._threads: list[Thread] = []

    def __enter__(self) -> Self:
        """Return the context."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the threads."""
        self.stop.set()
        for thread in self._threads:
            thread.join(JOIN_SECONDS)

    def run_ahead(self, items: Iterable[Item], depth: int) -> Iterator[Item]:
        """Return the items, of which a thread takes up to `depth` ahead; an error of theirs is raised at its place."""
        queue: Queue[Future[Item] | None] = Queue(depth)
        thread = Thread(target=self._fill, args=(queue, items), name="bulk", daemon=True)
        self._threads.append(thread)
        thread.start()
        return self._drain(queue)

    def _drain(self, queue: "Queue[Future[Item] | None]") -> Iterator[Item]:
        while not self.stop.is_set():
            with suppress(Empty):
                taken = queue.get(timeout=POLL_SECONDS)
                if taken is None:
                    return
                yield taken.result()

    def _fill(self, queue: "Queue[Future[Item] | None]", items: Iterable[Item]) -> None:
        try:
            for item in items:
                taken: Future[Item] = Future()
                taken.set_result(item)
                self._put(queue, taken)
                if self.stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised where the items are taken
            failed: Future[Item] = Future()
            failed.set_exception(error)
            self._put(queue, failed)
        else:
            self._put(queue, None)

    def _put(self, queue: "Queue[Future[Item] | None]", entry: "Future[Item] | None") -> None:
        while not self.stop.is_set():
            with suppress(Full):
                queue.put(entry, timeout=POLL_SECONDS)
                return
