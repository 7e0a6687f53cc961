"""What GET /v1/models and GET /v1/models/{id} say, in JSON; imported by the first of these requests."""

from collections.abc import Iterable

from handler.artifacts.resolver import VerifiedManifest
from handler.contract.objects import Canary, Loss, Model, ModelList
from handler.contract.responses import encode_base64
from handler.contract.schemas import EXAMPLE_TEXT
from handler.embedding.deadline import Deadline
from handler.embedding.prompts import MARK, find_prompt
from handler.models.catalog import Catalog


def describe_all(catalog: Catalog, deadline: Deadline) -> bytes:
    """Describe every name that a request's `model` may have, for the models whose manifest can be read."""
    manifests = catalog.manifests(deadline)
    names = {**_prompted(manifests.values()), **manifests}
    return _json(ModelList(data=[_describe(name, verified) for name, verified in names.items()]))


def describe_one(catalog: Catalog, model: str, deadline: Deadline) -> bytes:
    """Describe one model, with a canary that it embeds now, and what the output types lose.

    Raises:
        ModelNotFoundError, ModelMismatchError, UnavailableError: as Catalog.get.
    """
    verified, embedder = catalog.manifest(model, deadline), catalog.get(model, deadline)
    prompt_name = find_prompt(catalog.prompt(model), embedder.manifest.prompts)
    (vector,) = embedder.embed([EXAMPLE_TEXT], prompt_name=prompt_name, deadline=deadline).vectors
    canary = Canary(input=EXAMPLE_TEXT, embedding=encode_base64(vector))
    manifest = verified.manifest
    loss = Loss.model_validate(manifest.quality["loss"]) if "loss" in manifest.quality else None
    full = {"canary": canary, "calibration": manifest.calibration or None, "loss": loss}
    return _json(_describe(model, verified).model_copy(update=full))


def _prompted(manifests: Iterable[VerifiedManifest]) -> dict[str, VerifiedManifest]:
    """Return the names that select a prompt: every ID with each prompt of its model."""
    return {
        f"{verified.manifest.id}{MARK}{prompt}": verified
        for verified in manifests
        for prompt in verified.manifest.prompts
        if prompt
    }


def _describe(name: str, verified: VerifiedManifest) -> Model:
    manifest = verified.manifest
    return Model(
        id=name,
        root=manifest.id,
        created=verified.created,
        digest=f"sha256:{verified.digest}",
        dimensions=manifest.dimensions,
        max_tokens=manifest.max_tokens,
    )


def _json(body: Model | ModelList) -> bytes:
    return body.model_dump_json(exclude_none=True).encode()
