"""Request paths: every usual spelling of the base URL reaches the same route, without a redirect."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from handler.lambda_events import gateway_context

ROUTE = re.compile(r"/*(?:v1/+)*((?:embeddings|models)(?:/.+)?)")


class PathNormalizationMiddleware:
    """ASGI middleware: rewrites a path to the route under /v1 that it means.

    `/embeddings`, `/v1/v1/embeddings`, `/v1/embeddings/`, and `/<stage>/v1/embeddings` behind API Gateway's stages all
    mean `/v1/embeddings`. So does `/<base path>/v1/embeddings`: an event contains the path that a custom domain maps to
    the API, except for HTTP APIs with payload 2.0, whose documentation says that it does not
    (docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html).
    """

    def __init__(self, app: ASGIApp, base_path: str) -> None:
        self.app = app
        self.base_path = f"/{base_path}" if base_path else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Rewrite the path of an HTTP request."""
        if scope["type"] == "http":
            path = scope["path"]
            for prefix in (_stage(scope), self.base_path):
                if path.startswith(f"{prefix}/"):
                    path = path.removeprefix(prefix)
                elif path == prefix:
                    path = "/"
            route = ROUTE.fullmatch(path.rstrip("/"))
            scope = {**scope, "path": f"/v1/{route[1]}" if route else path}
        await self.app(scope, receive, send)


def _stage(scope: Scope) -> str:
    """Return the path prefix of API Gateway's stage, which `$default` does not have."""
    stage = gateway_context(scope).get("stage", "$default")
    return f"/{stage}" if stage != "$default" else ""
