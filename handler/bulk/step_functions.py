"""The executor on AWS, as seen from here: start a job on a stack's state machine, watch it, stop it.

The job goes on without this machine. When an execution has ended, another one does the shards that are not done. To
redrive it would not: after a map that has tolerated failures, it has failed in the next state, and would go on there.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

from handler.bulk.progress import CLEAR_LINE, duration
from handler.errors import BulkError
from handler.storage.entries import Storage

EXECUTION = "_job/execution.json"
POLL_SECONDS = 3.0
MAX_CAUSES = 3


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack with bulk jobs.

    machine      ARN of the state machine
    source       what the URIs of inputs begin with
    output       what the URIs of outputs begin with
    concurrency  environments that a job uses at once
    reserved     whether environments are reserved for bulk jobs
    """

    name: str
    machine: str
    source: str
    output: str
    concurrency: int
    reserved: bool

    def check(self, source: str, output: str, previous: str = "") -> None:
        """Check that the stack may read what a job reads and write its output, and leaves environments for others.

        Raises:
            BulkError: it may not, or too few would remain.
        """
        places = (
            ("IN", source, (self.source,)),
            ("OUT", output, (self.output,)),
            ("PREVIOUS", previous, (self.output, self.source)),
        )
        for what, uri, prefixes in places:
            if uri and not f"{uri.rstrip('/')}/".startswith(prefixes):
                allowed = " and ".join(f"{prefix}..." for prefix in prefixes)
                raise BulkError(f"{what} is {uri}, and stack '{self.name}' may only use {allowed}")
        if not self.reserved:
            with _errors():
                account = _client("lambda").get_account_settings()["AccountLimit"]
            if self.concurrency >= (available := account["UnreservedConcurrentExecutions"]):
                raise BulkError(
                    f"stack '{self.name}' has BulkMaxConcurrency={self.concurrency}, and the account has {available} "
                    "environments for all its functions: deploy with a lower one, or ask AWS for a higher quota"
                )


@dataclass(frozen=True, slots=True)
class State:
    """How far an execution is: its status, what its latest map counts, and why it failed."""

    status: str
    step: str
    counts: dict[str, int]
    causes: tuple[str, ...]

    def describe(self) -> str:
        """Return it in words."""
        counts = self.counts
        if not counts:
            return f"{self.step}: {self.status.lower()}"
        words = f"{self.step}: {counts['succeeded']:,} of {counts['total']:,} done, {counts['running']:,} running"
        return f"{words}, {counts['failed']:,} FAILED" if counts["failed"] else words


def find_stack(name: str) -> Stack:
    """Return a stack.

    Raises:
        BulkError: it does not exist, or has no bulk jobs.
    """
    with _errors():
        (stack,) = _client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", ())}
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", ())}
    if "BulkStateMachineArn" not in outputs:
        raise BulkError(f"stack '{name}' has no bulk jobs: run sam build and sam deploy with Bulk=true")
    return Stack(
        name=name,
        machine=outputs["BulkStateMachineArn"],
        source=outputs["BulkInput"],
        output=outputs["BulkOutput"],
        concurrency=int(parameters["BulkMaxConcurrency"]),
        reserved=parameters["BulkReservedConcurrency"] != "-1",
    )


def start(stack: Stack, target: Storage) -> str:
    """Start an execution for the job of an output, and return its ARN.

    Raises:
        BulkError: one is running.
    """
    if target.exists(EXECUTION) and state(latest(target)).status == "RUNNING":
        raise BulkError(
            f"{target.uri}: the job is running: make bulk-status says how far it is, make bulk-cancel ends it"
        )
    with _errors():
        started = _client("stepfunctions").start_execution(
            stateMachineArn=stack.machine, input=json.dumps({"out": target.uri})
        )
    execution: str = started["executionArn"]
    target.write(EXECUTION, json.dumps({"execution": execution}).encode())
    return execution


def latest(target: Storage) -> str:
    """Return the ARN of the execution that was started last for an output.

    Raises:
        BulkError: none was.
    """
    if not target.exists(EXECUTION):
        raise BulkError(f"{target.uri}: no execution was started for it on AWS")
    execution: str = json.loads(target.read(EXECUTION))["execution"]
    return execution


def state(execution: str) -> State:
    """Return how far an execution is."""
    with _errors():
        client = _client("stepfunctions")
        described = client.describe_execution(executionArn=execution)
        runs = client.list_map_runs(executionArn=execution)["mapRuns"]
        latest_run = max(runs, key=lambda run: run["startDate"]) if runs else None
        run = client.describe_map_run(mapRunArn=latest_run["mapRunArn"]) if latest_run else None
        causes = [described["cause"]] if described.get("cause") else []
        if run and run["itemCounts"]["failed"]:
            causes += _causes_of(run["mapRunArn"])
    step = run["mapRunArn"].rpartition("/")[2].partition(":")[0] if run else "plan"
    return State(described["status"], step, run["itemCounts"] if run else {}, tuple(map(_message, causes)))


def watch(execution: str, output: TextIO) -> None:
    """Print how far an execution is, until it has succeeded.

    Raises:
        BulkError: it failed, or was stopped.
        KeyboardInterrupt: the user does not want to watch it any longer.
    """
    terminal, began, printed = output.isatty(), time.monotonic(), ""
    while (now := state(execution)).status == "RUNNING":
        line = now.describe()
        if line != printed or terminal:
            text = f"{line}, after {duration(time.monotonic() - began)}"
            print(f"{CLEAR_LINE}{text}" if terminal else text, end="" if terminal else "\n", file=output, flush=True)
            printed = line
        time.sleep(POLL_SECONDS)
    print(
        f"{CLEAR_LINE if terminal else ''}{now.status.lower()} after {duration(time.monotonic() - began)}", file=output
    )
    if now.status != "SUCCEEDED":
        raise BulkError(f"the execution has {now.status.lower()}: {'; '.join(now.causes) or 'it was stopped'}")


def stop(execution: str) -> None:
    """Stop an execution. Shards that are running are not interrupted; those that are not begun do not begin."""
    with _errors():
        _client("stepfunctions").stop_execution(executionArn=execution)


def _causes_of(run: str) -> list[str]:
    """Return why the first failed shards or parts of a map failed."""
    client = _client("stepfunctions")
    failed = client.list_executions(mapRunArn=run, statusFilter="FAILED", maxResults=MAX_CAUSES)["executions"]
    return [client.describe_execution(executionArn=each["executionArn"]).get("cause", "") for each in failed]


def _message(cause: str) -> str:
    """Return the message of an error of Lambda, which is JSON, or of Step Functions, which is text."""
    try:
        return str(json.loads(cause)["errorMessage"])
    except (ValueError, LookupError, TypeError):
        return " ".join(cause.split())


def _client(service: str) -> Any:  # noqa: ANN401 - boto3 makes its clients at run time
    import boto3

    return boto3.client(service)


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what boto3 raises into a BulkError of one line."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        problem = error.response["Error"]
        raise BulkError(f"AWS refuses {error.operation_name} ({problem['Code']}): {problem.get('Message')}") from error
    except BotoCoreError as error:
        raise BulkError(f"AWS cannot be called: {error}") from error
