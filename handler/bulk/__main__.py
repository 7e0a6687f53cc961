"""The command line: `python -m handler.bulk run IN OUT` and the other commands of `make bulk`."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn, get_args

from handler.errors import BulkError, ServiceError
from handler.signals import exit_on_signals

# Arrow's allocator would return memory to the kernel at once, and fault it in again for the next rows: that is 7 % of a
# job's time (python -m benchmarks.bulk_desk). It reads this when pyarrow is loaded, which commands do.
os.environ["MIMALLOC_PURGE_DELAY"] = "-1"

INTERRUPTED = 128 + signal.SIGINT  # as shells report it


class Parser(argparse.ArgumentParser):
    """Its errors are one line, too, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Raise the error."""
        raise BulkError(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    exit_on_signals()  # before the imports that take time: they are in functions here
    parser = _parser()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # SIGTERM ends a run as Ctrl-C does
    try:
        parsed = parser.parse_args(arguments)
        parsed.command(parsed)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        print("\nstopped; the same command goes on where it was", file=sys.stderr)
        return INTERRUPTED
    except ServiceError as error:
        print(f"bulk: {error.message}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    from handler.bulk import commands
    from handler.bulk.plan import DEFAULT_ID, Layout

    parser = Parser(prog="python -m handler.bulk", description="Embed whole data sets.")
    subcommands = parser.add_subparsers(required=True)
    run = subcommands.add_parser("run", help="print what a job will take, ask, and run it")
    run.set_defaults(command=commands.run)
    run.add_argument("input", help="a file, a folder or s3://bucket/prefix of Parquet, JSONL or CSV")
    run.add_argument("output", help="a folder or s3://bucket/prefix")
    run.add_argument("--text", default="text", help="the column to embed")
    run.add_argument("--id", default=DEFAULT_ID, help="the column that identifies a row; its position without one")
    run.add_argument("--model", help="the model's reference, as in MODELS")
    run.add_argument("--dimensions", type=int, help="keep this many components")
    run.add_argument("--input-type", default="", help="as in a request")
    run.add_argument("--layout", default="columns", choices=get_args(Layout))
    run.add_argument("--previous", default="", help="an earlier output, whose vectors of unchanged texts are reused")
    run.add_argument("--max-rejects", default="", help="fail with more rejected rows: a number or a percentage")
    run.add_argument("--yes", action="store_true", help="do not ask")
    run.add_argument("--dry-run", action="store_true", help="only print what it will take")
    for name, command in (("status", commands.status), ("cancel", commands.cancel), ("resume", commands.resume)):
        subcommand = subcommands.add_parser(name, help=command.__doc__)
        subcommand.set_defaults(command=command)
        subcommand.add_argument("output", help="the job's output")
    for subcommand in subcommands.choices.values():
        subcommand.add_argument(
            "--stack", default="", help="the stack that runs the job on AWS; this machine without one"
        )
    load = subcommands.add_parser("load", help="put an output into a vector store")
    load.set_defaults(command=commands.load)
    load.add_argument("output", help="the output of a job")
    load.add_argument("store", help="s3vectors://bucket/index")
    return parser


if __name__ == "__main__":
    sys.exit(main())
