"""The resources that `sam deploy` creates, checked on the translated template."""

import hashlib
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
from stack import ENVIRONMENTS, IMAGE, KEY, ROOT, TEMPLATE, references, translate, violations, walk

JWT = {"AuthMode": "jwt", "JwtIssuer": "https://issuer.example", "JwtAudience": "embeddings"}
FUNCTION_URL = {"FunctionUrl": "true", "ReservedConcurrency": "5"}
VARIANTS = {
    **ENVIRONMENTS,
    "keys": {"ApiKeys": KEY},
    "iam": {"AuthMode": "iam", "CorsOrigins": "*", **FUNCTION_URL},
    "jwt": JWT,
    "page": {"Page": "true", **JWT},
    "open": {"AuthMode": "none", **FUNCTION_URL},
    "bulk": {"Bulk": "true"},
    "large": {
        "Tracing": "Active",
        "Monitoring": "basic",
        "Architecture": "arm64",
        "MemorySize": "10240",
        "ProvisionedConcurrency": "2",
        "ReservedConcurrency": "9",
    },
}
# Parameters of the function that are not part of a version.
UNVERSIONED = {"Environment", "ReservedConcurrency"}
BIN = Path(sys.executable).parent


@pytest.fixture(params=VARIANTS)
def stack(request):
    return translate(**VARIANTS[request.param])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_sam_validates_every_environment(environment):
    command = [BIN / "sam", "validate", "--lint", "--config-env", environment]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("variant", ["default", "dev", "bulk"])  # SAM resolves only what GradualDeployment depends on
def test_translated_template_passes_cfn_lint(variant, tmp_path):
    path = tmp_path / "translated.json"
    path.write_text(json.dumps(translate(**VARIANTS[variant]).translated))
    # W2001, W7001: the parameter and the mapping GradualDeployment are unused once SAM has resolved them.
    # W3011: SAM copies UpdateReplacePolicy to alias and function as well; only the version needs it.
    command = [BIN / "cfn-lint", "--regions", "eu-central-1", "--ignore-checks", "W2001", "W7001", "W3011", "--", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_roles_grant_only_the_permissions_they_need(stack):
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


def test_bucket_is_private_versioned_encrypted_and_requires_tls(stack):
    bucket = stack.only("AWS::S3::Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["BucketEncryption"]
    (statement,) = stack.only("AWS::S3::BucketPolicy")["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


TOPIC = "arn:aws:sns:eu-central-1:123456789012:alarms"
NEW_VERSION_ALARMS = {"NewVersionErrorsAlarm", "NewVersionLatencyAlarm"}


def test_every_alarm_notifies_the_topic():
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


def test_deployment_is_rolled_back_by_alarms_of_the_new_version_only():
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


def test_one_request_cannot_roll_a_deployment_back():
    stack = translate()
    assert "failures >= 5 AND failures >= invocations / 10" in json.dumps(stack["NewVersionErrorsAlarm"])
    latency = stack["NewVersionLatencyAlarm"]
    assert (latency["ExtendedStatistic"], latency["EvaluateLowSampleCountPercentile"]) == ("p99", "ignore")


def test_alarm_reads_the_function_urls_metric_only_if_there_is_one():
    for overrides, expected in (({}, ["5xx"]), ({"FunctionUrl": "true"}, ["5xx", "Url5xxCount"])):
        alarm = translate(**overrides)["ServerErrorsAlarm"]
        assert [each["MetricName"] for each in metrics(alarm)] == expected
        names = {each["Id"] for each in alarm["Metrics"]}
        assert set(re.findall(r"FILL\((\w+)", alarm["Metrics"][0]["Expression"])) == names - {"all"}


def test_new_version_is_tested_before_it_gets_traffic():
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


def test_alarms_without_a_topic_have_no_actions(stack):
    assert all("AlarmActions" not in alarm for alarm in stack.of("AWS::CloudWatch::Alarm").values())


@pytest.mark.parametrize(
    ("environment", "days", "reserved", "provisioned", "gradual"),
    [("default", 30, None, None, True), ("dev", 3, None, None, False), ("prod", 365, "50", "1", True)],
)
def test_environment_sets_the_parameters_that_are_not_given(environment, days, reserved, provisioned, gradual):
    assert ENVIRONMENTS[environment] == {"Environment": environment}
    stack = translate(Environment=environment)
    assert {group["RetentionInDays"] for group in stack.of("AWS::Logs::LogGroup").values()} == {days}
    assert stack["Function"].get("ReservedConcurrentExecutions") == reserved
    warm = stack["FunctionAliaslive"].get("ProvisionedConcurrencyConfig", {})
    assert warm.get("ProvisionedConcurrentExecutions") == provisioned
    assert bool(stack.of("AWS::CodeDeploy::DeploymentGroup")) == gradual
    assert ("UpdatePolicy" in stack.resources["FunctionAliaslive"]) == gradual


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_given_parameters_override_the_environment(environment):
    given = {"LogRetentionDays": "7", "ReservedConcurrency": "-1", "ProvisionedConcurrency": "0"}
    stack = translate(Environment=environment, GradualDeployment="false", **given)
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
def test_every_environment_deploys_in_a_new_account(parameters):
    stack = translate(**parameters)
    assert "ReservedConcurrentExecutions" not in stack["Function"]
    assert "ProvisionedConcurrencyConfig" not in stack["FunctionAliaslive"]


def test_first_deployment_must_name_its_environment():
    """Overrides on the command line replace samconfig's; without a default, CloudFormation then asks for it."""
    without_default = [name for name, each in translate().translated["Parameters"].items() if "Default" not in each]
    assert without_default == ["Environment"]


def test_timeout_leaves_time_to_embed():
    timeout = translate().translated["Parameters"]["Timeout"]
    assert timeout["MinValue"] == 5  # a second of it is for the response: of one second, none would be left


def test_parameters_configure_the_function():
    function = translate(**VARIANTS["large"])["Function"]
    assert function["Architectures"] == ["arm64"]
    assert (function["PackageType"], function["MemorySize"]) == ("Image", "10240")
    assert function["Timeout"] == 29  # less than the gateway's 30
    assert function["LoggingConfig"] == {"LogGroup": {"Ref": "FunctionLog"}, "LogFormat": "JSON"}
    alias = translate(**VARIANTS["large"]).only("AWS::Lambda::Alias")
    assert alias["ProvisionedConcurrencyConfig"] == {"ProvisionedConcurrentExecutions": "2"}
    assert "ProvisionedConcurrencyConfig" not in translate().only("AWS::Lambda::Alias")
    assert "ReservedConcurrentExecutions" not in translate()["Function"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_build_and_deploy_read_the_same_parameters(environment):
    read = [SamConfig(ROOT).get_all([command], "parameters", environment) for command in ("build", "deploy")]
    assert [each["parameter_overrides"] for each in read] == [[f"Environment={environment}"]] * 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SAM warns of its own code
@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_image_is_built_for_the_architecture_of_the_function(architecture):
    overrides = {"Architecture": architecture}
    stacks, _ = SamLocalStackProvider.get_stacks(str(ROOT / "template.yaml"), parameter_overrides=overrides)
    built = {
        each.name: each.architectures for each in SamFunctionProvider(stacks).get_all() if each.packagetype == "Image"
    }
    translated = translate(Bulk="true", Architecture=architecture).of("AWS::Lambda::Function")
    deployed = {name: each["Architectures"] for name, each in translated.items() if each.get("PackageType") == "Image"}
    assert built == deployed == {"Function": [architecture], "BulkFunction": [architecture]}


def test_stack_creation_fails_if_the_first_version_cannot_embed(stack):
    assert stack["FirstVersion"]["ServiceToken"] == {"Fn::GetAtt": ["DeploymentHook", "Arn"]}
    assert stack["FirstVersion"]["ServiceTimeout"] > stack["DeploymentHook"]["Timeout"]


def version(stack):
    """Return what triggers a new version: its logical ID, and the configuration whose number is in its description."""
    ((name, properties),) = stack.of("AWS::Lambda::Version").items()
    assert properties["Description"] == {"Fn::Sub": "configuration ${ConfigurationRevision.VersionNumber}"}
    return name, stack["ConfigurationRevision"]["Content"]["Fn::Sub"]


def test_new_image_creates_a_new_version():
    assert version(translate())[0] != version(translate(image=IMAGE.replace("0", "1")))[0]


def test_template_change_creates_a_new_version():
    changed = TEMPLATE.replace("MODELS: !Ref Models", "MODELS: another")
    assert version(translate())[0] != version(translate(template=changed))[0]


def test_previous_version_is_retained(stack):
    ((name, _),) = stack.of("AWS::Lambda::Version").items()
    version = stack.resources[name]
    # The first if only the configuration changes and the version is replaced, the second if the image changes.
    assert (version["UpdateReplacePolicy"], version["DeletionPolicy"]) == ("Retain", "Retain")
    assert "DeletionPolicy" not in stack.resources["Function"]


def test_sam_alone_creates_no_version_for_a_changed_parameter():
    """The reason for ConfigurationRevision: when this test fails, SAM has changed, and the resource can be removed."""
    assert version(translate())[0] == version(translate(Models="another"))[0]


def test_configuration_contains_exactly_the_parameters_of_a_version():
    stack = translate()
    function, revision = (stack.translated["Resources"][name] for name in ("Function", "ConfigurationRevision"))
    parameters, conditions = set(stack.translated["Parameters"]), stack.translated["Conditions"]
    # Its metadata is for `sam build`: another image is another URI, which is among its properties.
    used = references(function["Properties"], conditions) & parameters - UNVERSIONED
    configuration = revision["Properties"]["Content"]
    assert {"Models", "ApiKeys", "MemorySize", "AuthMode"} < used
    # Equal in both directions: a revision without a change of the function would request a version that exists.
    assert references(configuration, conditions) & parameters == used


@pytest.mark.parametrize("other", ["{{}}", "bob:{0}, {{}}", "{{}},bob:{0}"])
def test_digest_of_an_empty_key_does_not_match_the_parameters_pattern(other):
    pattern = translate().translated["Parameters"]["ApiKeys"]["AllowedPattern"]
    given = other.format("b" * 64)
    assert re.search(pattern, given.format(KEY))
    assert not re.search(pattern, given.format(f"ci:{hashlib.sha256(b'').hexdigest()}"))


def operations(stack):
    return stack.only("AWS::ApiGatewayV2::Api")["Body"]["paths"]


def test_every_entry_point_invokes_the_alias(stack):
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
def test_auth_mode_selects_the_authorizer(variant, security, schemes):
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


@pytest.mark.parametrize("overrides", [{}, {"AuthMode": "none"}, JWT])
def test_page_has_a_route_that_needs_no_token(overrides):
    stack = translate(Page="true", **overrides)
    assert stack["Function"]["Environment"]["Variables"]["PAGE"] == "true"
    assert set(operations(stack)["/"]) == {"get"}
    assert "security" not in operations(stack)["/"]["get"]
    assert "/" not in operations(translate(**overrides))
    assert translate(**overrides)["Function"]["Environment"]["Variables"]["PAGE"] == "false"


@pytest.mark.parametrize("variant", VARIANTS)
def test_deployment_fails_if_the_issuer_cannot_be_verified(variant):
    api = translate(**VARIANTS[variant]).only("AWS::ApiGatewayV2::Api")
    assert api["FailOnWarnings"] == (VARIANTS[variant].get("AuthMode") == "jwt")


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
def test_function_url_is_optional_and_never_bypasses_an_authorizer(overrides, auth_type, public):
    stack = translate(**overrides)
    assert [url["AuthType"] for url in stack.of("AWS::Lambda::Url").values()] == ([auth_type] if auth_type else [])
    permissions = stack.of("AWS::Lambda::Permission").values()
    assert any(each["Principal"] == "*" for each in permissions) == public
    assert ("FunctionUrlBaseUrl" in stack.outputs) == bool(auth_type)


@pytest.mark.parametrize(
    ("parameters", "objection"),
    [
        ({**JWT, "JwtIssuer": ""}, "AuthMode is jwt, so JwtIssuer has to name the issuer of the tokens."),
        ({**JWT, "JwtAudience": ""}, "AuthMode is jwt, so JwtAudience has to name the audience of the tokens."),
        (
            {"Page": "true", "AuthMode": "iam"},
            "A page cannot sign requests with IAM; choose another AuthMode, or set Page to false.",
        ),
        (
            {**JWT, **FUNCTION_URL},
            "A function URL cannot check JWTs; choose another AuthMode, or set FunctionUrl to false.",
        ),
    ],
)
def test_rules_reject_parameters_that_cannot_work(parameters, objection):
    assert violations(**parameters) == [objection]


def test_tracing_is_off_by_default():
    for mode, policies in (("PassThrough", []), ("Active", ["traces"])):
        stack = translate(Tracing=mode)
        assert stack["Function"]["TracingConfig"] == {"Mode": mode}
        found = [each["PolicyName"] for each in stack["FunctionRole"]["Policies"]]
        assert [name for name in found if name == "traces"] == policies
        assert ("xray" in json.dumps(stack.of("AWS::IAM::Role"))) == bool(policies)
    assert "EphemeralStorage" not in translate()["Function"]


# Values without quotes: numbers, addresses, times and API Gateway's own constants.
QUOTELESS = {
    f"$context.{name}"
    for name in (
        *("requestTime", "requestId", "identity.sourceIp", "routeKey", "protocol", "status", "responseLength"),
        *("responseLatency", "integrationLatency", "error.responseType"),
        *("integration.status", "integration.integrationStatus"),
    )
}


def test_access_log_lines_are_valid_json_for_every_error():
    settings = translate().only("AWS::ApiGatewayV2::Stage")["AccessLogSettings"]
    assert set(json.loads(settings["Format"]).values()) == QUOTELESS


def test_access_logs_contain_neither_headers_nor_bodies(stack):
    settings = stack.only("AWS::ApiGatewayV2::Stage")["AccessLogSettings"]
    logged = json.loads(settings["Format"])
    assert logged["request_id"] == "$context.requestId"
    assert not any(word in settings["Format"] for word in ("header", "body", "claims", "querystring", "path"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_rules_accept_every_variant(variant):
    assert violations(**VARIANTS[variant]) == []


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
def test_function_url_requires_reserved_concurrency(overrides, refused):
    found = violations(FunctionUrl="true", **overrides)
    assert [each.startswith("Only ReservedConcurrency throttles a function URL") for each in found] == [True] * refused
    assert refused == ("ReservedConcurrentExecutions" not in translate(FunctionUrl="true", **overrides)["Function"])


def test_alarm_counts_invalid_keys():
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
def test_monitoring_selects_alarms_metrics_and_dashboard(monitoring, alarms, read, dashboards):
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


def test_only_a_change_of_the_functions_metrics_creates_a_new_version():
    numbered = {each: str(version(translate(Monitoring=each))[1]) for each in ("full", "basic", "none")}
    assert numbered["full"] != numbered["basic"] == numbered["none"]


def test_log_retention_follows_the_parameter():
    groups = translate(LogRetentionDays="365").of("AWS::Logs::LogGroup")
    assert {name: group["RetentionInDays"] for name, group in groups.items()} == {
        "FunctionLog": "365",
        "AccessLog": "365",
    }


def widgets(stack):
    """Return the dashboard's widgets, with the names of resources as their values."""
    text, variables = stack.only("AWS::CloudWatch::Dashboard")["DashboardBody"]["Fn::Sub"]
    for name, value in variables.items():
        text = text.replace(f"${{{name}}}", value["Fn::Sub"] if isinstance(value, dict) else value)
    return json.loads(text)["widgets"]


def test_dashboard_is_json_and_shows_what_the_function_emits():
    dashboard, telemetry = json.dumps(widgets(translate())), (ROOT / "handler/telemetry.py").read_text()
    for metric in ("Requests", "Inputs", "Tokens", "Errors", "ColdStarts", "ModelLoadFailures", "ColdStartFirstRun"):
        assert metric in dashboard
        assert f'"{metric}"' in telemetry or metric.startswith("ColdStart")
    for dimension in set(re.findall(r"{ServerlessEmbeddings,service,(\w+)}", dashboard)):
        assert f'dimensions["{dimension}"]' in telemetry


def test_outputs_are_ready_to_paste_and_hold_no_secret(stack):
    assert {"BaseUrl", "FunctionName", "AliasArn", "ArtifactBucketName"} <= set(stack.outputs)
    assert stack.outputs["BaseUrl"]["Value"]["Fn::Sub"].endswith("/v1")
    assert "ApiKeys" not in references(stack.translated["Outputs"])
    assert "a" * 64 not in json.dumps(stack.outputs)


@pytest.mark.parametrize(
    ("parameters", "url", "key"),
    [
        ({"DomainName": "api.example.com"}, "https://${DomainName}/v1", None),
        ({"DomainName": "api.example.com", "BasePath": "team/emb"}, "https://${DomainName}/${BasePath}/v1", "team/emb"),
    ],
)
def test_custom_domain_is_mapped_to_the_api(parameters, url, key):
    stack = translate(**parameters)
    assert stack["ApiMapping"]["DomainName"] == "api.example.com"
    assert stack["ApiMapping"]["Stage"] == {"Ref": "ApiApiGatewayDefaultStage"}
    assert stack["ApiMapping"].get("ApiMappingKey") == key
    assert stack["Function"]["Environment"]["Variables"]["BASE_PATH"] == (key or "")
    assert stack.outputs["BaseUrl"]["Value"] == {"Fn::Sub": url}
    assert "ApiMapping" not in translate().resources


def test_every_parameter_has_a_description_group_and_label():
    template = translate().translated
    interface = template["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    assert grouped == list(template["Parameters"]) == list(interface["ParameterLabels"])
    assert all(parameter["Description"].endswith(".") for parameter in template["Parameters"].values())


LONGEST = {"Ref": 143, "Fn::Sub": 76}  # the ARN of a state machine, whose name has 80 characters; the URI of a prefix


def test_longest_parameter_values_fit_the_functions_environment():
    """CloudFormation refuses longer ones before an update begins; Lambda would refuse them in the middle of it."""
    template = yaml_parse(TEMPLATE)
    variables = template["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
    assert sum(len(name) + longest(value, template["Parameters"]) for name, value in variables.items()) <= 4000
    assert template["Parameters"]["ApiKeys"]["MaxLength"] >= 37 * (len(KEY) + 1)


def longest(value, parameters):
    if "Fn::If" in value:
        return max(len(each) if isinstance(each, str) else LONGEST[next(iter(each))] for each in value["Fn::If"][1:])
    parameter = parameters[value["Ref"]]
    if "MaxValue" in parameter:
        return len(str(parameter["MaxValue"]))
    return parameter["MaxLength"] if "MaxLength" in parameter else max(map(len, parameter["AllowedValues"]))


def test_names_with_short_limits_do_not_contain_the_stack_name(stack):
    for kind in ("AWS::AppConfig::Application", "AWS::AppConfig::ConfigurationProfile"):
        assert "AWS::StackName" not in references(stack.only(kind)["Name"])
    for properties in (*stack.of("AWS::Lambda::Function").values(), *stack.of("AWS::IAM::Role").values()):
        assert not {"FunctionName", "RoleName"} & set(properties)  # CloudFormation shortens those that it generates


def test_defaults_are_those_of_the_service():
    source = (ROOT / "handler/settings.py").read_text()
    for name in ("Models", "ModelAliases", "TokenInput", "LongInput", "AuthMode"):
        for default in translate().translated["Parameters"][name]["Default"].split(","):
            assert f'"{default}"' in source
    assert f"VECTOR_CACHE_MB = {translate().translated['Parameters']['VectorCacheMb']['Default']} " in source
