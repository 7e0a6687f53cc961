"""Composition root: what Lambda (`lambda_handler`) and any ASGI server (`app`) import."""
# ruff: noqa: E402 - what stands before the imports makes them faster

import gc
import os
import sys
from contextlib import suppress

from pydantic import BaseModel

# Together a seventh of a cold start (make bench-cold): what is imported stays, so looking for garbage in it is lost
# time; and FastAPI's models of the OpenAPI document need not be built before it is asked for.
gc.disable()
BaseModel.model_config["defer_build"] = True

from mangum import Mangum
from mangum.types import ASGI

from handler.app import create_app, unavailable
from handler.catalog import Catalog
from handler.errors import SettingsError, UnavailableError
from handler.observability import Telemetry, log_failure, process_age
from handler.settings import Settings

function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
telemetry = Telemetry(function) if function else None
if telemetry:
    telemetry.format_log()
report = telemetry.failed_to_start if telemetry else log_failure

try:
    settings = Settings.from_env(os.environ)
    catalog = Catalog(settings, report)
    app: ASGI = create_app(settings, catalog, telemetry)
    with suppress(UnavailableError):  # reported where it happened; until it is mended, requests are answered 503
        loading = catalog.default.loading
        if telemetry:
            telemetry.started(process_age(), loading)
except SettingsError as error:
    report(error)
    if not telemetry:
        sys.exit(1)
    # Lambda would start a process that exits again and again, and its callers would see a bare 502.
    app = unavailable(telemetry)

gc.freeze()
gc.enable()
lambda_handler = Mangum(app, lifespan="off")  # the application has no lifespan, and Mangum would run one every event
