"""What runs batches, for those who create them."""

from typing import Protocol


class Runner(Protocol):
    """Runs batches in the background."""

    def start(self, batch: str) -> None:
        """Let a run of a batch begin, from what is now in its folder or prefix at that URI.

        It may be called again for the same batch, whether or not another run goes on or the batch has ended, and also
        for one that has been withdrawn: then there is no batch.json, and nothing to do.

        Raises:
            BulkError: no run may begin.
        """


class NoRunner:
    """Runs nothing: a batch remains as it was created."""

    def start(self, batch: str) -> None:
        """Do nothing."""
