"""Composition root: what Lambda (`lambda_handler`) and any ASGI server (`app`) import."""

import os
import sys

from mangum import Mangum
from mangum.types import ASGI

from handler.app import create_app, unavailable
from handler.catalog import Catalog
from handler.errors import ServiceError
from handler.observability import Telemetry, process_age
from handler.settings import Settings

function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
telemetry = Telemetry(function) if function else None
if telemetry:
    telemetry.format_log()

try:
    settings = Settings.from_env(os.environ)
    catalog = Catalog.load(settings)
    app: ASGI = create_app(settings, catalog, telemetry)
    if telemetry:
        telemetry.started({"Import": process_age() - sum(catalog.timings.values()), **catalog.timings})
except ServiceError as error:
    if not telemetry:
        sys.exit(f"serverless-embeddings cannot start: {error}")
    # Lambda would start a process that exits again and again, and its callers would see a bare 502.
    telemetry.failed_to_start(error)
    app = unavailable(telemetry)

lambda_handler = Mangum(app, lifespan="off")  # the application has no lifespan, and Mangum would run one every event
