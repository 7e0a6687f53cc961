"""What pip asks (PEP 600): no wheel that the base image's own C library, 2.34, could not load."""


def manylinux_compatible(major: int, minor: int, _: str) -> bool:
    """Say whether wheels for this version of the C library may be installed."""
    return (major, minor) <= (2, 34)
