"""The fields that a file of transformers may have: each is read, or refused, or changes no vector."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_artifacts.recipe.configuration import SourceError


@dataclass(frozen=True, slots=True)
class FieldRules:
    """The fields that a file may have; `required` have to say what the recipe builds, if they are there."""

    read: set[str]
    required: dict[str, Any]
    without_effect: set[str]

    def check(self, path: Path, content: Mapping[str, Any]) -> None:
        """Check the content of a file.

        Raises:
            SourceError: it has an unknown field, or one with a value that the recipe does not build.
        """
        for field, value in self.required.items():
            if content.get(field, value) != value:
                found, known = json.dumps(content[field]), json.dumps(value)
                raise SourceError(f"{path}: {field} is {found}; this recipe builds {known}")
        if unknown := sorted(content.keys() - self.read - self.required.keys() - self.without_effect):
            names = ", ".join(unknown)
            raise SourceError(
                f"{path}: unknown field {names}; remove what changes no vector, such as training settings"
            )
