"""What runs batches, as the API sees it, and the state machine that does so on AWS."""

import json
from functools import cache
from typing import Any, Protocol

from handler.batches.records import BatchRecord
from handler.errors import StorageUnavailableError

RUN_SECONDS = 900  # after its window, a batch that has not ended is run again this often
CONNECT_SECONDS, READ_SECONDS, TRIES = 2, 5, 3  # a request waits


class Runner(Protocol):
    """Runs batches."""

    def start(self, uri: str, run: int = 0) -> None:
        """Run the batch in a folder, unless this run of it was started before.

        Raises:
            StorageUnavailableError: it cannot be started now.
        """


def overdue(batch: BatchRecord, now: int) -> int:
    """Return the number of the run that a batch needs that has not ended: 0 until its window has been over for long."""
    return max(0, (now - batch.expires_at) // RUN_SECONDS)


class StateMachine:
    """Runs batches as executions of a state machine.

    An execution is named by its batch and run, and Step Functions starts no second one of a name, for 90 days
    (docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html).
    """

    def __init__(self, arn: str) -> None:
        self._arn = arn

    def start(self, uri: str, run: int = 0) -> None:
        """Start an execution, unless one was started for this run."""
        from botocore.exceptions import BotoCoreError, ClientError  # not at the top: a cold start needs neither

        name = f"{uri.rpartition('/')[2]}-{run}"
        try:
            _client().start_execution(stateMachineArn=self._arn, name=name, input=json.dumps({"out": uri}))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code != "ExecutionAlreadyExists":
                raise StorageUnavailableError(f"{uri}: Step Functions does not start a run of it ({code})") from error
        except BotoCoreError as error:
            kind = type(error).__name__
            raise StorageUnavailableError(f"{uri}: Step Functions cannot be reached ({kind})") from error


@cache
def _client() -> Any:  # noqa: ANN401 - boto3 makes its clients at run time
    import boto3.session
    from botocore.config import Config

    retries = {"mode": "standard", "total_max_attempts": TRIES}
    config = Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries=retries)
    return boto3.session.Session().client("stepfunctions", config=config)
