"""Deployments with the real SAM command line, in order: the tests of a section are steps in the life of one stack."""

import pytest

from tests.deploy.sam import SamError


def test_invalid_parameter_is_refused_before_anything_is_made(sam, aws):
    with pytest.raises(SamError, match="ApiKeys"):
        sam.deploy(Environment="default", ApiKeys="alice:not-a-digest")
    assert aws.client("lambda").list_functions()["Functions"] == []


def test_guided_deployment_serves_those_who_have_the_key(stack):
    assert stack.http.get(stack.url.removesuffix("/v1") + "/health").status_code == 200
    assert stack.embed().status_code == 401
    response = stack.embed_with_key()
    assert (response.status_code, len(response.json()["data"][0]["embedding"])) == (200, 384)


def test_deployment_without_a_change_makes_no_version(sam, stack):
    assert "No changes to deploy" in sam.deploy()
    assert stack.versions() == ["1"]
