"""The resources that `sam deploy` creates, checked on the translated template."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from stack import ENVIRONMENTS, IMAGE, KEY, ROOT, TEMPLATE, references, translate, walk

JWT = {"AuthMode": "jwt", "JwtIssuer": "https://issuer.example", "JwtAudience": "embeddings"}
VARIANTS = {
    **ENVIRONMENTS,
    "keys": {"ApiKeys": KEY},
    "iam": {"AuthMode": "iam", "FunctionUrl": "true", "CorsOrigins": "*"},
    "jwt": JWT,
    "open": {"AuthMode": "none", "FunctionUrl": "true"},
    "large": {
        "Architecture": "arm64",
        "MemorySize": "10240",
        "ProvisionedConcurrency": "2",
        "ReservedConcurrency": "9",
    },
}
# Parameters of the function that are not part of a version.
UNVERSIONED = {"ReservedConcurrency", "AWS::NoValue"}
BIN = Path(sys.executable).parent


@pytest.fixture(params=VARIANTS)
def stack(request):
    return translate(**VARIANTS[request.param])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_sam_validates_every_environment(environment):
    command = [BIN / "sam", "validate", "--lint", "--config-env", environment]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("variant", ["default", "dev"])  # SAM resolves only the parameter GradualDeployment
def test_translated_template_passes_cfn_lint(variant, tmp_path):
    path = tmp_path / "translated.json"
    path.write_text(json.dumps(translate(**VARIANTS[variant]).translated))
    # W2001: GradualDeployment is unused once SAM has resolved it.
    command = [BIN / "cfn-lint", "--regions", "eu-central-1", "--ignore-checks", "W2001", "--", path]
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


def test_alarms_roll_back_a_deployment_and_notify_their_topic():
    stack = translate(AlarmTopic="arn:aws:sns:eu-central-1:123456789012:alarms")
    alarms = stack.of("AWS::CloudWatch::Alarm")
    assert set(alarms) == {
        "ServerErrorsAlarm",
        "InvocationErrorsAlarm",
        "ModelLoadFailuresAlarm",
        "LatencyAlarm",
        "ThrottlesAlarm",
    }
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == ["arn:aws:sns:eu-central-1:123456789012:alarms"]
    group = stack.only("AWS::CodeDeploy::DeploymentGroup")
    rollback_alarms = {each["Name"]["Ref"] for each in group["AlarmConfiguration"]["Alarms"]}
    assert rollback_alarms == set(alarms) - {"ThrottlesAlarm"}
    assert "Canary10Percent5Minutes" in json.dumps(group["DeploymentConfigName"])
    assert group["ServiceRoleArn"] == {"Fn::GetAtt": ["DeploymentRole", "Arn"]}
    assert stack.resources["FunctionAliaslive"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]


def test_alarms_without_a_topic_have_no_actions(stack):
    assert all("AlarmActions" not in alarm for alarm in stack.of("AWS::CloudWatch::Alarm").values())


def test_dev_environment_deploys_without_a_canary():
    stack = translate(**ENVIRONMENTS["dev"])
    assert not stack.of("AWS::CodeDeploy::DeploymentGroup")
    assert "UpdatePolicy" not in stack.resources["FunctionAliaslive"]
    assert stack.only("AWS::Lambda::Function")["ReservedConcurrentExecutions"] == "10"


def test_parameters_configure_the_function():
    function = translate(**VARIANTS["large"]).only("AWS::Lambda::Function")
    assert function["Architectures"] == ["arm64"]
    assert (function["PackageType"], function["MemorySize"]) == ("Image", "10240")
    assert function["Timeout"] == 29  # less than the gateway's 30
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert function["LoggingConfig"] == {"LogGroup": {"Ref": "FunctionLog"}, "LogFormat": "JSON"}
    alias = translate(**VARIANTS["large"]).only("AWS::Lambda::Alias")
    assert alias["ProvisionedConcurrencyConfig"] == {"ProvisionedConcurrentExecutions": "2"}
    assert "ProvisionedConcurrencyConfig" not in translate().only("AWS::Lambda::Alias")
    assert "ReservedConcurrentExecutions" not in translate().only("AWS::Lambda::Function")


def version(stack):
    """Return what triggers a new version: its logical ID, and the configuration whose number is in its description."""
    ((name, properties),) = stack.of("AWS::Lambda::Version").items()
    assert properties["Description"] == {"Fn::Sub": "configuration ${ConfigurationRevision.VersionNumber}"}
    return name, stack.only("AWS::AppConfig::HostedConfigurationVersion")["Content"]["Fn::Sub"]


def test_new_image_creates_a_new_version():
    assert version(translate())[0] != version(translate(image=IMAGE.replace("0", "1")))[0]


def test_template_change_creates_a_new_version():
    changed = TEMPLATE.replace("MODELS: !Ref Models", "MODELS: another")
    assert version(translate())[0] != version(translate(template=changed))[0]


def test_sam_alone_creates_no_version_for_a_changed_parameter():
    """The reason for ConfigurationRevision: when this test fails, SAM has changed, and the resource can be removed."""
    assert version(translate())[0] == version(translate(Models="another"))[0]


def test_configuration_contains_exactly_the_parameters_of_a_version():
    stack = translate()
    (function,) = (each for each in stack.translated["Resources"].values() if each["Type"] == "AWS::Lambda::Function")
    parameters = set(stack.translated["Parameters"])
    used = references(function) & parameters - UNVERSIONED
    configuration = stack.translated["Resources"]["ConfigurationRevision"]["Properties"]["Content"]
    assert {"Models", "ApiKeys", "MemorySize", "AuthMode"} < used
    # Equal in both directions: a revision without a change of the function would request a version that exists.
    assert references(configuration) & parameters == used


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
    assert paths["$default"]["x-amazon-apigateway-any-method"]["security"] == security
    assert "security" not in paths["/health"]["get"]
    assert set(stack.only("AWS::ApiGatewayV2::Api")["Body"]["components"]["securitySchemes"]) == schemes
    environment = stack.only("AWS::Lambda::Function")["Environment"]["Variables"]
    assert environment["AUTH_MODE"] == VARIANTS[variant].get("AuthMode", "api-key")
    assert environment["API_KEYS"] == VARIANTS[variant].get("ApiKeys", "")


def test_jwt_authorizer_checks_issuer_and_audience():
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


def test_rules_reject_invalid_parameter_combinations():
    rules = translate().translated["Rules"]
    assert set(rules) == {"JwtsNeedAnIssuerAndAnAudience", "FunctionUrlsCannotCheckJwts"}


def test_access_logs_contain_neither_headers_nor_bodies(stack):
    settings = stack.only("AWS::ApiGatewayV2::Stage")["AccessLogSettings"]
    logged = json.loads(settings["Format"])
    assert logged["request_id"] == "$context.requestId"
    assert not any(word in settings["Format"] for word in ("header", "body", "claims", "querystring", "path"))


def test_log_retention_follows_the_parameter():
    groups = translate(LogRetentionDays="365").of("AWS::Logs::LogGroup")
    assert {name: group["RetentionInDays"] for name, group in groups.items()} == {
        "FunctionLog": "365",
        "AccessLog": "365",
    }


def test_dashboard_is_valid_json_and_shows_the_functions_metrics(stack):
    body = stack.only("AWS::CloudWatch::Dashboard")["DashboardBody"]["Fn::Sub"][0]
    dashboard = json.dumps(json.loads(body))
    for metric in ("Requests", "Inputs", "Tokens", "Errors", "ColdStarts", "ModelLoadFailures", "ColdStartFirstRun"):
        assert metric in dashboard
        assert f'"{metric}"' in (ROOT / "handler/telemetry.py").read_text() or metric.startswith("ColdStart")


def test_outputs_are_complete_and_contain_no_secret(stack):
    assert {"BaseUrl", "FunctionName", "AliasArn", "ArtifactBucketName", "DashboardUrl"} <= set(stack.outputs)
    assert stack.outputs["BaseUrl"]["Value"]["Fn::Sub"].endswith("/v1")
    assert "ApiKeys" not in references(stack.translated["Outputs"])
    assert "a" * 64 not in json.dumps(stack.outputs)


def test_every_parameter_has_a_description_group_and_label():
    template = translate().translated
    interface = template["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    assert grouped == list(template["Parameters"]) == list(interface["ParameterLabels"])
    assert all(parameter["Description"].endswith((".", "once")) for parameter in template["Parameters"].values())


def test_parameter_defaults_match_the_settings():
    source = (ROOT / "handler/settings.py").read_text()
    for name in ("Models", "ModelAliases", "TokenInput", "LongInput", "AuthMode"):
        for default in translate().translated["Parameters"][name]["Default"].split(","):
            assert f'"{default}"' in source
