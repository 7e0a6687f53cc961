"""A machine for tests of the report."""

from benchmarks.report.machine import Machine


def machine(extension: str = "AVX2") -> Machine:
    """Return a machine with this extension."""
    return Machine("a processor", extension, 2, "Linux x86_64", "3.11", {})
