"""Restricts pip (PEP 600) to wheels that are compatible with glibc 2.34, the version of AWS's base image."""


def manylinux_compatible(major: int, minor: int, _: str) -> bool:
    """Return whether wheels for this version of glibc may be installed."""
    return (major, minor) <= (2, 34)
