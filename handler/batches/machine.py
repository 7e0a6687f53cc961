"""What runs batches on AWS: each is an execution of the stack's state machine."""

import json
import time
from functools import cache
from typing import Any

from handler.batches.ids import creation_time
from handler.batches.records import WINDOW_SECONDS
from handler.errors import StorageUnavailableError

RUN_SECONDS = 900  # after its window, a batch that has not ended is run again this often
CONNECT_SECONDS, READ_SECONDS, TRIES = 2, 5, 3  # a request waits


class StateMachine:
    """Starts executions.

    Each is named by its batch, and Step Functions starts no second one of a name, for 90 days
    (docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html). After the batch's window there are
    more names, so that a batch ends even if its first execution was stopped.
    """

    def __init__(self, arn: str) -> None:
        self._arn = arn

    def start(self, batch: str) -> None:
        """Start an execution for the batch at a URI, unless there is one.

        Raises:
            StorageUnavailableError: it cannot be started now.
        """
        from botocore.exceptions import BotoCoreError, ClientError  # not at the top: a cold start needs neither

        name = execution_name(batch.rpartition("/")[2], int(time.time()))
        try:
            _client().start_execution(stateMachineArn=self._arn, name=name, input=json.dumps({"out": batch}))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code != "ExecutionAlreadyExists":
                raise StorageUnavailableError(f"{batch}: Step Functions does not start a run of it ({code})") from error
        except BotoCoreError as error:
            kind = type(error).__name__
            raise StorageUnavailableError(f"{batch}: Step Functions cannot be reached ({kind})") from error


def execution_name(batch_id: str, now: int) -> str:
    """Return the name of the execution that a batch needs which has not ended."""
    overdue = now - creation_time(batch_id) - WINDOW_SECONDS
    return f"{batch_id}-{max(0, overdue // RUN_SECONDS)}"


@cache
def _client() -> Any:  # noqa: ANN401 - boto3 makes its clients at run time
    import boto3.session
    from botocore.config import Config

    retries = {"mode": "standard", "total_max_attempts": TRIES}
    config = Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries=retries)
    return boto3.session.Session().client("stepfunctions", config=config)
