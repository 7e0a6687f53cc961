"""Effects of imports, each in a new process: only main.py has any."""

import subprocess
import sys

from handler.artifacts.resolver import load
from handler.settings import Settings
from tests.emulator import clean_environment
from tests.unit.test_architecture import HANDLER, MODULES, module_name


def test_only_main_has_effects_at_import():
    modules = [module_name(path) for path in MODULES if path.stem != "main"]
    script = f"""
import builtins, importlib, threading
import fastapi, mangum, numpy, onnxruntime, orjson, pyarrow, tokenizers, uvicorn  # effects of libraries do not count
threads, opened, real = threading.active_count(), [], builtins.open
builtins.open = lambda file, *rest, **more: opened.append(file) or real(file, *rest, **more)
for module in {modules}:
    importlib.import_module(module)
assert threading.active_count() == threads, "a thread was started"
assert not opened, opened
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=HANDLER.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_onnx_runtime_sends_no_telemetry(tmp_path):
    script = """
import os
import numpy
threads = len(os.listdir("/proc/self/task"))
import handler.embedding.inference
assert len(os.listdir("/proc/self/task")) == threads, "a thread was started"
"""
    environment = clean_environment(HOME=str(tmp_path))  # without CI, which would disable telemetry too
    subprocess.run([sys.executable, "-c", script], cwd=HANDLER.parent, env=environment, check=True)
    assert not list(tmp_path.iterdir())  # telemetry would store its device ID here


def test_pinned_bundled_model_needs_neither_boto3_nor_s3():
    digest = load("all-MiniLM-L6-v2", Settings()).digest
    script = """
import sys
import handler.main
assert handler.main.catalog.default
assert not {"boto3", "botocore.session"} & set(sys.modules)
"""
    models = f"s3://bucket/models/all-MiniLM-L6-v2@sha256:{digest}"
    environment = clean_environment(AUTH_MODE="none", MODELS=models)
    subprocess.run([sys.executable, "-c", script], cwd=HANDLER.parent, env=environment, check=True)


def test_cold_start_imports_nothing_of_files_and_batches():
    script = """
import sys
import handler.main
loaded = [name for name in sys.modules if name.startswith(("handler.batches", "handler.storage", "python_multipart"))]
assert not loaded, loaded
assert not {f"handler.api.{name}" for name in ("files", "stored", "multipart", "openapi_stored")} & set(sys.modules)
"""
    environment = clean_environment(AUTH_MODE="none", BATCHES="s3://bucket/batches")
    subprocess.run([sys.executable, "-c", script], cwd=HANDLER.parent, env=environment, check=True)


def test_cold_start_imports_no_schemas_of_responses_and_maps_the_model_instead_of_reading_it():
    script = """
import sys
import handler.main
from pathlib import Path
late = {"handler.api.openapi", "handler.api.descriptions", "handler.contract.objects", "handler.contract.batches"}
assert not late & set(sys.modules), late & set(sys.modules)
def read():
    return int(Path("/proc/self/io").read_text().split()[1])
assert read() < 20 << 20, f"{read() >> 20} MB were read: is model.onnx read again, which takes 10 ms?"
"""
    environment = clean_environment(AUTH_MODE="none")
    subprocess.run([sys.executable, "-c", script], cwd=HANDLER.parent, env=environment, check=True)


def test_cold_start_neither_imports_pydantic_v1_nor_starts_openblas_threads():
    threads = "import os, numpy; assert len(os.listdir('/proc/self/task')) == 1, 'OpenBLAS has threads again: 20 ms'"
    script = f"""
import subprocess, sys
import handler.main
assert "pydantic.v1" not in sys.modules, "FastAPI imports it for the first argument of a route: 20 ms"
subprocess.run([sys.executable, "-c", {threads!r}], check=True)  # in the environment that main.py sets up
"""
    environment = clean_environment(AUTH_MODE="none")
    subprocess.run([sys.executable, "-c", script], cwd=HANDLER.parent, env=environment, check=True)


def test_batches_run_without_pyarrow():
    script = """
import sys
import handler.bulk.batch_finish, handler.bulk.batch_shard, handler.bulk.batch_validate
assert "pyarrow" not in sys.modules, "make run serves batches, and installs no pyarrow"
"""
    subprocess.run([sys.executable, "-c", script], cwd=HANDLER.parent, env=clean_environment(), check=True)
