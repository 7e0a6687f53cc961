"""A local server that responds as CloudFormation, Lambda and Step Functions do."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OUTPUTS = {"BulkStateMachineArn": "arn:machine", "BulkInput": "s3://data/in/", "BulkOutput": "s3://data/out/"}
PARAMETERS = {"BulkMaxConcurrency": "200", "BulkReservedConcurrency": "-1"}


@dataclass
class Aws:
    """What AWS responds, by operation: each time the next one, and the last one from then on. One may be a function."""

    url: str = ""
    responses: dict[str, list[Any]] = field(default_factory=dict)
    requests: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead clients of these services here, and those of S3 elsewhere."""
        services = ("CLOUDFORMATION", "LAMBDA", "SFN")
        credentials = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
        return credentials | {f"AWS_ENDPOINT_URL_{name}": self.url for name in services}

    def respond(self, operation: str, request: Any) -> Any:
        self.requests.append((operation, request))
        responses = self.responses.get(operation) or [{"mapRuns": [], "executions": []}]
        response = responses.pop(0) if len(responses) > 1 else responses[0]
        return response(request) if callable(response) else response


@contextmanager
def serve() -> Iterator[Aws]:
    """Run a server that responds as AWS does."""
    aws = Aws()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            target = self.headers.get("x-amz-target", "").rpartition(".")[2]
            if target:
                response = aws.respond(target, json.loads(body))
            else:
                response = aws.respond("DescribeStacks" if body else "GetAccountSettings", body.decode())
            self.send_response(400 if isinstance(response, dict) and "__type" in response else 200)
            content = response.encode() if isinstance(response, str) else json.dumps(response).encode()
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815 - the base class's naming

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            aws.url = f"http://127.0.0.1:{server.server_port}"
            yield aws
        finally:
            server.shutdown()


def stack_xml(outputs: dict[str, str] = OUTPUTS) -> str:
    """Return what DescribeStacks responds."""
    members = {
        "Outputs": "".join(
            f"<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
            for key, value in outputs.items()
        ),
        "Parameters": "".join(
            f"<member><ParameterKey>{key}</ParameterKey><ParameterValue>{value}</ParameterValue></member>"
            for key, value in PARAMETERS.items()
        ),
    }
    fields = "".join(f"<{name}>{content}</{name}>" for name, content in members.items())
    result = f"<Stacks><member><StackName>embeddings</StackName>{fields}</member></Stacks>"
    return f"<DescribeStacksResponse><DescribeStacksResult>{result}</DescribeStacksResult></DescribeStacksResponse>"
