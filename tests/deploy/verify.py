"""Verifies a running deployment over HTTP: one line per check, and exit status 1 if one of them fails.

make verify-deployment URL=https://.../v1 KEY=sk-...

URL     the stack's output BaseUrl or FunctionUrlBaseUrl, or http://127.0.0.1:3000/v1 for `make run`
KEY     an API key, or a JWT where AuthMode is `jwt`; without it, the deployment has to be open
DIGEST  the digest of the model that must be served; without it, the bundled model's
ARM64   1 if the deployment runs on arm64, where the last bits of a vector differ: compares by cosine
ORIGIN  an origin that must be allowed to call, one of CorsOrigins
"""

import argparse
import platform
import sys
from collections.abc import Callable

import httpx2

from tests.deploy.checks import CHECKS, CheckFailed, CheckSkipped, Subject, bundled
from tests.deploy.client import connect, explain


def main() -> None:
    """Check the deployment; exit with the number of failures, or with the reason why nothing can be checked."""
    parser = argparse.ArgumentParser(description="Verify a running deployment.")
    parser.add_argument("--url", required=True, help="the base URL, which ends with /v1")
    parser.add_argument("--key", help="an API key or a JWT")
    parser.add_argument("--digest", default=f"sha256:{bundled().digest}", help="of the model that must be served")
    parser.add_argument("--arm64", action="store_true", help="the deployment runs on arm64")
    parser.add_argument("--origin", help="an origin that must be allowed to call")
    arguments = parser.parse_args()
    exact = not arguments.arm64 and platform.machine().lower() in {"x86_64", "amd64"}
    with connect(arguments.url, arguments.key) as deployment:
        subject = Subject(deployment, arguments.digest, exact, arguments.origin)
        failed = [name for name, check in CHECKS.items() if not succeeds(name, check, subject)]
    if failed:
        sys.exit(f"{len(failed)} of {len(CHECKS)} checks failed: {', '.join(failed)}")


def succeeds(name: str, check: Callable[[Subject], str], subject: Subject) -> bool:
    """Make a check and print its row; return False if it failed."""
    print(f"{name:24}", end="", flush=True)
    result = "ok"
    try:
        detail = check(subject)
    except CheckSkipped as skipped:
        result, detail = "skipped", str(skipped)
    except CheckFailed as failed:
        result, detail = "FAILED", str(failed)
    except httpx2.TransportError as error:
        result, detail = "FAILED", explain(error)
    except (LookupError, TypeError, ValueError) as error:
        result, detail = "FAILED", f"the response is not of this service: {error!r}"
    print(f"{result:9}{detail}", flush=True)
    return result != "FAILED"


if __name__ == "__main__":
    main()
