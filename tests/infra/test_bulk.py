"""What Bulk=true adds to the stack, and that it adds nothing without it."""

import json
import re
import subprocess

import pytest
from samcli.lib.providers.sam_function_provider import SamFunctionProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider
from stack import ENVIRONMENTS, ROOT, references, translate
from test_template import BIN, metrics, widgets

OWN = {
    "BulkInputBucket": "corpora",
    "BulkInputPrefix": "texts/",
    "BulkOutputBucket": "vectors",
    "BulkOutputPrefix": "out/",
}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_environments_are_valid_with_bulk_jobs(environment, tmp_path):
    path = tmp_path / "translated.json"
    path.write_text(json.dumps(translate(Environment=environment, Bulk="true").translated))
    command = [BIN / "cfn-lint", "--regions", "eu-central-1", "--ignore-checks", "W2001", "W7001", "W3011", "--", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_nothing_is_added_without_bulk_jobs():
    stack = translate()
    assert not [name for name in (*stack.resources, *stack.outputs) if name.startswith("Bulk")]
    assert "Bulk" not in json.dumps(widgets(stack))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SAM warns of its own code
@pytest.mark.parametrize(("bulk", "skipped"), [("false", True), ("true", False)])
def test_image_is_built_only_for_bulk_jobs(bulk, skipped):
    stacks, _ = SamLocalStackProvider.get_stacks(str(ROOT / "template.yaml"), parameter_overrides={"Bulk": bulk})
    found = {each.name: each for each in SamFunctionProvider(stacks).get_all()}
    assert (found["Function"].skip_build, found["BulkFunction"].skip_build) == (False, skipped)
    # An image that was not built must not be pushed: SAM leaves a value alone that is not a string.
    assert isinstance(translate(Bulk="true")["BulkFunction"]["Code"]["ImageUri"], dict)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SAM warns of its own code
@pytest.mark.parametrize(
    ("parameters", "folder"), [({}, "model_artifacts"), ({"ImageModels": "build/image"}, "build/image")]
)
def test_images_contain_the_models_of_the_chosen_folder(parameters, folder):
    stacks, _ = SamLocalStackProvider.get_stacks(str(ROOT / "template.yaml"), parameter_overrides=parameters)
    found = {each.name: each.metadata for each in SamFunctionProvider(stacks).get_all()}
    for function in ("Function", "BulkFunction"):
        assert found[function]["DockerBuildArgs"] == {"MODELS": folder}
    dockerfile = (ROOT / "layers/Dockerfile").read_text()
    assert "ARG MODELS=model_artifacts\n" in dockerfile
    assert "COPY ${MODELS} /project/model_artifacts\n" in dockerfile


def grants(stack, role):
    """Return the actions that a role is granted, each with its resources as text."""
    found = {}
    for policy in stack[role]["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            for action in [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]:
                found.setdefault(action, []).append(json.dumps([statement["Resource"], statement.get("Condition")]))
    return found


def test_function_reads_inputs_and_models_and_writes_outputs():
    granted = grants(translate(Bulk="true", **OWN), "BulkFunctionRole")
    assert set(granted) == {
        *("logs:CreateLogStream", "logs:PutLogEvents"),
        *("s3:GetObject", "s3:ListBucket", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"),
    }
    models, inputs, outputs, batches = granted["s3:GetObject"]
    assert "${ArtifactBucket.Arn}/models/*" in models
    assert "${BulkInputPrefix}*" in inputs
    assert '"corpora"' in inputs
    for action in ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"):
        assert granted[action] == [outputs, batches]
    assert "${BulkOutputPrefix}*" in outputs
    assert '"vectors"' in outputs
    assert "${ArtifactBucket.Arn}/batches/owners/*" in batches
    assert '{"StringLike": {"s3:prefix": "batches/owners/*"}}' in granted["s3:ListBucket"].pop()
    for listed, prefix in zip(granted["s3:ListBucket"], ("BulkInputPrefix", "BulkOutputPrefix"), strict=True):
        assert f'{{"StringLike": {{"s3:prefix": {{"Fn::Sub": "${{{prefix}}}*"}}}}}}' in listed


def test_state_machine_reads_lists_and_writes_results_and_invokes_the_function():
    granted = grants(translate(Bulk="true", **OWN), "BulkStateMachineRole")
    assert set(granted) == {
        *("lambda:InvokeFunction", "states:StartExecution", "states:DescribeExecution", "states:StopExecution"),
        *("s3:GetObject", "s3:PutObject", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"),
    }
    assert "${BulkOutputPrefix}*_job/*" in granted["s3:GetObject"][0]
    assert "${BulkOutputPrefix}*_job/results/*" in granted["s3:PutObject"][0]
    assert "${ArtifactBucket.Arn}/batches/owners/*_job/*" in granted["s3:GetObject"][1]
    assert "${ArtifactBucket.Arn}/batches/owners/*_job/results/*" in granted["s3:PutObject"][1]
    assert "*" not in json.dumps(translate(Bulk="true")["BulkStateMachineRole"]["AssumeRolePolicyDocument"])


def test_buckets_default_to_the_stacks_own():
    stack = translate(Bulk="true")
    for name in ("BulkInput", "BulkOutput"):
        text, variables = stack.outputs[name]["Value"]["Fn::Sub"]
        assert (text, variables) == (f"s3://${{Bucket}}/${{{name}Prefix}}", {"Bucket": {"Ref": "ArtifactBucket"}})


@pytest.mark.parametrize("name", ["BulkInputPrefix", "BulkOutputPrefix"])
@pytest.mark.parametrize(
    ("prefix", "accepted"),
    [
        ("bulk/in/", True),
        ("a/", True),
        ("", False),
        ("/", False),
        ("a", False),
        ("a*/", False),
        ("batches/", False),
        ("batches/owners/", False),
    ],
)
def test_prefix_is_a_folder_and_no_pattern(name, prefix, accepted):
    pattern = translate().translated["Parameters"][name]["AllowedPattern"]
    assert bool(re.search(pattern, prefix)) == accepted


def rules():
    """Return the bucket's lifecycle rules by the prefix of their keys."""
    return {rule.get("Prefix"): rule for rule in translate().only("AWS::S3::Bucket")["LifecycleConfiguration"]["Rules"]}


@pytest.mark.parametrize("prefix", ["bulk/out/", "batches/", "batches/uploads/"])
def test_what_was_deleted_does_not_stay_as_versions(prefix):
    assert rules()[prefix]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}


def test_what_callers_store_is_deleted():
    assert rules()["batches/"]["ExpirationInDays"] == 32  # 30 after the end of a batch, which comes within a day
    assert rules()["batches/uploads/"]["ExpirationInDays"] == 1
    assert rules()[None]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}  # of any key


def test_api_stores_files_and_starts_batches_on_one_machine():
    without, granted = (grants(translate(Bulk=bulk), "FunctionRole") for bulk in ("false", "true"))
    assert set(granted) - set(without) == {
        *("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListBucket", "states:StartExecution")
    }
    batches = granted["s3:GetObject"][-1]
    assert "${ArtifactBucket.Arn}/batches/*" in batches
    for action in ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"):
        assert granted[action] == [batches]
    assert granted["states:StartExecution"] == [json.dumps([{"Ref": "BulkStateMachine"}, None])]
    assert '{"StringLike": {"s3:prefix": "batches/*"}}' in granted["s3:ListBucket"][0]


def test_both_functions_and_the_machine_agree_on_where_batches_are():
    stack, place = translate(Bulk="true", **OWN), {"Fn::Sub": "s3://${ArtifactBucket}/batches"}
    function, bulk = (stack[name]["Environment"]["Variables"] for name in ("Function", "BulkFunction"))
    assert function["BATCHES"] == bulk["BATCHES"] == place
    assert stack["BulkStateMachine"]["DefinitionSubstitutions"]["Batches"] == place
    assert function["BATCH_MACHINE"] == {"Ref": "BulkStateMachine"}
    without = translate()["Function"]["Environment"]["Variables"]
    assert (without["BATCHES"], without["BATCH_MACHINE"]) == ("", "")


def test_requests_of_batches_are_read_as_those_of_the_api():
    changed = {"ModelAliases": "a", "TokenInput": "native", "LongInput": "error"}
    stack = translate(Bulk="true", **changed)
    function, bulk = (stack[name]["Environment"]["Variables"] for name in ("Function", "BulkFunction"))
    for name in ("MODELS", "MODEL_ALIASES", "TOKEN_INPUT", "LONG_INPUT"):
        assert function[name] == bulk[name]
    text, variables = bulk["BATCH_INPUT"]["Fn::Sub"]
    assert (text, variables) == ("s3://${Bucket}/${BulkInputPrefix}", {"Bucket": {"Ref": "ArtifactBucket"}})


def test_webhooks_are_signed_with_a_secret_that_no_parameter_and_no_output_shows():
    stack = translate(Bulk="true", WebhookUrl="https://a.example/hook")
    assert stack["WebhookSecret"]["GenerateSecretString"] == {"PasswordLength": 32, "ExcludePunctuation": True}
    signed = {"Fn::Sub": "whsec_{{resolve:secretsmanager:${WebhookSecret}}}"}
    assert stack["BulkFunction"]["Environment"]["Variables"]["WEBHOOK_SECRET"] == signed
    assert stack.outputs["WebhookSecretArn"]["Value"] == {"Ref": "WebhookSecret"}  # its ARN
    for without in (translate(Bulk="true"), translate(WebhookUrl="https://a.example/hook")):
        assert not {"WebhookSecret", "WebhookSecretArn"} & {*without.resources, *without.outputs}
    # `sam deploy --guided` insists on a value of a hidden parameter: a first deployment could not accept its default.
    assert not any("NoEcho" in parameter for parameter in translate().translated["Parameters"].values())


def test_webhooks_are_sent_with_tls():
    pattern = translate().translated["Parameters"]["WebhookUrl"]["AllowedPattern"]
    assert re.search(pattern, "https://a.example:8443/hook?x=1")
    for url in ("http://a.example/", "https://me:secret@a.example/", "https://a.example/ x"):
        assert not re.search(pattern, url)


def test_parameters_configure_the_function():
    stack = translate(Bulk="true", BulkMemorySize="3538", BulkReservedConcurrency="50", BulkMaxConcurrency="40")
    function = stack["BulkFunction"]
    assert (function["MemorySize"], function["ReservedConcurrentExecutions"]) == ("3538", "50")
    assert stack["BulkStateMachine"]["DefinitionSubstitutions"]["MaxConcurrency"] == "40"
    assert "ReservedConcurrentExecutions" not in translate(Bulk="true")["BulkFunction"]
    assert "BulkMemorySize" not in references(stack.translated["Resources"]["ConfigurationRevision"])


def test_failed_jobs_are_reported():
    topic = "arn:aws:sns:eu-central-1:123456789012:alarms"
    stack = translate(Bulk="true", AlarmTopic=topic)
    alarm = stack["BulkFailuresAlarm"]
    assert alarm["AlarmActions"] == [topic]
    (metric,) = metrics(alarm)
    assert (metric["Namespace"], metric["MetricName"]) == ("AWS/States", "ExecutionsFailed")
    assert "${BulkFailuresAlarm.Arn}" in json.dumps(widgets(stack))
    assert "BulkFailuresAlarm" not in translate(Bulk="true", Monitoring="none").resources


def test_dashboard_shows_what_the_function_emits():
    added = json.dumps(widgets(translate(Bulk="true"))[len(widgets(translate())) :])
    for metric in ("Rows", "Rejects", "Tokens", "BatchRequests", "BatchErrors", "Batches"):
        assert f'"{metric}"' in added
        assert f'"{metric}"' in (ROOT / "handler/telemetry.py").read_text()
