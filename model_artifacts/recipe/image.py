"""`python -m model_artifacts.recipe.image` (make image): puts a model into the folder whose models an image contains.

`sam build` puts the models of model_artifacts/ into the image, or with ImageModels=build/image those of this folder. So
a built model gets into an image only by this command and that parameter.
"""

import argparse
import shutil
import sys
from pathlib import Path

from handler.artifacts.manifest import DIGEST_MARK, MANIFEST_FILE, MODEL_FILE, TOKENIZER_FILE, Manifest, sha256_of
from handler.artifacts.resolver import map_checked
from handler.errors import ArtifactError
from model_artifacts.recipe.configuration import SourceError
from model_artifacts.recipe.golden import BUILT, BUNDLED

IMAGE = Path("build/image")


def main() -> None:
    """Put one model into build/image/, and print how to build and deploy it."""
    parser = argparse.ArgumentParser(description="Choose the model of an image.")
    parser.add_argument("--model", required=True, metavar="NAME", help="a model's name, or its folder")
    arguments = parser.parse_args()
    try:
        reference = stage(find_model(arguments.model))
    except (ArtifactError, SourceError, OSError, ValueError) as error:
        sys.exit(f"make image: {error}")
    parameters = f"--parameter-overrides Environment=default ImageModels={IMAGE}"
    print(f"{IMAGE} contains {reference}, and nothing else")
    print(f"build it:  sam build {parameters}")
    print(f"deploy it: sam deploy {parameters} Models={reference}")


def find_model(model: str) -> Path:
    """Return the folder of a model, given by its path, or by its name in build/models/ or model_artifacts/.

    Raises:
        SourceError: there is no such model.
    """
    folders = [folder for folder in (Path(model), BUILT / model, BUNDLED / model) if (folder / MANIFEST_FILE).is_file()]
    if not folders:
        known = sorted({path.parent.name for models in (BUILT, BUNDLED) for path in models.glob(f"*/{MANIFEST_FILE}")})
        raise SourceError(
            f"MODEL is '{model}': there is no such model; choose {', '.join(known)}, or a folder with a manifest"
        )
    return folders[0]


def stage(folder: Path) -> str:
    """Make build/image/ contain one model, whose files are checked; return its reference.

    Raises:
        ArtifactError: a file does not match the manifest.
        ValueError: the manifest cannot be read.
    """
    content = (folder / MANIFEST_FILE).read_bytes()
    manifest = Manifest.parse(content)
    files = {name: map_checked(folder / name, manifest.files[name])[:] for name in (MODEL_FILE, TOKENIZER_FILE)}
    shutil.rmtree(IMAGE, ignore_errors=True)
    (IMAGE / manifest.id).mkdir(parents=True)
    for name, file in {**files, MANIFEST_FILE: content}.items():
        (IMAGE / manifest.id / name).write_bytes(file)
    return f"{manifest.id}{DIGEST_MARK}{sha256_of(content)}"


if __name__ == "__main__":
    main()
