"""Who may call: API keys, known here only by their SHA-256, or API Gateway's word for it.

`python -m handler.api.auth NAME` makes a key.
"""

import hashlib
import re
import secrets
import sys
from hmac import compare_digest

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from handler.errors import AuthenticationError
from handler.settings import KEY_NAME, Settings
from handler.telemetry import gateway_context, refuse

OPEN = ("/health",)
UNKNOWN_KEY = "Incorrect API key: it is none of those that are configured."
BLANKS = " \t"  # HTTP's, not Unicode's, which str.strip would take
HOW = "send it as the header 'Authorization: Bearer <key>'"


class Authenticate:
    """ASGI middleware: nobody gets further without a key, but to /health.

    With AUTH_MODE `iam` or `jwt`, API Gateway or the function's URL has checked the caller before the function was
    invoked, and its event says so; one that does not is refused, so that a route without its authorizer is not open.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for a caller with a key; answer 401 to any other."""
        if scope["type"] == "http" and scope["path"] not in OPEN:
            try:
                scope["record"].caller = self._identify(scope)
            except AuthenticationError as error:
                response = refuse(scope, error, self.settings.error_format, {"www-authenticate": "Bearer"})
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _identify(self, scope: Scope) -> str | None:
        """Return the name of the caller's key; None if it was for another to check.

        Raises:
            AuthenticationError: the caller may not pass.
        """
        match self.settings.auth_mode:
            case "none":
                return None
            case "api-key":
                return self._key_name(Headers(scope=scope).getlist("authorization"))
            case mode:
                if _checked_by_gateway(scope, mode):
                    return None
                raise AuthenticationError(f"AUTH_MODE is '{mode}', and no authorizer has checked this request.")

    def _key_name(self, headers: list[str]) -> str:
        if not self.settings.api_keys:
            raise AuthenticationError(
                "No API key is configured, so every request is refused: make one with 'make api-key NAME=...', and "
                "deploy the pair it prints as API_KEYS (the template's parameter ApiKeys)."
            )
        if not headers:
            raise AuthenticationError(f"No API key: {HOW}.")
        scheme, _, key = headers[0].strip(BLANKS).partition(" ")
        if len(headers) > 1 or scheme.lower() != "bearer":
            raise AuthenticationError(f"Incorrect API key: {HOW}, once.")
        digest = digest_of(key.strip(BLANKS))
        # Every key is compared, and to its end: the time tells nothing about any of them.
        names = [name for name, expected in self.settings.api_keys if compare_digest(digest, expected)]
        if not names:
            raise AuthenticationError(UNKNOWN_KEY)
        return names[0]


def _checked_by_gateway(scope: Scope, mode: str) -> bool:
    """Say whether the event names the caller that an authorizer of that kind has let in."""
    authorizer = gateway_context(scope).get("authorizer")
    return isinstance(authorizer, dict) and bool(authorizer.get(mode))


def digest_of(key: str) -> str:
    """Return a key's SHA-256 in hex. Keys are 256 random bits, so neither salt nor stretching would add anything."""
    return hashlib.sha256(key.encode()).hexdigest()


def main() -> None:
    """Print a new key, once, and the pair that lets its holder in."""
    name = sys.argv[1]
    if not re.fullmatch(KEY_NAME, name):
        sys.exit(f"'{name}' cannot name a key: use letters, digits, '-', '_' and '.', 64 at most")
    key = f"sk-{secrets.token_urlsafe(32)}"
    print(f"The key, shown this once:   {key}")
    print(f"To deploy, in ApiKeys:      {name}:{digest_of(key)}")


if __name__ == "__main__":
    main()
