"""The settings, read from the environment once."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handler.errors import SettingsError

# AWS Lambda gives one vCPU per 1,769 MB, six at most (docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html).
MB_PER_VCPU = 1769
MAX_VCPUS = 6

BUNDLED = Path(__file__).parent.parent / "model_artifacts"


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator may decide.

    models     MODELS         references of the models to serve, comma-separated; the first is the default
    aliases    MODEL_ALIASES  names that clients hard-code, answered by the default model; empty for none
    workers                   derived: texts embedded at once, one per vCPU
    artifacts                 the folder that holds the bundled models
    """

    models: tuple[str, ...] = ("all-MiniLM-L6-v2",)
    aliases: tuple[str, ...] = ("text-embedding-ada-002", "text-embedding-3-small")
    workers: int = 1
    artifacts: Path = BUNDLED

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings.

        Raises:
            SettingsError: a variable holds a value that cannot be used.
        """
        default = cls()
        models = _names(environ, "MODELS", default.models)
        if not models:
            raise SettingsError(f"MODELS is empty: name at least one model, such as MODELS={default.models[0]}")
        return cls(models=models, aliases=_names(environ, "MODEL_ALIASES", default.aliases), workers=_vcpus(environ))


def _names(environ: Mapping[str, str], variable: str, default: tuple[str, ...]) -> tuple[str, ...]:
    if variable not in environ:
        return default
    return tuple(name.strip() for name in environ[variable].split(",") if name.strip())


def _vcpus(environ: Mapping[str, str]) -> int:
    """Count the vCPUs: from the function's memory on Lambda, from the CPU affinity elsewhere."""
    memory = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    if memory is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_VCPUS, math.ceil(int(memory) / MB_PER_VCPU))
