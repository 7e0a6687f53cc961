"""What is in the image, and what is not."""

import json
import re
import subprocess

import pytest

from tests.emulator import ROOT
from tests.events import event

LIMIT_MB = 220
MODEL = "all-MiniLM-L6-v2"
# Every kind of request, so that whatever the function ever imports is imported.
REQUESTS = [
    event("http-api-2.0", json.dumps({"model": MODEL, "input": "text", "encoding_format": "base64"})),
    event("rest-api-1.0", json.dumps({"model": MODEL, "input": ["text"], "dimensions": 8})),
    event("http-api-2.0", json.dumps({"model": MODEL, "input": "caf\u00e9"})),  # not plain: for tokenizers
    event("http-api-2.0", json.dumps({"model": MODEL, "input": [15339]})),
    event("http-api-2.0", json.dumps({"model": MODEL, "input": ""})),
    event("http-api-2.0", json.dumps({"model": "other", "input": "text"})),
    event("http-api-2.0", "{"),
    event("function-url", path="/v1/models", method="GET"),
    event("function-url", path="/openapi.json", method="GET"),
    event("function-url", path="/health", method="GET"),
    event("http-api-2.0", path="/v1/embeddings", method="OPTIONS"),
    event("http-api-2.0", path="/nothing", method="GET"),
]
SERVE = f"""
import json, os, sys, types
sys.path[:0] = ["/var/task", "/opt/python"]
os.chdir("/var/task")
os.environ |= {{"AWS_LAMBDA_FUNCTION_NAME": "f", "CORS_ORIGINS": "https://example.org", "MODELS": "{MODEL}%s"}}
os.environ |= {{"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "eu-central-1"}}
from handler.main import lambda_handler
requests = json.loads({json.dumps(json.dumps(REQUESTS))})
context = types.SimpleNamespace(aws_request_id="id", get_remaining_time_in_millis=lambda: 29_000)
statuses = [lambda_handler(each, context)["statusCode"] for each in requests]
"""


def megabytes(image: str) -> float:
    return int(subprocess.check_output(["docker", "image", "inspect", "--format", "{{.Size}}", image])) / 1e6


def test_what_it_adds_to_the_base_image_is_small(image):
    (base,) = re.findall("^ARG BASE_IMAGE=(.+)$", (ROOT / "layers/Dockerfile").read_text(), re.MULTILINE)
    assert 100 < megabytes(image) - megabytes(base) <= LIMIT_MB


def test_it_serves_without_network_rights_or_a_place_to_write(python):
    statuses = json.loads(python(f"{SERVE % ''}\nprint(json.dumps(statuses))").splitlines()[-1])
    assert statuses == [200, 200, 200, 200, 400, 404, 400, 200, 200, 200, 405, 404]


def test_no_package_in_it_is_never_imported(python):
    script = f"""{SERVE % ",s3://bucket/models/other"}
assert 503 in statuses  # S3 cannot be reached here, but it was tried
from importlib.metadata import distributions
idle = [
    each.name for each in distributions(path=["/opt/python"])
    if not {{file.parts[0].removesuffix(".py") for file in each.files or ()}} & set(sys.modules)
]
print(json.dumps([idle, len(list(distributions(path=["/opt/python"])))]))
"""
    idle, installed = json.loads(python(script).splitlines()[-1])
    assert idle == []
    assert installed > 10


def test_the_aws_sdk_is_not_loaded_for_the_bundled_model(python):
    loaded = python(
        f"{SERVE % ''}\nprint([name for name in sys.modules if name.startswith(('boto3', 'botocore.', 'urllib3'))])"
    )
    assert loaded.splitlines()[-1] == "[]"


def test_every_file_is_open_to_the_functions_user_and_every_module_is_compiled(python):
    script = """
import importlib.util, os, pathlib
folders = [pathlib.Path("/opt/python"), pathlib.Path("/var/task")]
files = [path for folder in folders for path in folder.rglob("*")]
assert len(files) > 1000
assert all(os.access(path, os.R_OK) for path in files)
for path in files:
    if path.suffix == ".py":
        flags = pathlib.Path(importlib.util.cache_from_source(path)).read_bytes()[4:8]
        assert flags == b"\\1\\0\\0\\0", path  # PEP 552: hash-based, unchecked
"""
    python(script)


@pytest.mark.parametrize(
    "unwanted", ["recipe", "golden.json", "local.py", "huggingface_hub", "requirements.txt", "tests"]
)
def test_what_the_function_does_not_read_is_not_there(python, unwanted):
    script = "import pathlib; print([str(p) for f in ('/opt', '/var/task') for p in pathlib.Path(f).rglob('{}')])"
    assert python(script.format(unwanted)) == "[]\n"
