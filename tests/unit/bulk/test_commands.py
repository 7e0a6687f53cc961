"""The command of a job on a stack, up to the start of its execution; tests/deploy has the rest."""

from types import SimpleNamespace

from handler.bulk import commands, step_functions
from handler.bulk.__main__ import main
from handler.bulk.estimate import Actual
from handler.bulk.jobs import PLAN
from handler.bulk.plan import Plan
from handler.storage.entries import Storage
from tests.unit.bulk.data import texts, write_jsonl


def test_a_job_of_a_stack_has_its_plan_before_it_starts(tmp_path, monkeypatch, tiny_model):
    """So the function need not read CSV and compressed files a second time."""
    started: list[Plan] = []

    def start(_: str, target: Storage) -> Actual:
        started.append(Plan.from_json(target.read(PLAN)))
        return Actual(rows=3, rejects=0, tokens=9, seconds=1, usage=None)

    monkeypatch.setenv("MODELS", tiny_model)
    monkeypatch.setattr(step_functions, "find_stack", lambda _: SimpleNamespace(check=lambda *_: None))
    monkeypatch.setattr(commands, "_embed_on", start)
    source = write_jsonl(tmp_path / "in/rows.jsonl", texts(3))
    assert main(["run", str(source), str(tmp_path / "out"), "--stack", "embeddings", "--yes"]) == 0
    (plan,) = started
    assert len(plan.shards) == 1
