"""What runs batches, for those who create them."""

from typing import Protocol


class Runner(Protocol):
    """Runs batches in the background; raises a BulkError if it cannot start one."""

    def start(self, batch: str) -> None:
        """Go on with a batch, whose folder or prefix is at that URI, unless it is running; it may have ended."""
