"""Which of a model's prompts a request asks for: APIs and models have several names for the same one."""

from collections.abc import Iterator, Mapping

from handler.errors import RequestError

# The same prompt under the names of NVIDIA's and Voyage's `input_type`, Cohere's, Jina's `task`, and of models, whose
# spelling may be Classification. A model need not have a prompt for it: its texts then get none.
SYNONYMS = (
    ("query", "search_query", "retrieval.query"),
    ("passage", "document", "search_document", "retrieval.passage"),
    ("classification",),
    ("clustering", "separation"),
    ("text-matching",),
)
MARK = ":"  # between a model's name and a prompt's, for clients that cannot send `input_type`


def find_prompt(name: str, prompts: Mapping[str, str]) -> str | None:
    """Return the name of a prompt as a manifest has it; for a known one that it lacks, the first synonym; else None."""
    if name in prompts:
        return name
    for names in SYNONYMS:
        if name in names:
            return next((own for own in prompts if own.lower() in names), names[0])
    return None


def choose_prompt(model: str, prompts: Mapping[str, str], input_type: str | None, suffix: str = "") -> str:
    """Return the name of the prompt for a request's `input_type`, and for what follows `:` in its `model`.

    Raises:
        RequestError: the type is unknown, or the two ask for different prompts.
    """
    if not input_type:
        return find_prompt(suffix, prompts) or ""
    name = find_prompt(input_type, prompts)
    if name is None:
        raise RequestError(
            f"Invalid 'input_type': '{input_type}' is unknown; '{model}' knows {', '.join(_known(prompts))}.",
            param="input_type",
            code="invalid_value",
        )
    if suffix and name != find_prompt(suffix, prompts):
        raise RequestError(
            f"Invalid 'input_type': it is '{input_type}', and 'model' asks for '{suffix}'; send one of the two.",
            param="input_type",
            code="invalid_value",
        )
    return name


def _known(prompts: Mapping[str, str]) -> Iterator[str]:
    yield from filter(None, prompts)
    yield from (name for names in SYNONYMS for name in names if name not in prompts)
