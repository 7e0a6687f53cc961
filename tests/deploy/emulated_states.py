"""Step Functions for the emulated AWS: what ministack's Distributed Map lacks for the state machine of bulk jobs.

It follows docs.aws.amazon.com/step-functions/latest/dg: input-output-resultwriter, state-map-distributed, and
StopExecution of the API reference. CloudFormation reads definitions as aws-cloudformation's resource provider does.
"""

import contextvars
import json
from typing import Any

from ministack.services import s3
from ministack.services import stepfunctions as states
from ministack.services.cloudformation import provisioners
from samtranslator.yaml_helper import yaml_parse

from tests.deploy import faults

State = dict[str, Any]
Result = tuple[Any, str | None]  # a state's output, and the next state
CHILD = (
    "executionArn",
    "input",
    "name",
    "output",
    "startDate",
    "stateMachineArn",
    "status",
    "stopDate",
    "error",
    "cause",
)

state_machine_definition = provisioners._sfn_definition
current_child: contextvars.ContextVar[State] = contextvars.ContextVar("current_child")
run_distributed_map, run_sub_machine = states._run_distributed_map, states._run_sub_machine
call_lambda, fail_execution = states._call_lambda, states._fail_execution


def definition_as_json(properties: dict[str, Any]) -> str:
    """Substitute first, then read YAML: a number may be a substitution."""
    definition: str = state_machine_definition(properties)
    return definition if definition.lstrip().startswith("{") else json.dumps(yaml_parse(definition))


def run_map(state: State, raw_input: Any, effective: Any, *rest: Any) -> Result:
    """Run a Distributed Map whose limits are paths, write its results, and end it with its execution."""
    _, execution, context = rest
    for name in ("MaxConcurrency", "ToleratedFailurePercentage"):
        if path := state.get(f"{name}Path"):
            state = {**state, name: states._resolve_path_or_ctx(path, effective, context)}
    before = set(states._map_runs)
    try:
        result: Result = run_distributed_map(state, raw_input, effective, *rest)
        return result
    finally:
        for name in set(states._map_runs) - before:
            run = states._map_runs[name]
            if run["executionArn"] == execution["executionArn"] and f"/{state['Label']}:" in name:
                children = [each for each in states._executions.values() if each.get("mapRunArn") == name]
                if execution["status"] == "ABORTED":
                    abort(run, children)
                where = states._resolve_params_obj(state["ResultWriter"]["Parameters"], effective, context)
                write_results(name, children, where["Bucket"], where["Prefix"])


def abort(run: State, children: list[State]) -> None:
    """Count what has not succeeded when its execution was stopped as aborted."""
    run["status"] = "ABORTED"
    for child in children:
        if child["status"] == "FAILED":
            child["status"] = "ABORTED"
    for counts in (run["itemCounts"], run["executionCounts"]):
        counts["aborted"], counts["failed"] = counts["failed"], 0


def write_results(name: str, children: list[State], bucket: str, prefix: str) -> None:
    folder = f"{prefix}/{name.rpartition(':')[2]}"
    files: dict[str, list[State]] = {"FAILED": [], "PENDING": [], "SUCCEEDED": []}
    for status, listed in files.items():
        written = [child for child in children if child["status"] == status]
        if written:
            rows = [{key[0].upper() + key[1:]: child.get(key) for key in CHILD if child.get(key)} for child in written]
            listed.append({"Key": f"{folder}/{status}_0.json", "Size": put(bucket, f"{folder}/{status}_0.json", rows)})
    put(bucket, f"{folder}/manifest.json", {"DestinationBucket": bucket, "MapRunArn": name, "ResultFiles": files})


def put(bucket: str, key: str, content: Any) -> int:
    """Write an object; return its size."""
    body = json.dumps(content).encode()
    status, _, response = s3._put_object(bucket, key, body, {"content-type": "application/json"})
    if status != 200:
        raise states._ExecutionError("States.ResultWriterFailed", response.decode())
    return len(body)


def run_child(machine: State, start: str, data: Any, execution: State, context: Any) -> Any:
    """Run a child of a map, until its execution is stopped: before a try, or at the end."""
    current_child.set(execution)
    result = run_sub_machine(machine, start, data, execution, context)
    check_aborted(execution)
    return result


def check_aborted(child: State) -> None:
    run = states._map_runs.get(child.get("mapRunArn"))
    if run and states._executions[run["executionArn"]]["status"] == "ABORTED":
        raise states._ExecutionError("Aborted", "the execution of the Map Run was stopped")


def fail(execution: State, *error: str) -> None:
    """Fail an execution, unless it was stopped: its map ends with an error then."""
    if execution["status"] != "ABORTED":
        fail_execution(execution, *error)


def invoke(function: str, event: Any) -> Any:
    """Invoke a function, unless the execution was stopped, or a test asks for a fault of Lambda."""
    check_aborted(current_child.get({}))
    fault = faults.fault_of(f"invoke {json.dumps(event, sort_keys=True)}")
    if fault:
        raise states._ExecutionError(
            fault.code, json.dumps({"errorType": fault.code, "errorMessage": "a test's fault"})
        )
    return call_lambda(function, event)


def install() -> None:
    """Replace what ministack has."""
    provisioners._sfn_definition = definition_as_json
    states._run_distributed_map = run_map
    states._run_sub_machine = run_child
    states._call_lambda = invoke
    states._fail_execution = fail
