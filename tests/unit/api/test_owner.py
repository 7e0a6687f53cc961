"""Owners: the same caller is one, and no two callers are."""

from typing import Any

import pytest

from handler.api.owner import owner_of
from handler.errors import AuthenticationError
from handler.settings import AuthMode
from handler.telemetry import RequestRecord

ROLE = {
    "userId": "AROAEXAMPLE:session-1",
    "userArn": "arn:aws:sts::1:assumed-role/r/session-1",
    "cognitoIdentity": None,
}
CLAIMS = {"iss": "https://issuer.example", "sub": "alice"}


def owner(mode: AuthMode, authorizer: Any = None, caller: str | None = None) -> str:
    record = RequestRecord("id", caller=caller)
    return owner_of({"record": record, "aws.event": {"requestContext": {"authorizer": authorizer}}}, mode)


def cognito(identity: object) -> dict[str, Any]:
    return {"iam": ROLE | {"cognitoIdentity": {"identityId": identity}}}


def jwt(**claims: Any) -> dict[str, Any]:
    return {"jwt": {"claims": CLAIMS | claims}}


def test_callers_are_told_apart():
    owners = [
        owner("none"),
        owner("api-key", caller="alice"),
        owner("api-key", caller="bob"),
        owner("iam", {"iam": ROLE}),
        owner("iam", {"iam": ROLE | {"userId": "AIDAEXAMPLE"}}),
        owner("iam", cognito("eu-west-1:a")),
        owner("iam", cognito("eu-west-1:b")),
        owner("jwt", jwt()),
        owner("jwt", jwt(sub="bob")),
        owner("jwt", jwt(iss="https://other.example")),
        owner("jwt", jwt(iss="https://issuer.examplea", sub="lice")),
    ]
    assert len(set(owners)) == len(owners)
    assert all(len(each) == 32 and set(each) <= set("0123456789abcdef") for each in owners)


def test_sessions_of_a_role_are_one_caller():
    assert owner("iam", {"iam": ROLE}) == owner("iam", {"iam": ROLE | {"userId": "AROAEXAMPLE:session-2"}})


NO_IAM: list[Any] = [None, [], {}, {"iam": "x"}, {"iam": {}}, jwt(), {"jwt": {}, "iam": None}]
NO_JWT: list[Any] = [None, {"jwt": {}}, {"jwt": {"claims": []}}, {"iam": ROLE}, jwt(iss=None)]
NO_IDENTITY: list[tuple[AuthMode, Any]] = [
    ("api-key", {"iam": ROLE}),
    *(("iam", value) for value in NO_IAM),
    *(("iam", {"iam": {**ROLE, "userId": value}}) for value in (None, "", 5, ":session", ["a"])),
    *(("iam", cognito(value)) for value in (None, "", 5)),
    *(("jwt", value) for value in NO_JWT),
    *(("jwt", jwt(sub=value)) for value in (None, "", ["a"])),
]


@pytest.mark.parametrize(("mode", "authorizer"), NO_IDENTITY, ids=repr)
def test_callers_without_an_identity_are_refused(mode, authorizer):
    with pytest.raises(AuthenticationError, match="has no identity"):
        owner(mode, authorizer)
