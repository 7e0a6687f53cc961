"""What `make bulk` and its sisters do: the price first, then the run, and its facts beside the price."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from handler.artifacts.resolver import load as load_model
from handler.bulk import desk, jobs, step_functions
from handler.bulk.estimate import Actual, estimate
from handler.bulk.jobs import Job
from handler.bulk.load import load as load_store
from handler.bulk.merge import Manifest, allowed_rejects
from handler.bulk.plan import Options, Plan
from handler.bulk.previous import MANIFEST, find_previous, open_previous
from handler.bulk.prices import Usage
from handler.bulk.progress import Display
from handler.bulk.shard import REJECTS, Work
from handler.embedding.embedder import Embedder
from handler.embedding.prompts import choose_prompt
from handler.errors import BulkError
from handler.settings import Settings
from handler.storage.entries import Storage
from handler.storage.uri import check_apart, open_input, open_storage


def run(arguments: argparse.Namespace) -> None:
    """Print what a job will take, ask, and run it."""
    settings = Settings.from_env(os.environ)
    if arguments.model:
        settings = replace(settings, models=(arguments.model,))
    allowed_rejects(arguments.max_rejects, 0)  # raises an error if it is neither a number nor a percentage
    check_apart(arguments.input, arguments.output)
    if arguments.stack:
        step_functions.find_stack(arguments.stack).check(arguments.input, arguments.output, arguments.previous)
    target = open_storage(arguments.output)
    source, entries = open_input(arguments.input)
    artifacts = load_model(settings.models[0], settings)
    embedder = Embedder(artifacts, settings)
    choose_prompt(artifacts.manifest.id, artifacts.manifest.prompts, arguments.input_type)  # raises an error for a typo
    options = Options(
        model=artifacts.manifest.id,
        digest=artifacts.digest,
        dimensions=embedder.check_output(arguments.dimensions),
        text=arguments.text,
        id=arguments.id,
        input_type=arguments.input_type,
        long_input=settings.long_input,
        layout=arguments.layout,
    )
    jobs.check(target, options)
    if arguments.previous:
        find_previous(arguments.previous, options)  # raises an error if its vectors cannot be used
    plan = jobs.find_plan(source, entries, target, options)
    expected = estimate(source, plan, embedder)
    _print(expected.lines())
    if arguments.dry_run or not (arguments.yes or _confirmed()):
        return
    job = Job(_absolute(arguments.input), options, arguments.max_rejects, _absolute(arguments.previous))
    if arguments.stack:
        jobs.create(target, job)
        jobs.keep_plan(target, plan)
        _print(expected.beside(_embed_on(arguments.stack, target)))
    else:
        _print(expected.beside(_embed(job, source, plan, target, embedder)))


def resume(arguments: argparse.Namespace) -> None:
    """Go on with a job where it was."""
    target = open_storage(arguments.output)
    job = jobs.open_job(target)
    if arguments.stack:
        _embed_on(arguments.stack, target)
        return
    embedder = jobs.load_embedder(job.options, Settings.from_env(os.environ))
    source, entries = open_input(job.source)
    _embed(job, source, jobs.find_plan(source, entries, target, job.options), target, embedder)


def _embed(job: Job, source: Storage, plan: Plan, target: Storage, embedder: Embedder) -> Actual:
    """Run a job here; say what came of it, and return what it took."""
    started = time.monotonic()
    with desk.locked(target):
        jobs.create(target, job)
        jobs.keep_plan(target, plan)
        previous = open_previous(job.previous, plan.options) if job.previous else None
        manifest = desk.run(Work(source, target, plan, embedder, previous), job.max_rejects)
    _print(_summary(target, manifest))
    return Actual(manifest.rows_in, manifest.rejects, manifest.tokens, time.monotonic() - started, usage=None)


def _embed_on(stack: str, target: Storage) -> Actual:
    """Run a job on a stack; say what came of it, and return what it took."""
    started = time.monotonic()
    execution = step_functions.start(step_functions.find_stack(stack), target)
    try:
        step_functions.watch(execution, sys.stderr)
    except KeyboardInterrupt:
        where = f"OUT={target.uri} STACK={stack}"
        _print(["", f"the job goes on without this command: make bulk-status {where}, or make bulk-cancel {where}"])
        sys.exit()
    manifest = Manifest.from_json(target.read(MANIFEST))
    _print(_summary(target, manifest))
    usage = Usage(jobs.status(target).shards, len(manifest.parts), float(manifest.cost["vcpu_seconds"]))
    return Actual(manifest.rows_in, manifest.rejects, manifest.tokens, time.monotonic() - started, usage)


def _summary(target: Storage, manifest: Manifest) -> list[str]:
    written = f"{manifest.rows_in:,} rows in, {manifest.rows_out:,} out in {len(manifest.parts)} parts"
    lines = [f"{written}, {manifest.reused:,} vectors reused: {target.uri}/{MANIFEST}"]
    if manifest.rejects:
        lines.append(f"{manifest.rejects:,} ROWS WERE REJECTED: {target.uri}/{REJECTS} says which, and why")
    return lines


def status(arguments: argparse.Namespace) -> None:
    """Print how far a job is."""
    target = open_storage(arguments.output)
    if arguments.stack:
        execution = step_functions.state(step_functions.latest(target))
        _print([f"{execution.status.lower()}; {execution.describe()}", *execution.causes])
    now = jobs.status(target)
    shards = f"{now.shards_done:,} of {now.shards:,} shards, {now.rows:,} rows, {now.rejects:,} of them rejected"
    _print([f"{'finished' if now.finished else 'not finished'}: {shards}, {now.parts:,} parts"])


def cancel(arguments: argparse.Namespace) -> None:
    """End a run."""
    target = open_storage(arguments.output)
    if arguments.stack:
        step_functions.stop(step_functions.latest(target))
    else:
        desk.cancel(target)


def load(arguments: argparse.Namespace) -> None:
    """Put an output into a vector store."""
    with closing(Display(sys.stderr)) as display:
        loaded = load_store(
            arguments.output,
            arguments.store,
            lambda done, rows: display.show(f"{done:,} of {rows:,} vectors", done / max(1, rows)),
        )
    left_out = [f"{count:,} without '{column}', which is too long" for column, count in loaded.left_out.items()]
    _print([f"{loaded.vectors:,} vectors put, {loaded.earlier:,} by an earlier load", *left_out])


def _absolute(path: str) -> str:
    """Return a path or URI that means the same wherever the job is resumed."""
    return path if not path or "://" in path else str(Path(path).absolute())


def _confirmed() -> bool:
    """Ask whether to go on.

    Raises:
        BulkError: there is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        raise BulkError("there is no terminal to ask on; YES=1 answers")
    try:
        return input("Go on? [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:  # Ctrl-D
        print()
        return False


def _print(lines: Sequence[str]) -> None:
    print("\n".join(lines), flush=True)
