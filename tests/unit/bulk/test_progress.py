"""What a run prints about its progress."""

import io
from dataclasses import replace

import pyarrow as pa
import pytest

from handler.bulk.chunk import Chunk, Row
from handler.bulk.plan import Shard
from handler.bulk.progress import BAR_SECONDS, LINE_SECONDS, Display, Progress, duration
from tests.clock import replace_clock
from tests.unit.bulk.test_plan import PLAN
from tests.unit.bulk.test_receipts import RECEIPT

SHARDS = (Shard(0, "a", 0, 100), Shard(1, "a", 100, 200), Shard(2, "a", 200, 400))
THREE = replace(PLAN, shards=SHARDS)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def chunk(shard: Shard, position: int, rows: int) -> Chunk:
    row = Row("", 0, "", b"")
    return Chunk(shard, position, [row] * rows, pa.record_batch({}), [], {})


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    replace_clock(monkeypatch, lambda: now[0], "handler.bulk.progress")
    return now


def test_a_bar_shows_rows_rate_and_time_left(clock):
    terminal = Terminal()
    progress = Progress(THREE, {0: RECEIPT}, display := Display(terminal))  # ten rows, a quarter of the input
    clock[0] += 10
    progress.update(chunk(SHARDS[1], 200, 9))
    assert terminal.getvalue().endswith("[############------------] 19 of about 38 rows (50%), 1 rows/s, 21 s left")
    progress.update(chunk(SHARDS[2], 300, 10))
    assert "29" not in terminal.getvalue()  # too early for another
    clock[0] += BAR_SECONDS
    progress.update(chunk(SHARDS[2], 400, 10))
    display.close()
    assert "39 of about 39 rows (100%), 3 rows/s, 0 s left" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_elsewhere_a_line_is_printed_from_time_to_time(clock):
    output = io.StringIO()
    progress = Progress(THREE, {}, display := Display(output))
    progress.update(chunk(SHARDS[0], 50, 5))
    assert not output.getvalue()
    clock[0] += LINE_SECONDS
    progress.update(chunk(SHARDS[0], 100, 5))
    display.close()
    assert output.getvalue() == "10 of about 40 rows (25%), 0 rows/s, 1 min 30 s left\n"


def test_durations_are_written_for_people():
    assert [duration(seconds) for seconds in (0.4, 59.6, 3599, 7500)] == [
        "0 s",
        "1 min 0 s",
        "59 min 59 s",
        "2 h 5 min",
    ]
