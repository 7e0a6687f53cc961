"""Who owns the files and batches of a request: one caller never sees another's."""

import hashlib
import json

from starlette.types import Scope

from handler.errors import AuthenticationError
from handler.lambda_events import gateway_context
from handler.settings import AuthMode


def owner_of(scope: Scope, auth_mode: AuthMode) -> str:
    """Return 32 hex digits that stand for an authenticated caller, and reveal nothing about it.

    A key's name identifies its caller, since a key is replaced by another of the same name. An IAM principal is
    identified by its unique ID, which is never used again (docs.aws.amazon.com/IAM/latest/UserGuide,
    "reference_identifiers"); all sessions of a role are one caller, because the SDKs give each session a new name. A
    user of a Cognito identity pool, whose users share a role, is identified by the identity.

    Raises:
        AuthenticationError: the caller cannot be told from others.
    """
    identity = [auth_mode, *_identity(scope, auth_mode)]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]


def _identity(scope: Scope, auth_mode: AuthMode) -> list[object]:
    authorizer = gateway_context(scope).get("authorizer")
    authorizer = authorizer if isinstance(authorizer, dict) else {}
    match auth_mode:
        case "none":
            return []
        case "api-key":
            found = [scope["record"].caller]
        case "iam":
            found = _iam_identity(authorizer.get("iam"))
        case "jwt":
            found = _jwt_identity(authorizer.get("jwt"))
    if not all(isinstance(each, str) and each for each in found):
        raise AuthenticationError(
            "The caller has no identity by which its files and batches could be told from others."
        )
    return found


def _iam_identity(caller: object) -> list[object]:
    caller = caller if isinstance(caller, dict) else {}
    cognito = caller.get("cognitoIdentity")
    if isinstance(cognito, dict):
        return ["cognito", cognito.get("identityId")]
    user = caller.get("userId")
    return [user.partition(":")[0] if isinstance(user, str) else ""]


def _jwt_identity(caller: object) -> list[object]:
    claims = caller.get("claims") if isinstance(caller, dict) else None
    claims = claims if isinstance(claims, dict) else {}
    return [claims.get("iss"), claims.get("sub")]
