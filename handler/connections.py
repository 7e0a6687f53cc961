"""Timeouts and limits of connections to the local server; in front of Lambda, API Gateway has its own."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 30.0  # for a request to arrive, or for MIN_BYTES of it: a file of 200 MB may take longer
MIN_BYTES = 1 << 20
# Between requests. Longer than clients keep an idle connection, or they send a request just as it is closed: httpx and
# Node's agent keep it for 5 seconds, a load balancer of AWS for 60, Go's transport for 90.
KEEP_ALIVE_SECONDS = 120
MAX_WAITING = 100  # connections whose request has not arrived: a process may open 1,024 files, on macOS 256


class Connection(H11Protocol):
    """uvicorn's connection; it is closed if its request does not arrive, or if too many others wait for theirs."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Close the connection that has waited the longest if there are too many."""
        super().connection_made(transport)
        self.opened_at, self.received = self.loop.time(), 0
        waiting = [each for each in self.connections if isinstance(each, Connection) and each.is_waiting]
        if len(waiting) > MAX_WAITING:
            min(waiting, key=lambda each: each.opened_at).transport.close()
        self._close_unless_changed(None)

    def data_received(self, data: bytes) -> None:
        """Count what arrives."""
        self.received += len(data)
        super().data_received(data)

    @property
    def is_waiting(self) -> bool:
        """Whether the connection waits for the rest of a request."""
        return not self.transport.is_closing() and self.conn.their_state in {h11.IDLE, h11.SEND_BODY}

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer, which would keep a closed connection with its last request in memory."""
        self._timer.cancel()
        super().connection_lost(exc)

    def _close_unless_changed(self, before: object) -> None:
        """Close the connection if it still waits for the same request; check again every REQUEST_SECONDS.

        Between requests, when nothing of the next one has arrived, uvicorn's own timer runs instead.
        """
        is_idle = self.timeout_keep_alive_task is not None
        now = self.cycle, self.conn.their_state, is_idle, self.received // MIN_BYTES
        if now == before and self.is_waiting and not is_idle:
            self.transport.close()
        self._timer = self.loop.call_later(REQUEST_SECONDS, self._close_unless_changed, now)
