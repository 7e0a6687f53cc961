"""Measured claims of the README, each a command: see README.md beside this file."""
