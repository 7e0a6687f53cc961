"""The command line: `python -m handler.bulk run IN OUT` and the other commands of `make bulk...`."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from handler.artifacts.resolver import load
from handler.bulk import desk, jobs
from handler.bulk.entries import Entry, Storage
from handler.bulk.jobs import Job
from handler.bulk.merge import allowed_rejects
from handler.bulk.plan import DEFAULT_ID, Layout, Options
from handler.bulk.previous import MANIFEST, open_previous
from handler.bulk.shard import REJECTS, Work
from handler.bulk.storage import open_input, open_storage
from handler.contract.schemas import PROMPT_NAMES
from handler.embedding.embedder import Embedder
from handler.errors import BulkError, ServiceError
from handler.settings import Settings

INTERRUPTED = 128 + signal.SIGINT  # as shells report it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    parsed = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends a run as Ctrl-C does
    try:
        COMMANDS[parsed.command](parsed)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        print(f"\nstopped; to go on where it was: make bulk-resume OUT={parsed.output}", file=sys.stderr)
        return INTERRUPTED
    except ServiceError as error:
        print(f"bulk: {error.message}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m handler.bulk", description="Embed whole data sets.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="embed an input, after its price")
    run.add_argument("input", help="a file, a folder or s3://bucket/prefix of Parquet, JSONL or CSV")
    run.add_argument("output", help="a folder or s3://bucket/prefix")
    run.add_argument("--text", default="text", help="the column to embed")
    run.add_argument("--id", default=DEFAULT_ID, help="the column that identifies a row; its position without one")
    run.add_argument("--model", help="a reference as in MODELS")
    run.add_argument("--dimensions", type=int, help="keep this many components")
    run.add_argument("--input-type", default="", choices=["", *PROMPT_NAMES], help="as in a request")
    run.add_argument("--layout", default="columns", choices=get_args(Layout))
    run.add_argument("--previous", default="", help="an earlier output, whose vectors of unchanged texts are reused")
    run.add_argument("--max-rejects", default="", help="fail with more rejected rows: a number or a percentage")
    run.add_argument("--yes", action="store_true", help="do not ask")
    run.add_argument("--dry-run", action="store_true", help="only print the price")
    for name, text in (
        ("status", "print how far a job is"),
        ("cancel", "end a run; what it has written remains"),
        ("resume", "go on with a job where it was"),
    ):
        commands.add_parser(name, help=text).add_argument("output", help="the job's output")
    for command in commands.choices.values():
        command.add_argument("--stack", default="", help="the stack that runs the job on AWS")
    load = commands.add_parser("load", help="put an output into a vector store")
    load.add_argument("output", help="the output of a job")
    load.add_argument("store", help="s3vectors://bucket/index")
    return parser


def _run(parsed: argparse.Namespace) -> None:
    settings = Settings.from_env(os.environ)
    if parsed.model:
        settings = replace(settings, models=(parsed.model,))
    allowed_rejects(parsed.max_rejects, 0)  # raises if it is neither a number nor a percentage
    target = open_storage(parsed.output)
    source, entries = open_input(parsed.input)
    artifacts = load(settings.models[0], settings)
    embedder = Embedder(artifacts, settings)
    options = Options(
        model=artifacts.manifest.id,
        digest=artifacts.digest,
        dimensions=embedder.check_dimensions(parsed.dimensions),
        text=parsed.text,
        id=parsed.id,
        input_type=parsed.input_type,
        long_input=settings.long_input,
        layout=parsed.layout,
    )
    jobs.check(target, options)
    jobs.find_plan(source, entries, target, options)
    if parsed.dry_run or not (parsed.yes or _confirmed()):
        return
    where = parsed.input if "://" in parsed.input else str(Path(parsed.input).absolute())
    _execute(Job(where, options, parsed.max_rejects, parsed.previous), source, entries, target, embedder)


def _confirmed() -> bool:
    """Ask whether to go on.

    Raises:
        BulkError: there is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        raise BulkError("there is no terminal to ask on; YES=1 answers")
    return input("Go on? [y/N] ").strip().lower() in {"y", "yes"}


def _resume(parsed: argparse.Namespace) -> None:
    target = open_storage(parsed.output)
    job = jobs.open_job(target)
    source, entries = open_input(job.source)
    embedder = jobs.load_embedder(job.options, Settings.from_env(os.environ))
    _execute(job, source, entries, target, embedder)


def _execute(job: Job, source: Storage, entries: Sequence[Entry], target: Storage, embedder: Embedder) -> None:
    with desk.locked(target):
        jobs.create(target, job)
        plan = jobs.open_plan(source, entries, target, job.options)
        previous = open_previous(job.previous, plan.options) if job.previous else None
        manifest = desk.run(Work(source, target, plan, embedder, previous), job.max_rejects)
    print(
        f"{manifest.rows_in:,} rows in, {manifest.rows_out:,} out in {len(manifest.parts)} parts, "
        f"{manifest.reused:,} reused, {manifest.tokens:,} tokens: {target.uri}/{MANIFEST}"
    )
    if manifest.rejects:
        print(f"{manifest.rejects:,} ROWS WERE REJECTED: {target.uri}/{REJECTS} says which and why")


def _status(parsed: argparse.Namespace) -> None:
    status = jobs.status(open_storage(parsed.output))
    print(
        f"{'finished' if status.finished else 'not finished'}: {status.shards_done:,} of {status.shards:,} shards, "
        f"{status.rows:,} rows, of which {status.rejects:,} rejected; {status.parts:,} parts"
    )


def _cancel(parsed: argparse.Namespace) -> None:
    desk.cancel(open_storage(parsed.output))


COMMANDS = {"run": _run, "status": _status, "cancel": _cancel, "resume": _resume}


if __name__ == "__main__":
    sys.exit(main())
