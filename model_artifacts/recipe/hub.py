"""A source on the Hugging Face Hub -> a directory in the Hub's cache, with only the files that the recipe reads."""

import re
from pathlib import Path

from model_artifacts.recipe.configuration import SourceError
from model_artifacts.recipe.source import WEIGHTS_FILE

REPOSITORY = r"[\w.-]+/[\w.-]+"
# What the recipe reads, also of sentence-transformers' modules, whose folders are 1_Pooling and the like; and the last
# for sentence-transformers itself, in `make golden`.
FILES = (
    r"(\d+_\w+/)?(config\.json|model\.safetensors)",
    r"(modules|sentence_bert_config|config_sentence_transformers|tokenizer|tokenizer_config)\.json",
    r"README\.md",
    r"special_tokens_map\.json",
)
SECONDS = 10  # for the Hub's first response


def locate(source: str, revision: str | None = None) -> Path:
    """Return the directory of a source: its path, or `owner/name` on the Hub, whose files are then downloaded.

    `revision` is a branch, a tag or a commit there; the directory's path contains the commit (origin.py).

    Raises:
        SourceError: there is no such source, or it cannot be downloaded.
    """
    directory = Path(source)
    if directory.is_dir():
        if revision:
            raise SourceError(f"REVISION is of a model on the Hub, and {source} is a directory")
        return directory
    if not re.fullmatch(REPOSITORY, source):
        raise SourceError(f"{source}: no such directory, and no model on the Hub, which would be owner/name")
    return _download(source, revision)


def _download(repository: str, revision: str | None) -> Path:
    import httpx2  # here, because most builds need none of them
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        found = HfApi().model_info(repository, revision=revision, timeout=SECONDS)
        names = sorted(file.rfilename for file in found.siblings or ())
        if WEIGHTS_FILE not in names:
            raise SourceError(
                f"{repository}: it has no {WEIGHTS_FILE} on the Hub, and the recipe reads no other weights; it has "
                f"{', '.join(names) or 'no files'}"
            )
        read = [name for name in names if re.fullmatch("|".join(FILES), name)]
        return Path(snapshot_download(repository, revision=found.sha, allow_patterns=read))
    except GatedRepoError as error:
        reason = "it is gated; accept its terms on the Hub, and set HF_TOKEN to a token of yours"
        raise SourceError(f"{repository}: {reason}") from error
    except RevisionNotFoundError as error:
        raise SourceError(f"{repository}: it has no revision {revision} on the Hub") from error
    except RepositoryNotFoundError as error:
        reason = "no such directory, and no such model on the Hub; if it is private, set HF_TOKEN to a token of yours"
        raise SourceError(f"{repository}: {reason}") from error
    except (httpx2.HTTPError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise SourceError(f"{repository}: no such directory, and the download from the Hub failed: {reason}") from error
