"""Deployments with the real SAM command line, in order: each section follows one stack through its life."""

import math
import shutil
import subprocess

import openai
import pytest

from tests.deploy import issuer
from tests.deploy.aws import REGION
from tests.deploy.sam import SamError
from tests.deploy.stack import MODEL, Stack
from tests.emulator import ROOT

OLD_TEMPLATE = ROOT / "tests/deploy/template-0.1.yaml"
ORIGIN = "https://app.example"


# What CloudFormation refuses


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"Environment": "default", "ApiKeys": "alice:not-a-digest"}, "name:sha256 pairs"),
        ({"Environment": "default", "AuthMode": "jwt"}, "JwtIssuer has to name"),
        ({"Environment": "default", "AuthMode": "iam", "Page": "true"}, "A page cannot sign requests"),
        ({"ErrorFormat": "plain"}, "Environment"),
    ],
)
def test_invalid_parameters_are_refused_before_anything_is_made(sam, aws, parameters, reason):
    with pytest.raises(SamError, match=reason):
        sam.deploy(**parameters)
    assert aws.client("lambda").list_functions()["Functions"] == []


# The default environment: the stack `embeddings`


def test_guided_deployment_serves_those_who_have_the_key(stack):
    assert stack.http.get(stack.url.removesuffix("/v1") + "/health").status_code == 200
    assert stack.embed().status_code == 401
    client = openai.OpenAI(base_url=stack.url, api_key=stack.key.secret, http_client=stack.http)
    (embedding,) = client.embeddings.create(model="text-embedding-3-small", input="hello").data
    assert math.hypot(*embedding.embedding) == pytest.approx(1)


def test_verify_deployment_finds_no_failure(stack, aws):
    command = ["make", "--silent", "verify-deployment", f"URL={stack.url}", f"KEY={stack.key.secret}"]
    trusting = aws.environment | {"SSL_CERT_FILE": str(aws.authority)}
    done = subprocess.run(command, cwd=ROOT, env=trusting, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_deployment_without_a_change_makes_no_version(sam, stack):
    assert "No changes to deploy" in sam.deploy()
    assert stack.versions() == ["1"]


def test_parameter_alone_publishes_a_version(sam, stack):
    sam.deploy(ModelAliases="renamed")
    assert (stack.versions(), stack.live_version) == (["1", "2"], "2")
    assert "renamed" in stack.models()  # and ApiKeys kept its value


def test_alias_goes_back_to_the_version_before(stack):
    stack.point_alias_to("1")
    assert "renamed" not in stack.models()
    stack.point_alias_to("2")


def test_image_alone_publishes_a_version(sam, stack):
    with (sam.folder / "handler/__init__.py").open("a") as file:
        file.write("# another image\n")
    sam.build()
    sam.deploy(Environment="default")  # without overrides, SAM deploys all parameters as --guided saved them
    assert (stack.versions(), stack.live_version) == (["1", "2", "3"], "3")
    assert stack.image_of("2") != stack.image_of("3")
    assert "renamed" in stack.models()


def test_model_from_the_stacks_bucket_is_served_by_the_functions_role(sam, stack, aws):
    bucket = stack.outputs()["ArtifactBucketName"]
    publish(bucket, aws)
    sam.deploy(Models=f"s3://{bucket}/models/{MODEL}")
    assert stack.embed_with_key().status_code == 200


def test_version_that_cannot_embed_gets_no_traffic(sam, stack, aws):
    aws.client("s3").create_bucket(Bucket="elsewhere", CreateBucketConfiguration={"LocationConstraint": REGION})
    publish("elsewhere", aws)  # the function's role may not read it
    before = stack.live_version
    with pytest.raises(SamError, match="BeforeAllowTrafficHook"):
        sam.deploy(Models=f"s3://elsewhere/models/{MODEL}")
    assert stack.live_version == before
    assert stack.embed_with_key().status_code == 200


def publish(bucket: str, aws) -> None:
    command = ["make", "--silent", "publish", f"BUCKET={bucket}", f"MODEL={MODEL}"]
    subprocess.run(command, cwd=ROOT, env=aws.environment, check=True, stdout=subprocess.DEVNULL)


def test_deleted_stack_leaves_the_bucket_of_models(sam, stack, aws):
    bucket = stack.outputs()["ArtifactBucketName"]
    sam.run("delete", "--no-prompts", "--stack-name", "embeddings", "--region", REGION)
    assert aws.client("lambda").list_functions()["Functions"] == []
    assert bucket in [each["Name"] for each in aws.client("s3").list_buckets()["Buckets"]]
    assert aws.client("logs").describe_log_groups(logGroupNamePrefix="/serverless-embeddings/")["logGroups"] == []


# dev: a stack of version 0.1, updated; then its ways to authenticate


@pytest.fixture(scope="module")
def dev(sam, aws, http, key) -> Stack:
    shutil.copy(OLD_TEMPLATE, sam.folder)
    sam.build("--template", OLD_TEMPLATE.name, "--build-dir", "build-0.1")
    old = ["--template", "build-0.1/template.yaml", "--config-file", f"{sam.folder}/samconfig.toml"]
    settings = {"GradualDeployment": "false", "LogRetentionDays": "3", "ReservedConcurrency": "10"}
    sam.deploy("dev", *old, ApiKeys=key.pair, **settings)
    deployed = Stack("embeddings-dev", aws, http, key)
    aws.name_host(deployed.url)
    return deployed


def test_stack_of_version_0_1_is_updated_in_place(sam, dev):
    before = dev.outputs()
    assert dev.embed_with_key().status_code == 200
    sam.deploy("dev")
    after = dev.outputs()
    for name in ("BaseUrl", "FunctionName", "ArtifactBucketName"):
        assert after[name] == before[name]
    assert dev.embed_with_key().status_code == 200


def test_iam_admits_signed_requests(sam, dev):
    sam.deploy("dev", AuthMode="iam")
    assert dev.embed().status_code == 403
    assert dev.embed_signed().status_code == 200


def test_jwt_admits_the_issuers_tokens(sam, dev):
    with issuer.run() as issued:
        assert dev.http.get(dev.url.removesuffix("v1")).status_code != 200
        sam.deploy("dev", AuthMode="jwt", JwtIssuer=issued.url, JwtAudience="embeddings", Page="true")
        page = dev.http.get(dev.url.removesuffix("v1"))  # opened without a token, it asks for one
        assert (page.status_code, 'data-auth="jwt"' in page.text) == (200, True)
        assert dev.embed_with_key().status_code == 401
        assert dev.embed(authorization=f"Bearer {issued.token('another audience')}").status_code == 401
        assert dev.embed(authorization=f"Bearer {issued.token('embeddings')}").status_code == 200


# prod, with a function URL and CORS


@pytest.fixture(scope="module")
def prod(sam, aws, http, key) -> Stack:
    parameters = {"Environment": "prod", "ApiKeys": key.pair, "FunctionUrl": "true", "CorsOrigins": ORIGIN}
    sam.deploy("prod", "--no-confirm-changeset", **parameters)
    deployed = Stack("embeddings-prod", aws, http, key)
    aws.name_host(deployed.url)
    aws.name_host(deployed.outputs()["FunctionUrlBaseUrl"])
    return deployed


def test_prod_has_what_its_environment_decides(prod, aws):
    client = aws.client("lambda")
    assert client.get_function_concurrency(FunctionName=prod.function)["ReservedConcurrentExecutions"] == 50
    provisioned = client.get_provisioned_concurrency_config(FunctionName=prod.function, Qualifier="live")
    assert provisioned["RequestedProvisionedConcurrentExecutions"] == 1
    groups = aws.client("logs").describe_log_groups(logGroupNamePrefix="/serverless-embeddings/embeddings-prod/")
    assert [each["retentionInDays"] for each in groups["logGroups"]] == [365]


def test_function_url_serves_those_who_have_the_key(prod):
    url = prod.outputs()["FunctionUrlBaseUrl"]
    assert prod.embed(url).status_code == 401
    assert prod.embed_with_key(url).status_code == 200


def test_preflight_of_a_known_origin_is_allowed(prod):
    asked = {"origin": ORIGIN, "access-control-request-method": "POST"}
    preflight = prod.http.options(f"{prod.url}/embeddings", headers=asked)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, ORIGIN)
