"""Authentication: API keys, recognized by their SHA-256, or API Gateway's authorizer."""

from hmac import compare_digest

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from handler.api.error_responses import request_error_response
from handler.api.keys import digest_of
from handler.errors import AuthenticationError
from handler.lambda_events import gateway_context
from handler.settings import Settings

PUBLIC_PATHS = ("/health",)
UNKNOWN_KEY = "Incorrect API key: it is not one of the configured keys."
MIN_KEY_LENGTH = 20  # make api-key prints 46; a short or empty key is easily guessed from its SHA-256
HTTP_WHITESPACE = " \t"  # str.strip would remove Unicode's as well
DEPLOYMENT_HOOK = "deployment-hook"
AUTH_HINT = "send it as the header 'Authorization: Bearer <key>'"


class AuthenticationMiddleware:
    """ASGI middleware: responds 401 to a request without a valid key, except for PUBLIC_PATHS and the page.

    With AUTH_MODE `iam` or `jwt`, API Gateway or the function URL has authenticated the caller before it invoked the
    function, and its event says so. An event that does not is refused: a route that lost its authorizer is not open.

    In every mode, the template's DeploymentHook names itself as the authorizer. Gateways write that part of an event
    themselves, so it can only come from a direct invocation, which IAM has authorized.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.public_paths = (*PUBLIC_PATHS, "/") if settings.page else PUBLIC_PATHS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for an authenticated caller; respond 401 to any other."""
        if scope["type"] == "http" and scope["path"] not in self.public_paths:
            try:
                scope["record"].caller = self._authenticate(scope)
            except AuthenticationError as error:
                headers = {"www-authenticate": "Bearer"}
                response = request_error_response(scope, error, self.settings.error_format, headers)
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _authenticate(self, scope: Scope) -> str | None:
        """Return the name of the caller's key; None if the caller is not identified by a key.

        Raises:
            AuthenticationError: the caller may not use the service.
        """
        if _authorized(scope, by=DEPLOYMENT_HOOK):
            return None
        match self.settings.auth_mode:
            case "none":
                return None
            case "api-key":
                return self._key_name(_credentials(Headers(scope=scope)))
            case mode:
                if _authorized(scope, by=mode):
                    return None
                raise AuthenticationError(f"AUTH_MODE is '{mode}', and no authorizer has checked this request.")

    def _key_name(self, credentials: list[str]) -> str:
        if not self.settings.api_keys:
            raise AuthenticationError(
                "No API key is configured, so every request is refused: create one with 'make api-key NAME=...', and "
                "deploy the pair that it prints as API_KEYS (the template's parameter ApiKeys)."
            )
        if not credentials:
            raise AuthenticationError(f"No API key: {AUTH_HINT}.")
        scheme, _, key = credentials[0].strip(HTTP_WHITESPACE).partition(" ")
        if len(credentials) > 1 or scheme.lower() != "bearer":
            raise AuthenticationError(f"Incorrect API key: {AUTH_HINT}, once.")
        key = key.strip(HTTP_WHITESPACE)
        if len(key) < MIN_KEY_LENGTH:
            raise AuthenticationError(f"Incorrect API key: it has fewer than {MIN_KEY_LENGTH} characters.")
        digest = digest_of(key)
        # Every configured key is compared, and to its end, so the time taken reveals nothing about any of them.
        names = [name for name, expected in self.settings.api_keys if compare_digest(digest, expected)]
        if not names:
            raise AuthenticationError(UNKNOWN_KEY)
        return names[0]


def _credentials(headers: Headers) -> list[str]:
    """Return the Authorization headers or, if there are none, those that Azure OpenAI's clients send instead."""
    return headers.getlist("authorization") or [f"Bearer {key}" for key in headers.getlist("api-key")]


def _authorized(scope: Scope, *, by: str) -> bool:
    """Return whether the event names a caller whom that authorizer has accepted."""
    authorizer = gateway_context(scope).get("authorizer")
    return isinstance(authorizer, dict) and bool(authorizer.get(by))
