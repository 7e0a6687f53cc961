"""Composition root: what Lambda (`lambda_handler`) and any ASGI server (`app`) import."""

import os
import sys

from mangum import Mangum

from handler.app import create_app
from handler.catalog import Catalog
from handler.errors import ServiceError
from handler.settings import Settings

try:
    settings = Settings.from_env(os.environ)
    catalog = Catalog.load(settings)
except ServiceError as error:
    sys.exit(f"serverless-embeddings cannot start: {error}")

app = create_app(settings, catalog)
lambda_handler = Mangum(app, lifespan="off")  # the application has no lifespan, and Mangum would run one every event
