"""Batches under random scripts of faults: each ends, and each of its requests is in exactly one of both files."""

import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.batches import files
from handler.batches.folder import BatchFolder
from handler.bulk import batch_validate
from handler.bulk.batch_desk import Desk
from handler.bulk.batch_finish import finish
from handler.bulk.batch_shard import run_shard
from handler.bulk.batch_validate import validate
from handler.errors import BulkError, NotFoundError
from handler.storage.entries import Entry
from handler.storage.folder import Folder
from tests.unit.bulk.batches import (
    DAY,
    NOW,
    OWNER,
    SETTINGS,
    cancel,
    catalog,
    content,
    create,
    jsonl,
    line,
    results,
    run,
)

MODELS = catalog()
REQUESTS, SHARDS, OPERATIONS = 7, 4, 20
CONTENT = jsonl(line(f"id-{number}", "" if number == 3 else f"the {number}") for number in range(REQUESTS))
IDS = sorted(f"id-{number}" for number in range(REQUESTS))


class Killed(Exception):  # noqa: N818 - it stands for a signal
    """The process has been killed."""


class Faulty(Folder):
    """A folder whose n-th operation is disturbed: before it, after it, or in the middle of what it writes."""

    def __init__(self, path: Path, operation: int, when: str, fault: Callable[[], None]) -> None:
        super().__init__(path)
        self._left, self._when, self._fault = operation, when, fault

    def _run(self, operation: Callable[..., Any], *arguments: Any) -> Any:
        self._left -= 1
        disturbed = self._left == 0
        if disturbed and self._when == "before":
            self._fault()
        result = operation(*arguments)
        if disturbed and self._when == "after":
            self._fault()
        return result

    def list(self, prefix: str = "") -> list[Entry]:
        found: list[Entry] = self._run(super().list, prefix)
        return found

    def exists(self, name: str) -> bool:
        return bool(self._run(super().exists, name))

    def read(self, name: str) -> bytes:
        return bytes(self._run(super().read, name))

    def stream(self, entry: Entry, start: int = 0) -> BinaryIO:
        file: BinaryIO = self._run(super().stream, entry, start)
        return file

    def write(self, name: str, content: bytes) -> None:
        self._run(super().write, name, content)

    def create(self, name: str, content: bytes) -> bool:
        return bool(self._run(super().create, name, content))

    def write_stream(self, name: str, blocks: Iterable[bytes]) -> None:
        def disturbed() -> Iterator[bytes]:
            for block in blocks:
                yield block[: len(block) // 2]
                if self._left == 0 and self._when == "within":
                    self._fault()
                yield block[len(block) // 2 :]

        self._run(super().write_stream, name, disturbed())

    def delete(self, names: Iterable[str]) -> None:
        self._run(super().delete, names)


def act(folder: BatchFolder, action: str, now: int) -> None:
    """Do what a runner, the API or the owner does; what it raises has been raised on purpose."""
    match action.partition(" "):
        case "validate", _, _:
            validate(folder, MODELS, now)
        case "shard", _, number:
            run_shard(folder, MODELS, int(number), now)
        case "finish", _, _:
            finish(folder, now)
        case "cancel", _, _:
            cancel(folder, now)
        case _:
            files.delete(folder.storage, OWNER, files.get(folder.storage, OWNER, folder.record().input_file_id, NOW))


ACTIONS = [
    "validate",
    *(f"shard {number}" for number in range(SHARDS)),
    *(f"shard {n}" for n in range(SHARDS)),
    "cancel",
]
STEPS = st.tuples(
    st.sampled_from(ACTIONS * 2 + ["finish", "delete"]),
    st.integers(1, OPERATIONS),
    st.sampled_from(["before", "within", "after"]),
    st.sampled_from(["killed", "refused", *ACTIONS, "finish"]),
)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the response of each request of a batch that nothing disturbs."""
    folder = create(tmp_path_factory.mktemp("expected"), CONTENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_validate, "SHARD_INPUTS", 2)
        return responses(folder)


def responses(folder: BatchFolder) -> dict[str, Any]:
    """Run a batch if it has not ended; return the responses by ID, without theirs."""
    output, errors = results(folder, folder.end() or run(folder, MODELS))
    found = {
        each["custom_id"]: each["response"] and {**each["response"], "request_id": None} for each in output + errors
    }
    assert sorted(each["custom_id"] for each in output + errors) == IDS
    assert all((each["response"] is None) != (each["error"] is None) for each in output + errors)
    return found


@given(
    first=st.sampled_from(["validate", ""]),
    steps=st.lists(STEPS, max_size=8),
    late=st.booleans(),
)
def test_each_request_is_in_one_file_whatever_happens(expected, first, steps, late):
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_validate, "SHARD_INPUTS", 2)
        patch.setattr("handler.storage.folder._sync", lambda _: None)  # power does not fail here
        path = Path(name)
        folder = create(path, CONTENT)
        if first:
            act(folder, first, NOW)
        for action, operation, when, what in steps:

            def fault(what: str = what) -> None:
                if what == "killed":
                    raise Killed
                if what == "refused":
                    raise BulkError("refused")
                attempt(folder, what)

            attempt(BatchFolder(Faulty(path, operation, when, fault), OWNER, folder.id), action)
        outcome, receipts = folder.outcome(), folder.receipts()
        now = NOW + DAY if late else NOW
        assert Desk(Folder(path), SETTINGS, clock=lambda: now, _catalog=MODELS).run()
        check(folder, expected)
        end, plan = folder.end(), folder.plan()
        assert end
        if plan and not outcome and end.ending != "cancelled":
            assert end.completed + end.failed == REQUESTS
            assert end.completed >= sum(receipt.completed for receipt in receipts.values())


def attempt(folder: BatchFolder, action: str) -> None:
    """Do something that may fail."""
    try:
        act(folder, action, NOW)
    except (Killed, BulkError):
        pass
    except NotFoundError:
        assert action == "delete"


def check(folder: BatchFolder, expected: dict[str, Any]) -> None:
    """Check the end of a batch, and that more runs change nothing of it."""
    end = folder.end()
    assert end
    if not folder.plan():
        assert (end.ending in {"failed", "cancelled"}, end.output_file_id, end.error_file_id) == (True, None, None)
        return
    found = responses(folder)
    assert {each: response for each, response in found.items() if response} == {
        each: expected[each] for each in found if found[each]
    }
    before = content(folder, end.output_file_id), content(folder, end.error_file_id)
    for action in itertools.islice(ACTIONS, 5):
        attempt(folder, action)
    assert finish(folder, NOW + 2 * DAY) == end
    assert before == (content(folder, end.output_file_id), content(folder, end.error_file_id))
