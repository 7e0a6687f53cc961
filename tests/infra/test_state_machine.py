"""The state machine of bulk jobs: valid, and with the properties that make its runs resumable and its retries safe."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from samcli.yamlhelper import yaml_parse
from stack import ROOT, translate

FOLDER = Path(__file__).parent
DEFINITION = (ROOT / "handler/bulk/state_machine.asl.yaml").read_text()
SUBSTITUTED = {
    "Partition": "aws",
    "Function": "arn:aws:lambda:eu-central-1:123456789012:function:f",
    "MaxConcurrency": "7",
    "Batches": "s3://bucket/batches",
}
INSTALLED = FOLDER / "node_modules/.package-lock.json"


def substituted(text: str) -> str:
    """Return the definition as CloudFormation passes it on."""
    return re.sub(r"\$\{(\w+)\}", lambda match: SUBSTITUTED[match[1]], text)


MACHINE = yaml_parse(substituted(DEFINITION))
MAPS = {name: state for name, state in MACHINE["States"].items() if state["Type"] == "Map"}
CHILDREN = {name: state for each in MAPS.values() for name, state in each["ItemProcessor"]["States"].items()}
TASKS = {name: state for name, state in {**MACHINE["States"], **CHILDREN}.items() if state["Type"] == "Task"}


def validate(text: str, path: Path) -> tuple[int, str]:
    """Validate a definition with asl-validator; return its exit status and what it printed."""
    if shutil.which("npm") is None:
        pytest.fail(
            "npm is not on the PATH: the validator of the state machine requires Node 20 or newer", pytrace=False
        )
    if not INSTALLED.exists() or INSTALLED.stat().st_mtime < (FOLDER / "package-lock.json").stat().st_mtime:
        subprocess.run(["npm", "ci", "--silent"], cwd=FOLDER, check=True)
    path.write_text(text)
    command = [FOLDER / "node_modules/.bin/asl-validator", "--yaml-path", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_definition_is_valid(tmp_path):
    status, printed = validate(substituted(DEFINITION), tmp_path / "definition.yaml")
    assert status == 0, printed


@pytest.mark.parametrize(
    ("right", "wrong"), [("Next: AnyParts", "Next: NoParts"), ("Mode: DISTRIBUTED", "Mode: LOCAL")]
)
def test_validator_finds_mistakes(right, wrong, tmp_path):
    status, printed = validate(substituted(DEFINITION.replace(right, wrong)), tmp_path / "definition.yaml")
    assert status == 1, printed


def test_definition_has_no_aliases():
    """CloudFormation's reader of YAML takes an alias for a string."""
    assert re.search(r"[:,[-] [&*]", "Retry: *retry")
    assert not re.search(r"[:,[-] [&*]", DEFINITION)


def test_template_substitutes_every_placeholder():
    substitutions = translate(Bulk="true")["BulkStateMachine"]["DefinitionSubstitutions"]
    assert set(re.findall(r"\$\{(\w+)\}", DEFINITION)) == set(substitutions) == set(SUBSTITUTED)


@pytest.mark.parametrize("name", TASKS)
def test_retries_are_bounded_and_never_repeat_an_error_of_the_job(name):
    never, *others = TASKS[name]["Retry"]
    assert never == {"ErrorEquals": ["BulkError"], "MaxAttempts": 0}
    assert "class BulkError(" in (ROOT / "handler/errors.py").read_text()
    assert others[-1]["ErrorEquals"] == ["States.ALL"]
    for each in others:
        assert each["JitterStrategy"] == "FULL"
        assert each["MaxAttempts"] <= 60
        assert each["MaxDelaySeconds"] <= 120


def test_every_task_ends_with_the_functions_own_limit():
    assert {name: task["TimeoutSeconds"] for name, task in TASKS.items() if name != "Part"} == dict.fromkeys(
        TASKS.keys() - {"Part"}, translate(Bulk="true")["BulkFunction"]["Timeout"]
    )
    # As EXPRESS executions do (docs.aws.amazon.com/step-functions/latest/dg/choosing-workflow-type.html).
    assert TASKS["Part"]["TimeoutSeconds"] <= 300


def test_maps_pass_on_items_of_files_and_write_results_to_files():
    """Neither a list nor its results have to fit into the 256 KiB of a state."""
    for state in MAPS.values():
        assert state["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED"
        assert state["ItemReader"]["Resource"].endswith(":s3:getObject")
        assert state["ResultWriter"]["Resource"].endswith(":s3:putObject")
        assert state["ResultPath"] is None
    shards, parts = MAPS.values()
    assert shards["MaxConcurrency"] == 7 == MACHINE["States"]["Group"]["Parameters"]["Payload"]["concurrency"]
    assert parts["MaxConcurrencyPath"] == "$.group.concurrency"
    assert shards["ItemProcessor"]["ProcessorConfig"]["ExecutionType"] == "STANDARD"
    assert parts["ItemProcessor"]["ProcessorConfig"]["ExecutionType"] == "EXPRESS"
    assert shards["ToleratedFailurePercentagePath"] == "$.plan.tolerated"


def test_a_failed_job_of_a_data_set_fails_with_the_same_error_and_a_batch_ends():
    states = MACHINE["States"]
    (failed,) = states["Failed"]["Choices"]
    assert (failed["Variable"], failed["StringMatches"]) == ("$.out", "s3://bucket/batches/*")
    assert (failed["Next"], states["Failed"]["Default"]) == ("End", "Fail")
    assert states["Fail"] == {"Type": "Fail", "ErrorPath": "$.failure.Error", "CausePath": "$.failure.Cause"}
    assert states["Done"]["Choices"] == [failed]
    assert states["Done"]["Default"] == "Group"
    for name in ("Plan", "Shards"):  # what a batch can fail in
        assert states[name]["Catch"] == [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.failure", "Next": "Failed"}]
    assert not any("Catch" in states[name] for name in ("Group", "Parts", "Finish", "End"))


def test_a_batch_has_ended_before_it_is_reported_and_a_report_that_fails_fails_nothing():
    states = MACHINE["States"]
    assert (states["End"]["Next"], states["Report"]["Catch"][0]["Next"]) == ("Report", "Unreported")
    assert states["Unreported"] == {"Type": "Succeed"}
    repeated = states["Report"]["Retry"][-1]
    assert repeated["MaxAttempts"] * repeated["MaxDelaySeconds"] <= 2 * 3600  # half of it on average: FULL jitter
