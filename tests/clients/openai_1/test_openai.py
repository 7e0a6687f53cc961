"""The tests of the official Python client, with this environment's version."""

from tests.clients.core.test_openai import *  # noqa: F403
