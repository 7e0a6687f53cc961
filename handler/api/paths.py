"""Request paths: every usual spelling of the base URL reaches the same route, without a redirect."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from handler.lambda_events import gateway_context

PREFIXES = r"/*(?:(?:v1|openai)/+)*"
ROUTE = re.compile(PREFIXES + r"(?:embeddings/+)?((?:embeddings|models|files|uploads|batches)(?:/.+)?)")
AZURE_ROUTE = re.compile(PREFIXES + r"(deployments/.+/embeddings)")


class PathNormalizationMiddleware:
    """ASGI middleware: rewrites a path to the route under /v1 that it means.

    `/embeddings`, `/v1/v1/embeddings`, `/v1/embeddings/`, and `/<stage>/v1/embeddings` behind API Gateway's stages all
    mean `/v1/embeddings`. So do `/openai/v1/embeddings`, below Azure OpenAI's base URL, and
    `/v1/embeddings/embeddings`, below one that already names the endpoint. So does `/<base path>/v1/embeddings`: an
    event contains the path that a custom domain maps to the API, except for HTTP APIs with payload 2.0, whose
    documentation says that it does not
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
            scope = {**scope, "path": _canonical(path)}
        await self.app(scope, receive, send)


def _canonical(path: str) -> str:
    """Return the path of the route that a path means; the path itself if it means none."""
    stripped = path.rstrip("/")
    if route := ROUTE.fullmatch(stripped):
        return f"/v1/{route[1]}"
    if route := AZURE_ROUTE.fullmatch(stripped):
        return f"/openai/{route[1]}"
    return path


def _stage(scope: Scope) -> str:
    """Return the path prefix of API Gateway's stage, which `$default` does not have."""
    stage = gateway_context(scope).get("stage", "$default")
    return f"/{stage}" if stage != "$default" else ""
