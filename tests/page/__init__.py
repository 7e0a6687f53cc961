"""Tests of the page in Chromium, in an environment of their own."""
