"""What `sam deploy` would create, asserted on the translated template."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from samcli.lib.config.samconfig import SamConfig
from samcli.lib.providers.sam_function_provider import SamFunctionProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider
from samcli.yamlhelper import yaml_parse
from stack import ENVIRONMENTS, IMAGE, KEY, ROOT, TEMPLATE, objections, references, translate, walk

JWT = {"AuthMode": "jwt", "JwtIssuer": "https://issuer.example", "JwtAudience": "embeddings"}
FUNCTION_URL = {"FunctionUrl": "true", "ReservedConcurrency": "5"}
VARIANTS = {
    **ENVIRONMENTS,
    "keys": {"ApiKeys": KEY},
    "iam": {"AuthMode": "iam", "CorsOrigins": "*", **FUNCTION_URL},
    "jwt": JWT,
    "open": {"AuthMode": "none", **FUNCTION_URL},
    "large": {
        "Tracing": "Active",
        "Monitoring": "basic",
        "Architecture": "arm64",
        "MemorySize": "10240",
        "ProvisionedConcurrency": "2",
        "ReservedConcurrency": "9",
    },
}
# What reaches the function but is no part of a version.
UNVERSIONED = {"Environment", "ReservedConcurrency"}
BIN = Path(sys.executable).parent


@pytest.fixture(params=VARIANTS)
def stack(request):
    return translate(**VARIANTS[request.param])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_sam_finds_every_environment_valid(environment):
    command = [BIN / "sam", "validate", "--lint", "--config-env", environment]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "variant", ["default", "dev"]
)  # SAM resolves no other parameter than those of GradualDeployment
def test_what_sam_makes_of_it_passes_the_linter(variant, tmp_path):
    path = tmp_path / "translated.json"
    path.write_text(json.dumps(translate(**VARIANTS[variant]).translated))
    # W2001, W7001: the parameter and the mapping GradualDeployment are used no more, since SAM has resolved them.
    # W3011: SAM gives UpdateReplacePolicy to alias and function as well as to the version, which needs it.
    command = [BIN / "cfn-lint", "--regions", "eu-central-1", "--ignore-checks", "W2001", "W7001", "W3011", "--", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_right_is_wider_than_it_must_be(stack):
    for name, role in stack.of("AWS::IAM::Role").items():
        for statement in (
            each for policy in role.get("Policies", []) for each in policy["PolicyDocument"]["Statement"]
        ):
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            assert not any("*" in action for action in actions), name
            if statement["Resource"] == "*":
                assert all(action.startswith("xray:Put") for action in actions), name
    reads = [
        each
        for each in walk(stack.of("AWS::IAM::Role")["FunctionRole"])
        if isinstance(each, dict) and each.get("Action") == "s3:GetObject"
    ]
    assert [each["Resource"] for each in reads] == [{"Fn::Sub": "${ArtifactBucket.Arn}/models/*"}]


def test_the_bucket_is_closed_but_to_the_account_over_tls(stack):
    bucket = stack.only("AWS::S3::Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["BucketEncryption"]
    (statement,) = stack.only("AWS::S3::BucketPolicy")["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


TOPIC = "arn:aws:sns:eu-central-1:123456789012:alarms"
NEW_VERSION_ALARMS = {"NewVersionErrorsAlarm", "NewVersionLatencyAlarm"}


def test_every_alarm_tells_the_topic():
    alarms = translate(AlarmTopic=TOPIC).of("AWS::CloudWatch::Alarm")
    assert set(alarms) == NEW_VERSION_ALARMS | {
        "ServerErrorsAlarm",
        "InvocationErrorsAlarm",
        "ModelLoadFailuresAlarm",
        "LatencyAlarm",
        "ThrottlesAlarm",
        "InvalidKeysAlarm",
    }
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == [TOPIC]


def test_a_canary_is_taken_back_by_the_alarms_of_its_own_version():
    stack = translate()
    group = stack.only("AWS::CodeDeploy::DeploymentGroup")
    assert {each["Name"]["Ref"] for each in group["AlarmConfiguration"]["Alarms"]} == NEW_VERSION_ALARMS
    assert "Canary10Percent5Minutes" in json.dumps(group["DeploymentConfigName"])
    assert group["ServiceRoleArn"] == {"Fn::GetAtt": ["DeploymentRole", "Arn"]}
    (version,) = stack.of("AWS::Lambda::Version")
    number = {"Fn::GetAtt": [version, "Version"]}
    for metric in [each for name in NEW_VERSION_ALARMS for each in metrics(stack[name])]:
        dimensions = {each["Name"]: each["Value"] for each in metric["Dimensions"]}
        if metric["Namespace"] == "AWS/Lambda":
            assert dimensions == {
                "FunctionName": {"Ref": "Function"},
                "Resource": {"Fn::Sub": "${Function}:live"},
                "ExecutedVersion": number,
            }
        else:
            assert dimensions == {"service": {"Ref": "Function"}, "version": number}


def metrics(alarm):
    """Return the metrics that an alarm reads, whether directly or by metric math."""
    return (
        [alarm]
        if "Namespace" in alarm
        else [each["MetricStat"]["Metric"] for each in alarm["Metrics"] if "MetricStat" in each]
    )


def test_one_request_takes_no_version_back():
    stack = translate()
    assert "failures >= 5 AND failures >= invocations / 10" in json.dumps(stack["NewVersionErrorsAlarm"])
    latency = stack["NewVersionLatencyAlarm"]
    assert (latency["ExtendedStatistic"], latency["EvaluateLowSampleCountPercentile"]) == ("p99", "ignore")


def test_a_metric_of_the_function_url_is_read_only_where_there_is_one():
    for overrides, expected in (({}, ["5xx"]), ({"FunctionUrl": "true"}, ["5xx", "Url5xxCount"])):
        alarm = translate(**overrides)["ServerErrorsAlarm"]
        assert [each["MetricName"] for each in metrics(alarm)] == expected
        names = {each["Id"] for each in alarm["Metrics"]}
        assert set(re.findall(r"FILL\((\w+)", alarm["Metrics"][0]["Expression"])) == names - {"all"}


def test_a_new_version_is_tried_before_it_gets_traffic():
    stack = translate()
    update = stack.resources["FunctionAliaslive"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
    assert update["BeforeAllowTrafficHook"] == {"Ref": "DeploymentHook"}
    hook = stack["DeploymentHook"]
    (version,) = stack.of("AWS::Lambda::Version")
    assert hook["Environment"]["Variables"]["VERSION"] == {"Ref": version}
    assert len(hook["Code"]["ZipFile"]) <= 4096
    rights = {
        statement["Action"]: statement["Resource"]
        for policy in stack["DeploymentHookRole"]["Policies"] + stack["DeploymentRole"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
        if isinstance(statement["Action"], str)
    }
    assert set(rights) == {"lambda:InvokeFunction", "codedeploy:PutLifecycleEventHookExecutionStatus"}
    assert [policy["PolicyName"] for policy in stack["DeploymentRole"]["Policies"]] == ["hook"]


def test_alarms_without_a_topic_tell_nobody(stack):
    assert all("AlarmActions" not in alarm for alarm in stack.of("AWS::CloudWatch::Alarm").values())


@pytest.mark.parametrize(
    ("environment", "days", "reserved", "provisioned", "gradual"),
    [("default", 30, None, None, True), ("dev", 3, None, None, False), ("prod", 365, "50", "1", True)],
)
def test_an_environment_decides_on_all_that_is_not_said(environment, days, reserved, provisioned, gradual):
    assert ENVIRONMENTS[environment] == {"Environment": environment}
    stack = translate(Environment=environment)
    assert {group["RetentionInDays"] for group in stack.of("AWS::Logs::LogGroup").values()} == {days}
    assert stack["Function"].get("ReservedConcurrentExecutions") == reserved
    warm = stack["FunctionAliaslive"].get("ProvisionedConcurrencyConfig", {})
    assert warm.get("ProvisionedConcurrentExecutions") == provisioned
    assert bool(stack.of("AWS::CodeDeploy::DeploymentGroup")) == gradual
    assert ("UpdatePolicy" in stack.resources["FunctionAliaslive"]) == gradual


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_is_said_goes_before_the_environment(environment):
    said = {"LogRetentionDays": "7", "ReservedConcurrency": "-1", "ProvisionedConcurrency": "0"}
    stack = translate(Environment=environment, GradualDeployment="false", **said)
    assert {group["RetentionInDays"] for group in stack.of("AWS::Logs::LogGroup").values()} == {"7"}
    assert "ReservedConcurrentExecutions" not in stack["Function"]
    assert "ProvisionedConcurrencyConfig" not in stack["FunctionAliaslive"]
    assert not stack.of("AWS::CodeDeploy::DeploymentGroup")


@pytest.mark.parametrize(
    "parameters",
    [
        {"Environment": "default"},
        {"Environment": "dev"},
        {"Environment": "prod", "ReservedConcurrency": "-1", "ProvisionedConcurrency": "0"},  # docs/operations.md
    ],
)
def test_a_new_account_can_deploy_every_environment(parameters):
    stack = translate(**parameters)
    assert "ReservedConcurrentExecutions" not in stack["Function"]
    assert "ProvisionedConcurrencyConfig" not in stack["FunctionAliaslive"]


def test_a_first_deployment_cannot_lose_its_environment():
    """Overrides on the command line replace samconfig's; without a default, CloudFormation then asks for it."""
    without_default = [name for name, each in translate().translated["Parameters"].items() if "Default" not in each]
    assert without_default == ["Environment"]


def test_the_function_is_what_the_parameters_say():
    function = translate(**VARIANTS["large"])["Function"]
    assert function["Architectures"] == ["arm64"]
    assert (function["PackageType"], function["MemorySize"]) == ("Image", "10240")
    assert function["Timeout"] == 29  # of the gateway's 30
    assert function["LoggingConfig"] == {"LogGroup": {"Ref": "FunctionLog"}, "LogFormat": "JSON"}
    alias = translate(**VARIANTS["large"]).only("AWS::Lambda::Alias")
    assert alias["ProvisionedConcurrencyConfig"] == {"ProvisionedConcurrentExecutions": "2"}
    assert "ProvisionedConcurrencyConfig" not in translate().only("AWS::Lambda::Alias")
    assert "ReservedConcurrentExecutions" not in translate()["Function"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_build_and_deploy_read_the_processor_from_one_list(environment):
    read = [SamConfig(ROOT).get_all([command], "parameters", environment) for command in ("build", "deploy")]
    assert [each["parameter_overrides"] for each in read] == [[f"Environment={environment}"]] * 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # by SAM, of SAM
@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_the_image_is_built_for_the_processor_that_the_list_names(architecture):
    overrides = {"Architecture": architecture}
    stacks, _ = SamLocalStackProvider.get_stacks(str(ROOT / "template.yaml"), parameter_overrides=overrides)
    (built,) = (each for each in SamFunctionProvider(stacks).get_all() if each.packagetype == "Image")
    assert built.architectures == [architecture] == translate(Architecture=architecture)["Function"]["Architectures"]


def test_a_first_version_that_cannot_embed_leaves_no_green_stack(stack):
    assert stack["FirstVersion"]["ServiceToken"] == {"Fn::GetAtt": ["DeploymentHook", "Arn"]}
    assert stack["FirstVersion"]["ServiceTimeout"] > stack["DeploymentHook"]["Timeout"]


def version(stack):
    """Return what decides on a new version: its logical id, and the content whose number is in its description."""
    ((name, properties),) = stack.of("AWS::Lambda::Version").items()
    assert properties["Description"] == {"Fn::Sub": "configuration ${ConfigurationRevision.VersionNumber}"}
    return name, stack["ConfigurationRevision"]["Content"]["Fn::Sub"]


def test_a_new_image_is_a_new_version():
    assert version(translate())[0] != version(translate(image=IMAGE.replace("0", "1")))[0]


def test_a_change_in_the_template_is_a_new_version():
    changed = TEMPLATE.replace("MODELS: !Ref Models", "MODELS: another")
    assert version(translate())[0] != version(translate(template=changed))[0]


def test_the_version_before_is_kept(stack):
    ((name, _),) = stack.of("AWS::Lambda::Version").items()
    version = stack.resources[name]
    # One for a version of the same image, which is replaced; one for a version of another image, which is removed.
    assert (version["UpdateReplacePolicy"], version["DeletionPolicy"]) == ("Retain", "Retain")
    assert "DeletionPolicy" not in stack.resources["Function"]


def test_sam_itself_does_not_see_that_a_parameter_changed():
    """The reason for ConfigurationRevision: once this fails, SAM has fixed it, and the resource can go."""
    assert version(translate())[0] == version(translate(Models="another"))[0]


def test_every_parameter_that_reaches_a_version_is_in_its_configuration():
    stack = translate()
    function, revision = (stack.translated["Resources"][name] for name in ("Function", "ConfigurationRevision"))
    parameters, conditions = set(stack.translated["Parameters"]), stack.translated["Conditions"]
    reaching = references(function, conditions) & parameters - UNVERSIONED
    configuration = revision["Properties"]["Content"]
    assert {"Models", "ApiKeys", "MemorySize", "AuthMode"} < reaching
    # Both ways: a number that changes without the function would ask Lambda for a version it already has.
    assert references(configuration, conditions) & parameters == reaching


def operations(stack):
    return stack.only("AWS::ApiGatewayV2::Api")["Body"]["paths"]


def test_every_way_in_leads_to_the_alias(stack):
    for path in operations(stack).values():
        for operation in path.values():
            integration = operation["x-amazon-apigateway-integration"]
            assert "functions/${Function.Arn}:live/invocations" in integration["uri"]["Fn::Sub"]
            assert integration["payloadFormatVersion"] == "2.0"
    for permission in stack.of("AWS::Lambda::Permission").values():
        assert permission["FunctionName"] == {"Ref": "FunctionAliaslive"}
    for url in stack.of("AWS::Lambda::Url").values():
        assert url["Qualifier"] == "live"


@pytest.mark.parametrize(
    ("variant", "security", "schemes"),
    [
        ("keys", [], set()),
        ("open", [], set()),
        ("iam", [{"AWS_IAM": []}], {"AWS_IAM"}),
        ("jwt", [{"jwt": []}], {"jwt"}),
    ],
)
def test_who_checks_the_caller(variant, security, schemes):
    stack = translate(**VARIANTS[variant])
    paths = operations(stack)
    # SAM writes a slash before it, without which an import has a warning (aws/serverless-application-model#2297).
    default = paths["/$default"]["x-amazon-apigateway-any-method"]
    assert (default["isDefaultRoute"], default["security"]) == (True, security)
    assert "security" not in paths["/health"]["get"]
    assert set(stack.only("AWS::ApiGatewayV2::Api")["Body"]["components"]["securitySchemes"]) == schemes
    environment = stack["Function"]["Environment"]["Variables"]
    assert environment["AUTH_MODE"] == VARIANTS[variant].get("AuthMode", "api-key")
    assert environment["API_KEYS"] == VARIANTS[variant].get("ApiKeys", "")


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_issuer_that_cannot_be_verified_fails_the_deployment(variant):
    api = translate(**VARIANTS[variant]).only("AWS::ApiGatewayV2::Api")
    assert api["FailOnWarnings"] == (variant == "jwt")


def test_jwts_are_checked_against_issuer_and_audience():
    body = translate(**JWT).only("AWS::ApiGatewayV2::Api")["Body"]
    authorizer = body["components"]["securitySchemes"]["jwt"]["x-amazon-apigateway-authorizer"]
    assert authorizer["jwtConfiguration"] == {"issuer": "https://issuer.example", "audience": ["embeddings"]}


@pytest.mark.parametrize(
    ("overrides", "auth_type", "public"),
    [
        ({}, None, False),
        ({"FunctionUrl": "true"}, "NONE", True),
        ({"FunctionUrl": "true", "AuthMode": "none"}, "NONE", True),
        ({"FunctionUrl": "true", "AuthMode": "iam"}, "AWS_IAM", False),
        ({"FunctionUrl": "true", **JWT}, None, False),
    ],
)
def test_a_function_url_is_made_when_asked_for_and_never_past_an_authorizer(overrides, auth_type, public):
    stack = translate(**overrides)
    assert [url["AuthType"] for url in stack.of("AWS::Lambda::Url").values()] == ([auth_type] if auth_type else [])
    permissions = stack.of("AWS::Lambda::Permission").values()
    assert any(each["Principal"] == "*" for each in permissions) == public
    assert ("FunctionUrlBaseUrl" in stack.outputs) == bool(auth_type)


@pytest.mark.parametrize(
    ("parameters", "objection"),
    [
        ({**JWT, "JwtIssuer": ""}, "AuthMode is jwt, so JwtIssuer has to name who issues the tokens."),
        ({**JWT, "JwtAudience": ""}, "AuthMode is jwt, so JwtAudience has to name the audience of the tokens."),
        (
            {**JWT, **FUNCTION_URL},
            "A function URL cannot check JWTs; choose another AuthMode, or do without FunctionUrl.",
        ),
    ],
)
def test_rules_refuse_what_could_not_work(parameters, objection):
    assert objections(**parameters) == [objection]


def test_nothing_is_traced_unless_asked_for():
    for mode, policies in (("PassThrough", []), ("Active", ["traces"])):
        stack = translate(Tracing=mode)
        assert stack["Function"]["TracingConfig"] == {"Mode": mode}
        found = [each["PolicyName"] for each in stack["FunctionRole"]["Policies"]]
        assert [name for name in found if name == "traces"] == policies
        assert ("xray" in json.dumps(stack.of("AWS::IAM::Role"))) == bool(policies)
    assert "EphemeralStorage" not in translate()["Function"]


# Values that hold no quote: numbers, addresses, times and words of API Gateway's own.
QUOTELESS = {
    f"$context.{name}"
    for name in (
        *("requestTime", "requestId", "identity.sourceIp", "routeKey", "protocol", "status", "responseLength"),
        *("responseLatency", "integrationLatency", "error.responseType"),
        *("integration.status", "integration.integrationStatus"),
    )
}


def test_an_access_log_line_is_json_whatever_went_wrong():
    settings = translate().only("AWS::ApiGatewayV2::Stage")["AccessLogSettings"]
    assert set(json.loads(settings["Format"]).values()) == QUOTELESS


def test_access_logs_hold_neither_headers_nor_bodies(stack):
    settings = stack.only("AWS::ApiGatewayV2::Stage")["AccessLogSettings"]
    logged = json.loads(settings["Format"])
    assert logged["request_id"] == "$context.requestId"
    assert not any(word in settings["Format"] for word in ("header", "body", "claims", "querystring", "path"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_rules_have_nothing_against_what_can_be_deployed(variant):
    assert objections(**VARIANTS[variant]) == []


@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        ({}, True),
        ({"ReservedConcurrency": "-1"}, True),
        ({"ReservedConcurrency": "5"}, False),
        ({"Environment": "dev"}, True),
        ({"Environment": "prod"}, False),
        ({"Environment": "prod", "ReservedConcurrency": "-1"}, True),
    ],
)
def test_a_function_url_needs_a_reserved_concurrency(overrides, refused):
    found = objections(FunctionUrl="true", **overrides)
    assert [each.startswith("Nothing throttles a function URL") for each in found] == [True] * refused
    assert refused == ("ReservedConcurrentExecutions" not in translate(FunctionUrl="true", **overrides)["Function"])


def test_an_alarm_counts_invalid_keys():
    alarm = translate()["InvalidKeysAlarm"]
    assert {"Name": "error_code", "Value": "invalid_api_key"} in alarm["Dimensions"]
    assert '"invalid_api_key"' in (ROOT / "handler/errors.py").read_text()


FREE_ALARMS = {"ServerErrorsAlarm", "InvocationErrorsAlarm", "LatencyAlarm", "ThrottlesAlarm", *NEW_VERSION_ALARMS}


@pytest.mark.parametrize(
    ("monitoring", "alarms", "read", "dashboards"),
    [
        ("full", {*FREE_ALARMS, "ModelLoadFailuresAlarm", "InvalidKeysAlarm"}, 10, 1),
        ("basic", FREE_ALARMS, 7, 0),
        ("none", set(), 0, 0),
    ],
)
def test_what_is_monitored_and_so_paid_for(monitoring, alarms, read, dashboards):
    stack = translate(Monitoring=monitoring)
    assert set(stack.of("AWS::CloudWatch::Alarm")) == alarms
    assert (
        sum(len(metrics(stack[name])) for name in alarms) == read
    )  # CloudWatch bills alarms by it: docs/operations.md
    assert len(stack.of("AWS::CloudWatch::Dashboard")) == dashboards == ("DashboardUrl" in stack.outputs)
    emitted = monitoring == "full"
    assert stack["Function"]["Environment"]["Variables"]["METRICS"] == ("emf" if emitted else "none")
    assert ("ServerlessEmbeddings" in json.dumps([stack[name] for name in alarms])) == emitted
    for alarm in (stack[name] for name in alarms):
        for expression in (each["Expression"] for each in alarm.get("Metrics", []) if "Expression" in each):
            assert set(re.findall(r"[a-z_]{3,}", expression)) <= {each["Id"] for each in alarm["Metrics"]}
    wired = stack.only("AWS::CodeDeploy::DeploymentGroup").get("AlarmConfiguration", {}).get("Alarms", [])
    assert {each["Name"]["Ref"] for each in wired} == alarms & NEW_VERSION_ALARMS
    assert "DetailedMetricsEnabled" not in stack.only("AWS::ApiGatewayV2::Stage")["DefaultRouteSettings"]


def test_a_metric_more_or_less_is_a_new_version_and_an_alarm_is_none():
    numbered = {each: str(version(translate(Monitoring=each))[1]) for each in ("full", "basic", "none")}
    assert numbered["full"] != numbered["basic"] == numbered["none"]


def test_logs_are_kept_for_as_long_as_asked():
    groups = translate(LogRetentionDays="365").of("AWS::Logs::LogGroup")
    assert {name: group["RetentionInDays"] for name, group in groups.items()} == {
        "FunctionLog": "365",
        "AccessLog": "365",
    }


def test_the_dashboard_is_json_and_shows_what_the_function_emits():
    stack = translate()
    body = stack.only("AWS::CloudWatch::Dashboard")["DashboardBody"]["Fn::Sub"][0]
    dashboard = json.dumps(json.loads(body))
    for metric in ("Requests", "Inputs", "Tokens", "Errors", "ColdStarts", "ModelLoadFailures", "ColdStartFirstRun"):
        assert metric in dashboard
        assert f'"{metric}"' in (ROOT / "handler/telemetry.py").read_text() or metric.startswith("ColdStart")


def test_outputs_are_ready_to_paste_and_hold_no_secret(stack):
    assert {"BaseUrl", "FunctionName", "AliasArn", "ArtifactBucketName"} <= set(stack.outputs)
    assert stack.outputs["BaseUrl"]["Value"]["Fn::Sub"].endswith("/v1")
    assert "ApiKeys" not in references(stack.translated["Outputs"])
    assert "a" * 64 not in json.dumps(stack.outputs)


def test_every_parameter_is_described_grouped_and_labelled():
    template = translate().translated
    interface = template["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    assert grouped == list(template["Parameters"]) == list(interface["ParameterLabels"])
    assert all(parameter["Description"].endswith((".", "once")) for parameter in template["Parameters"].values())


def test_the_longest_values_fit_into_the_functions_environment():
    """CloudFormation refuses longer ones at once; Lambda would in the middle of an update."""
    template = yaml_parse(TEMPLATE)
    variables = template["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
    assert sum(len(name) + longest(value, template["Parameters"]) for name, value in variables.items()) <= 4000
    assert template["Parameters"]["ApiKeys"]["MaxLength"] >= 38 * (len(KEY) + 1)


def longest(value, parameters):
    if "Fn::If" in value:
        return max(map(len, value["Fn::If"][1:]))
    parameter = parameters[value["Ref"]]
    return parameter["MaxLength"] if "MaxLength" in parameter else max(map(len, parameter["AllowedValues"]))


def test_no_name_that_must_be_short_is_made_of_the_stacks_name(stack):
    for kind in ("AWS::AppConfig::Application", "AWS::AppConfig::ConfigurationProfile"):
        assert "AWS::StackName" not in references(stack.only(kind)["Name"])
    for properties in (*stack.of("AWS::Lambda::Function").values(), *stack.of("AWS::IAM::Role").values()):
        assert not {"FunctionName", "RoleName"} & set(properties)  # CloudFormation shortens those that it makes


def test_defaults_are_those_of_the_service():
    source = (ROOT / "handler/settings.py").read_text()
    for name in ("Models", "ModelAliases", "TokenInput", "LongInput", "AuthMode"):
        for default in translate().translated["Parameters"][name]["Default"].split(","):
            assert f'"{default}"' in source
