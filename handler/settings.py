"""The settings, read from the environment once."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from handler.errors import ErrorFormat, SettingsError

# AWS Lambda gives one vCPU per 1,769 MB, six at most (docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html).
MB_PER_VCPU = 1769
MAX_VCPUS = 6

# Of the function's memory: Python, its packages and boto3 take 96 MB, and 2048 texts of 256 tokens take 95 MB.
RESERVED_MB = 256

TokenInput = Literal["decode", "native", "reject"]
LongInput = Literal["window", "truncate", "error"]
AuthMode = Literal["api-key", "iam", "jwt", "none"]
Metrics = Literal["emf", "none"]
DEFAULT_VECTOR_CACHE_MB = 8  # about 3,900 vectors of the bundled model
KEY_NAME = r"[A-Za-z0-9_.-]{1,64}"
# As a browser serializes an origin (html.spec.whatwg.org, "serialization of an origin"): lower case, no default port.
ORIGIN = r"\*|null|(?!http:.*:80$|https:.*:443$)[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]{1,253}|\[[0-9a-f:]+\])(?::\d{1,5})?"
WEBHOOK_URL = r"(?:https://[A-Za-z0-9.-]+|http://(?:localhost|127\.0\.0\.1))(?::\d{1,5})?(?:/[!-\"$-~]*)?"
MIN_WEBHOOK_SECRET = len("whsec_") + 32  # 24 bytes in base64
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

BUNDLED = Path(__file__).parent.parent / "model_artifacts"


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings.

    models        MODELS         references of the models to serve, comma-separated; the first is the default
    aliases       MODEL_ALIASES  names that clients hard-code, served by the default model; empty for none
    token_input   TOKEN_INPUT    token IDs are cl100k_base's (decode), the model's own (native), or refused (reject)
    long_input    LONG_INPUT     long inputs are read in windows (window), truncated (truncate) or refused (error)
    error_format  ERROR_FORMAT   OpenAI's envelope (openai), or a string (plain)
    cors_origins  CORS_ORIGINS   origins of web pages that may call, comma-separated, or *; none by default
    auth_mode     AUTH_MODE      callers send one of API_KEYS (api-key), API Gateway authenticates them (iam, jwt), or
                                 they need no key (none)
    api_keys      API_KEYS       name:sha256 pairs, comma-separated; a name may occur twice while its key is replaced
    base_path     BASE_PATH      path before /v1 on a custom domain or a proxy, without slashes around it
    page          PAGE           GET / serves a page to try the service with (true), or is an unknown path (false)
    metrics       METRICS        log lines on Lambda are also CloudWatch metrics (emf), or only log lines (none)
    vector_cache  VECTOR_CACHE_MB  bytes that the vectors each model keeps for texts that come again take; 0 for none
    batches       BATCHES        where files and batches are stored: a folder, or s3://bucket/prefix; empty for neither
    batch_input   BATCH_INPUT    what an input_file_id that names an S3 object must begin with; empty for none
    batch_machine BATCH_MACHINE  ARN of the state machine that runs batches; empty for a process on this machine
    webhook_url   WEBHOOK_URL    where the ends of batches are reported: https, or http to this machine; empty for none
    webhook_secret WEBHOOK_SECRET signs these reports: whsec_ and at least 24 bytes in base64
    workers                      derived: number of runs at once, one per vCPU
    threads                      derived: number of whole vCPUs that one text may use, at most six
    model_memory                 derived: bytes that models may take together while one loads, None for no limit
    artifacts                    the folder that holds the bundled models
    """

    models: tuple[str, ...] = ("all-MiniLM-L6-v2",)
    aliases: tuple[str, ...] = ("text-embedding-ada-002", "text-embedding-3-small", "text-embedding-3-large")
    token_input: TokenInput = "decode"
    long_input: LongInput = "window"
    error_format: ErrorFormat = "openai"
    cors_origins: tuple[str, ...] = ()
    auth_mode: AuthMode = "api-key"
    api_keys: tuple[tuple[str, str], ...] = ()
    base_path: str = ""
    page: bool = False
    metrics: Metrics = "emf"
    vector_cache: int = 0
    batches: str = ""
    batch_input: str = ""
    batch_machine: str = ""
    webhook_url: str = ""
    webhook_secret: str = field(default="", repr=False)
    workers: int = 1
    threads: int = 1
    model_memory: int | None = None
    artifacts: Path = BUNDLED

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings.

        Raises:
            SettingsError: a variable has an invalid value.
        """
        default = cls()
        models = _names(environ, "MODELS", default.models)
        if not models:
            raise SettingsError(f"MODELS is empty: name at least one model, such as MODELS={default.models[0]}")
        vcpus = _vcpus(environ)
        return cls(
            models=models,
            aliases=_names(environ, "MODEL_ALIASES", default.aliases),
            token_input=_choice(environ, "TOKEN_INPUT", get_args(TokenInput)),
            long_input=_choice(environ, "LONG_INPUT", get_args(LongInput)),
            error_format=_choice(environ, "ERROR_FORMAT", get_args(ErrorFormat)),
            cors_origins=tuple(map(_origin, _names(environ, "CORS_ORIGINS", default.cors_origins))),
            auth_mode=_choice(environ, "AUTH_MODE", get_args(AuthMode)),
            api_keys=tuple(map(_key, _names(environ, "API_KEYS", ()))),
            base_path=_base_path(environ.get("BASE_PATH", "")),
            page=_choice(environ, "PAGE", ("false", "true")) == "true",
            metrics=_choice(environ, "METRICS", get_args(Metrics)),
            vector_cache=_megabytes(environ, "VECTOR_CACHE_MB", DEFAULT_VECTOR_CACHE_MB),
            batches=_batches(environ.get("BATCHES", default.batches)),
            batch_input=environ.get("BATCH_INPUT", ""),
            batch_machine=environ.get("BATCH_MACHINE", ""),
            webhook_url=(webhook_url := _webhook_url(environ.get("WEBHOOK_URL", ""))),
            webhook_secret=_webhook_secret(environ.get("WEBHOOK_SECRET", ""), webhook_url),
            workers=math.ceil(vcpus),
            threads=max(1, min(MAX_VCPUS, math.floor(vcpus))),
            model_memory=_model_memory(environ),
        )


def _names(environ: Mapping[str, str], variable: str, default: tuple[str, ...]) -> tuple[str, ...]:
    if variable not in environ:
        return default
    return tuple(name.strip() for name in environ[variable].split(",") if name.strip())


def _choice(environ: Mapping[str, str], variable: str, choices: tuple[Any, ...]) -> Any:  # noqa: ANN401 - a Literal's
    """Return one of the choices, the first by default."""
    value = environ.get(variable, choices[0])
    if value not in choices:
        raise SettingsError(f"{variable} is '{value}': choose one of {', '.join(choices)}")
    return value


def _megabytes(environ: Mapping[str, str], variable: str, default: int) -> int:
    """Return a number of megabytes in bytes."""
    value = environ.get(variable, str(default))
    if not re.fullmatch("[0-9]{1,4}", value):
        raise SettingsError(
            f"{variable} is '{value}': write a whole number of megabytes up to 9999, such as {default}, or 0 for none"
        )
    return int(value) << 20


def _origin(origin: str) -> str:
    """Check an origin: a browser sends it in one form, which is compared as a string."""
    if not re.fullmatch(ORIGIN, origin):
        raise SettingsError(
            f"CORS_ORIGINS names '{origin}', which no browser sends as an origin: write scheme://host or "
            "scheme://host:port in lower case, without a path or a default port, such as https://app.example.com; or *"
        )
    return origin


def _batches(uri: str) -> str:
    """Check where files and batches are stored."""
    if "://" in uri and not re.fullmatch(r"s3://[a-z0-9.-]+(?:/.*)?", uri):
        raise SettingsError(f"BATCHES is '{uri}': write a folder, or s3://bucket/prefix")
    return uri


def _base_path(path: str) -> str:
    """Check a path, and remove the slashes around it."""
    if not re.fullmatch(r"/*(?:[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)*)?/*", path):
        raise SettingsError(f"BASE_PATH is '{path}': write a path of letters, digits and ._~- such as emb or team/emb")
    return path.strip("/")


def _key(pair: str) -> tuple[str, str]:
    """Split a pair; an error does not show the pair, since it may contain the key itself."""
    if not re.fullmatch(f"{KEY_NAME}:[0-9a-f]{{64}}", pair):
        raise SettingsError("API_KEYS must be comma-separated name:sha256 pairs: make api-key NAME=... prints one")
    name, _, digest = pair.partition(":")
    if digest == EMPTY_SHA256:
        raise SettingsError(
            f"API_KEYS gives '{name}' the SHA-256 of an empty key: create a key with make api-key NAME={name}"
        )
    return name, digest


def _webhook_url(url: str) -> str:
    """Check a URL; the secret signs what is sent, but only TLS keeps it from others."""
    if url and not re.fullmatch(WEBHOOK_URL, url):
        raise SettingsError("WEBHOOK_URL must be https://host/path; http://localhost:port/path on this machine")
    return url


def _webhook_secret(secret: str, url: str) -> str:
    """Check a secret; an error does not show it."""
    valid = re.fullmatch(r"whsec_(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", secret)
    if (secret or url) and not (valid and len(secret) >= MIN_WEBHOOK_SECRET):
        raise SettingsError(
            "WEBHOOK_SECRET must be whsec_ followed by at least 24 random bytes in base64: "
            "echo whsec_$(openssl rand -base64 24)"
        )
    return secret


def _model_memory(environ: Mapping[str, str]) -> int | None:
    """Return the function's memory without RESERVED_MB, in bytes."""
    memory = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    return None if memory is None else (int(memory) - RESERVED_MB) << 20


def _vcpus(environ: Mapping[str, str]) -> float:
    """Count the vCPUs: from the function's memory on Lambda, from the CPU affinity elsewhere."""
    memory = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    if memory is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_VCPUS, int(memory) / MB_PER_VCPU)
