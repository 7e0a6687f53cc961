"""Composition root: `lambda_handler` for Lambda, `app` for any ASGI server."""
# ruff: noqa: E402 - the code between imports makes them faster or runs in parallel; figures in benchmarks/README.md

import gc
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

gc.disable()  # imported modules stay, so collecting garbage among them is wasted time
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads are for matrix products, and NumPy computes none here
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # pydantic would look for plugins in every package

from handler.errors import ServiceError, SettingsError, UnavailableError
from handler.models.catalog import Catalog
from handler.settings import Settings

failure_log: Future[Callable[[ServiceError], None]] = Future()


def report(error: ServiceError) -> None:
    """Log a failure, once logging is configured: this thread may be the one that configures it, so it cannot wait."""
    failure_log.add_done_callback(lambda log: log.result()(error))


catalog, settings_error = None, None
try:
    settings = Settings.from_env(os.environ)
    # A bundled model loads from here on, in parallel with the imports below: ONNX Runtime releases the GIL meanwhile.
    catalog = Catalog(settings, report)
except SettingsError as error:
    settings_error = error

from pydantic import BaseModel

BaseModel.model_config["defer_build"] = True  # FastAPI's models of an OpenAPI document are built when first needed

from mangum.types import ASGI

from handler.api.app import create_app, unavailable
from handler.lambda_events import LambdaHandler
from handler.telemetry import Telemetry, log_failure, process_age

function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
metrics = not catalog or settings.metrics == "emf"  # invalid settings always count as ModelLoadFailures
telemetry = Telemetry(function, version, metrics=metrics) if function else None
if telemetry:
    telemetry.configure_logging()
failure_log.set_result(telemetry.log_load_failure if telemetry else log_failure)
if settings_error:
    report(settings_error)
    if not telemetry:
        sys.exit(1)

runner = None
if catalog and settings.batch_machine:
    from handler.batches.machine import StateMachine  # not at the top: most stacks have none

    runner = StateMachine(settings.batch_machine)

# On Lambda, a process that exits would be restarted again and again, and callers would see a bare 502.
app: ASGI = create_app(settings, catalog, telemetry, runner=runner) if catalog else unavailable(telemetry)
if catalog:
    catalog.start()
    with suppress(UnavailableError):  # logged where it happened; requests get 503 until the model has loaded
        load_timings = catalog.default.load_timings
        if telemetry:
            telemetry.log_cold_start(process_age(), load_timings)

gc.freeze()
gc.enable()
lambda_handler = LambdaHandler(app, telemetry)
