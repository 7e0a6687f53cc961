"""Composition root: what Lambda (`lambda_handler`) and any ASGI server (`app`) import."""
# ruff: noqa: E402 - what stands before an import makes it faster, or runs beside it; the figures are in benchmarks/README

import gc
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

gc.disable()  # what is imported stays, so looking for garbage in it is lost time
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy starts threads for products of matrices: there are none here
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # it would look for them in every installed package

from handler.errors import ServiceError, SettingsError, UnavailableError
from handler.models.catalog import Catalog
from handler.settings import Settings

reporting: Future[Callable[[ServiceError], None]] = Future()


def report(error: ServiceError) -> None:
    """Say why something cannot be served, once there is a log to say it in."""
    reporting.result()(error)


catalog, failure = None, None
try:
    settings = Settings.from_env(os.environ)
    # A bundled model loads from here on, beside the imports below: that is ONNX Runtime's own work, without Python's.
    catalog = Catalog(settings, report)
except SettingsError as error:
    failure = error

from pydantic import BaseModel

BaseModel.model_config["defer_build"] = True  # FastAPI's models of the OpenAPI document are for who asks for it

from mangum.types import ASGI

from handler.api.app import create_app, unavailable
from handler.lambda_events import LambdaHandler
from handler.telemetry import Telemetry, log_failure, process_age

function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
telemetry = Telemetry(function) if function else None
if telemetry:
    telemetry.format_log()
reporting.set_result(telemetry.failed_to_start if telemetry else log_failure)
if failure:
    report(failure)
    if not telemetry:
        sys.exit(1)

# Lambda would start a process that exits again and again, and its callers would see a bare 502.
app: ASGI = create_app(settings, catalog, telemetry) if catalog else unavailable(telemetry)
if catalog:
    catalog.start()
    with suppress(UnavailableError):  # reported where it happened; until it is mended, requests are answered 503
        loading = catalog.default.loading
        if telemetry:
            telemetry.started(process_age(), loading)

gc.freeze()
gc.enable()
lambda_handler = LambdaHandler(app, telemetry)
