"""The image's contents and size."""

import json
import os
import re
import subprocess

import pytest

from model_artifacts.recipe.image import IMAGE, stage
from tests import tiny
from tests.emulator import ROOT
from tests.events import event

LIMIT_MB = 220
MODEL = "all-MiniLM-L6-v2"
FORM = (
    b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n{}\r\n--b--\r\n'
)
# Every kind of request, so that every lazy import of the function happens.
REQUESTS = [
    event("http-api-2.0", json.dumps({"model": MODEL, "input": "text", "encoding_format": "base64"})),
    event("rest-api-1.0", json.dumps({"model": MODEL, "input": ["text"], "dimensions": 8})),
    event("http-api-2.0", json.dumps({"model": MODEL, "input": "caf\u00e9"})),  # not ASCII: needs tokenizers
    event("http-api-2.0", json.dumps({"model": MODEL, "input": [15339]})),
    event("http-api-2.0", json.dumps({"model": MODEL, "input": ""})),
    event("http-api-2.0", json.dumps({"model": "other", "input": "text"})),
    event("http-api-2.0", "{"),
    event("function-url", path="/v1/models", method="GET"),
    event("function-url", path="/openapi.json", method="GET"),
    event("function-url", path="/health", method="GET"),
    event("http-api-2.0", path="/v1/embeddings", method="OPTIONS"),
    event("http-api-2.0", path="/nothing", method="GET"),
    event("http-api-2.0", path="/", method="GET"),
    event("http-api-2.0", FORM, path="/v1/files", **{"content-type": "multipart/form-data; boundary=b"}),
]
SERVE = f"""
import json, os, sys, types
sys.path[:0] = ["/var/task", "/opt/python"]
os.chdir("/var/task")
os.environ |= {{"AWS_LAMBDA_FUNCTION_NAME": "f", "CORS_ORIGINS": "https://example.org", "MODELS": "{MODEL}%s"}}
os.environ |= {{"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "eu-central-1"}}
os.environ |= {{"PAGE": "true", "BATCHES": "/tmp/batches"}}
from handler.main import lambda_handler
requests = json.loads({json.dumps(json.dumps(REQUESTS))})
context = types.SimpleNamespace(aws_request_id="id", get_remaining_time_in_millis=lambda: 29_000)
statuses = [lambda_handler(each, context)["statusCode"] for each in requests]
"""


def megabytes(image: str) -> float:
    return int(subprocess.check_output(["docker", "image", "inspect", "--format", "{{.Size}}", image])) / 1e6


def test_image_stays_within_its_size_limit(image):
    (base,) = re.findall("^ARG BASE_IMAGE=(.+)$", (ROOT / "layers/Dockerfile").read_text(), re.MULTILINE)
    assert 100 < megabytes(image) - megabytes(base) <= LIMIT_MB


def test_image_serves_without_network_privileges_or_writable_disk(python):
    statuses = json.loads(python(f"{SERVE % ''}\nprint(json.dumps(statuses))").splitlines()[-1])
    assert statuses == [200, 200, 200, 200, 400, 404, 400, 200, 200, 200, 405, 404, 200, 200]


def test_every_installed_package_is_imported(python):
    script = f"""{SERVE % ",s3://bucket/models/other"}
assert 503 in statuses  # S3 is unreachable here, but its client was imported
from importlib.metadata import distributions
unused = [
    each.name for each in distributions(path=["/opt/python"])
    if not {{file.parts[0].removesuffix(".py") for file in each.files or ()}} & set(sys.modules)
]
print(json.dumps([unused, len(list(distributions(path=["/opt/python"])))]))
"""
    unused, installed = json.loads(python(script).splitlines()[-1])
    assert unused == []
    assert installed > 10


def test_an_image_can_have_another_model(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    stage(tiny.save_model(tmp_path))
    build = ["docker", "build", "--file", "layers/Dockerfile", "--target", "function", "--tag", "function:tiny"]
    subprocess.run(
        [*build, "--build-arg", f"MODELS={IMAGE}", "."], check=True, env={**os.environ, "DOCKER_BUILDKIT": "0"}
    )
    listed = "import pathlib; print(sorted(str(p) for p in pathlib.Path('/var/task/model_artifacts').rglob('*.*')))"
    run = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "python", "function:tiny", "-c", listed]
    names = ("manifest.json", "model.onnx", "tokenizer.json")
    files = [f"/var/task/model_artifacts/tiny/{name}" for name in names]
    assert subprocess.check_output(run, text=True) == f"{files}\n"


def test_bundled_model_does_not_import_the_aws_sdk(python):
    loaded = python(
        f"{SERVE % ''}\nprint([name for name in sys.modules if name.startswith(('boto3', 'botocore.', 'urllib3'))])"
    )
    assert loaded.splitlines()[-1] == "[]"


def test_every_file_is_readable_and_every_module_is_compiled(python):
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
    "unwanted",
    ["recipe", "golden.json", "local.py", "worker.py", "bulk", "huggingface_hub", "requirements.txt", "tests"],
)
def test_image_contains_no_unneeded_files(python, unwanted):
    script = "import pathlib; print([str(p) for f in ('/opt', '/var/task') for p in pathlib.Path(f).rglob('{}')])"
    assert python(script.format(unwanted)) == "[]\n"
