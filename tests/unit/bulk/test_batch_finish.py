"""The end of a batch: every request in exactly one of both files, at any moment, also by two processes."""

from typing import Any

import pytest

from handler.batches import batches
from handler.batches.folder import BatchFolder
from handler.bulk import batch_validate
from handler.bulk.batch_finish import finish
from handler.bulk.batch_shard import run_shard
from handler.bulk.batch_validate import validate
from handler.errors import BulkError
from handler.storage.folder import Folder
from tests.unit.bulk.batches import (
    DAY,
    NOW,
    OWNER,
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
LATER = NOW + 60


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_validate, "SHARD_INPUTS", 2)


def lines(count: int = 6, **body: Any) -> bytes:
    """Return requests, of which every third is refused unless `body` changes them."""
    return jsonl(line(f"id-{number}", "" if number % 3 == 2 else f"the {number}", **body) for number in range(count))


def codes(errors: list[dict[str, Any]]) -> list[str]:
    return [each["error"]["code"] if each["error"] else each["response"]["body"]["error"]["code"] for each in errors]


def test_completed_batch_has_both_files_and_nothing_else(tmp_path):
    folder = create(tmp_path, lines())
    end = run(folder, MODELS, LATER)
    output, errors = results(folder, end)
    assert [each["custom_id"] for each in output] == ["id-0", "id-1", "id-3", "id-4"]
    assert ([each["custom_id"] for each in errors], codes(errors)) == (["id-2", "id-5"], ["empty_input"] * 2)
    assert {each["response"]["status_code"] for each in errors} == {400}
    assert end.tokens == sum(each["response"]["body"]["usage"]["total_tokens"] for each in output)
    batch = batches.get(folder.storage, OWNER, folder.id)
    assert (batch.status, batch.requests, batch.completed, batch.failed) == ("completed", 6, 4, 2)
    assert (batch.in_progress_at, batch.finalizing_at, batch.ended_at) == (LATER, LATER, LATER)
    names = [entry.name.rpartition("/")[2] for entry in folder.storage.list(folder.path(""))]
    assert names == ["batch.json", "end.json", "outcome.json", "plan.json"]


def test_batch_without_failures_has_no_error_file(tmp_path):
    end = run(create(tmp_path, jsonl([line("a")])), MODELS)
    assert (end.ending, end.error_file_id, bool(end.output_file_id)) == ("completed", None, True)


def test_batch_in_which_all_failed_is_completed_with_an_error_file_alone(tmp_path):
    folder = create(tmp_path, lines(dimensions=-1))
    end = run(folder, MODELS)
    assert (end.ending, end.output_file_id, end.completed, end.failed, end.tokens) == ("completed", None, 0, 6, 0)
    assert codes(results(folder, end)[1]) == ["invalid_value", "invalid_value", "empty_input"] * 2


@pytest.mark.parametrize(
    ("how", "ending", "code"),
    [
        ({"cancelled"}, "cancelled", "batch_cancelled"),
        ({"late"}, "expired", "batch_expired"),
        ({"late", "cancelled"}, "cancelled", "batch_cancelled"),
        (set[str](), "completed", "internal_error"),
    ],
)
@pytest.mark.parametrize("done", [0, 1, 2])
def test_requests_that_did_not_run_are_in_the_error_file(tmp_path, how, ending, code, done):
    folder = create(tmp_path, lines())
    validate(folder, MODELS, NOW)
    for number in range(done):
        run_shard(folder, MODELS, 2 - number, NOW)
    if "cancelled" in how:
        cancel(folder)
    end = finish(folder, NOW + DAY if "late" in how else LATER)
    output, errors = results(folder, end)
    assert end.ending == ending
    assert sorted(each["custom_id"] for each in (*output, *errors)) == [f"id-{number}" for number in range(6)]
    not_run = [each for each in errors if each["response"] is None]
    assert len(not_run) == 6 - 2 * done
    assert {each["error"]["code"] for each in not_run} <= {code}
    assert finish(folder, NOW + 2 * DAY) == end


@pytest.mark.parametrize(
    ("late", "cancelled", "ending"), [(True, False, "completed"), (True, True, "cancelled"), (False, True, "cancelled")]
)
def test_batch_whose_shards_are_all_done(tmp_path, late, cancelled, ending):
    folder = create(tmp_path, lines())
    validate(folder, MODELS, NOW)
    for number in range(3):
        run_shard(folder, MODELS, number, NOW)
    if cancelled:
        cancel(folder)
    end = finish(folder, NOW + DAY if late else NOW)
    assert (end.ending, end.completed, end.failed) == (ending, 4, 2)


@pytest.mark.parametrize(
    ("cancelled", "ending", "errors"), [(True, "cancelled", []), (False, "failed", ["internal_error"])]
)
def test_batch_that_ends_before_its_input_is_validated_has_no_files(tmp_path, cancelled, ending, errors):
    folder = create(tmp_path, lines())
    if cancelled:
        cancel(folder)
    end = finish(folder, NOW)
    assert (end.ending, end.output_file_id, end.error_file_id) == (ending, None, None)
    assert [error.code for error in end.errors] == errors


def test_input_of_a_failed_batch_is_deleted(tmp_path):
    folder = create(tmp_path, b"{}\n")
    validate(folder, MODELS, NOW)
    end = finish(folder, NOW)
    assert (end.ending, folder.storage.exists(folder.path("input"))) == ("failed", False)


class Broken(Folder):
    """A folder whose n-th operation, and all later ones, fail."""

    left = 10**9

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise BulkError("broken")

    def read(self, name: str) -> bytes:
        self._count()
        return super().read(name)

    def write(self, name: str, content: bytes) -> None:
        self._count()
        super().write(name, content)

    def create(self, name: str, content: bytes) -> bool:
        self._count()
        return super().create(name, content)

    def write_stream(self, name: str, blocks: Any) -> None:
        self._count()
        super().write_stream(name, blocks)

    def delete(self, names: Any) -> None:
        self._count()
        super().delete(names)


@pytest.mark.parametrize("cancelled", [False, True])
def test_batch_that_is_interrupted_at_each_operation_has_the_same_bytes(tmp_path, cancelled):
    reference: tuple[bytes, bytes] | None = None
    interrupted = 0
    original = create(tmp_path / "original", lines())
    validate(original, MODELS, NOW)
    for left in range(60):
        storage = Broken(tmp_path / str(left))
        for entry in original.storage.list():  # the same batch, with the same IDs
            storage.write(entry.name, original.storage.read(entry.name))
        folder = BatchFolder(storage, OWNER, original.id)
        storage.left = left
        failed = False
        for _ in range(3):
            try:
                run_shard(folder, MODELS, 0, NOW)
                if cancelled:
                    cancel(folder)
                run_shard(folder, MODELS, 1, NOW)
                run_shard(folder, MODELS, 2, NOW)
                end = finish(folder, NOW)
                break
            except BulkError:
                failed, storage.left = True, 10**9
        storage.left, interrupted = 10**9, interrupted + failed
        both = content(folder, end.output_file_id), content(folder, end.error_file_id)
        reference = reference or both
        assert both == reference
        if not failed:
            break
    assert interrupted > 15
    assert not failed


def test_two_runs_that_finish_at_once_write_the_same_bytes(tmp_path, monkeypatch):
    """The second begins where the first has decided, and the first ends meanwhile."""
    folder = create(tmp_path, lines())
    validate(folder, MODELS, NOW)
    for number in range(3):
        run_shard(folder, MODELS, number, NOW)
    seen: list[str] = []
    ends: list[object] = []
    original = Folder.write_stream

    def stream(self: Folder, name: str, blocks: Any) -> None:
        if not seen:
            seen.append(name)
            ends.append(finish(folder, LATER))
        original(self, name, blocks)

    monkeypatch.setattr(Folder, "write_stream", stream)
    end = finish(folder, NOW)
    assert [end] == ends
    output, errors = results(folder, end)
    assert (len(output), len(errors)) == (4, 2)
