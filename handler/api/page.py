"""The page of GET /: page.html beside this file, which calls the service from a browser."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from handler.settings import AuthMode

FILE = Path(__file__).with_suffix(".html")


async def respond(request: Request) -> Response:
    """Return the page, or 304 without it if the browser has it already."""
    body, headers = _load(request.app.state.settings.auth_mode)
    if headers["etag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="text/html", headers=headers)


@cache
def _load(auth_mode: AuthMode) -> tuple[bytes, dict[str, str]]:
    """Read the page, tell it whether to ask for a key, and compute its headers."""
    html = FILE.read_text(encoding="utf-8").replace('data-auth="none"', f'data-auth="{auth_mode}"', 1)
    return html.encode(), {
        "content-security-policy": _policy(html),
        "etag": f'"{hashlib.sha256(html.encode()).hexdigest()[:32]}"',
        "cache-control": "no-cache",  # the browser asks with the ETag: a new version is seen at once
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }


def _policy(html: str) -> str:
    """Return a policy under which the page's own script and style run, and only requests to this service are sent.

    Inline code is named by its hash, and strings cannot become HTML (www.w3.org/TR/CSP3, www.w3.org/TR/trusted-types).
    """
    script, style = (re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL) for tag in ("script", "style"))
    if not script or not style:
        raise ValueError(f"{FILE} lacks a script or a style")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script[1])}'",
            f"style-src '{_hash(style[1])}'",
            "img-src data:",  # its icon
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _hash(code: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}"
