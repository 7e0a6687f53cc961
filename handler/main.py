"""Composition root: what Lambda (`lambda_handler`) and any ASGI server (`app`) import."""
# ruff: noqa: E402 - what stands before an import makes it faster, or runs beside it; the figures are make bench-cold's

import gc
import os
import sys
from contextlib import suppress

from pydantic import BaseModel

# Together a seventh of a cold start: what is imported stays, so looking for garbage in it is lost time; and FastAPI's
# models of the OpenAPI document need not be built before it is asked for.
gc.disable()
BaseModel.model_config["defer_build"] = True

from handler.catalog import Catalog
from handler.errors import SettingsError, UnavailableError
from handler.observability import Telemetry, log_failure, process_age
from handler.settings import Settings

function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
telemetry = Telemetry(function) if function else None
if telemetry:
    telemetry.format_log()
report = telemetry.failed_to_start if telemetry else log_failure

catalog = None
try:
    settings = Settings.from_env(os.environ)
    catalog = Catalog(settings, report)  # a bundled model loads from here on, beside FastAPI's import: an eighth
except SettingsError as error:
    report(error)
    if not telemetry:
        sys.exit(1)

from mangum import Mangum
from mangum.types import ASGI

from handler.app import create_app, unavailable

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
lambda_handler = Mangum(app, lifespan="off")  # the application has no lifespan, and Mangum would run one every event
