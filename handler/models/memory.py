"""How much memory a model takes, estimated from the sizes of its files before any of them is read.

The factors are from resident memory, measured in new processes on x86_64 (`make bench-models`). ONNX Runtime keeps
the weights of matrix products in a second layout: a model of nothing else takes 1.5 times its file, one of mostly
vocabulary 1.1 times. A vocabulary takes three times its JSON; one of 3 MB that only the package `tokenizers` reads
takes twelve times, for which there is the constant. So the estimates are upper bounds, by MARGIN at most.
"""

from handler.artifacts.manifest import MODEL_FILE, TOKENIZER_FILE, Manifest

MODEL_FACTOR, TOKENIZER_FACTOR = 1.5, 3.5
CONSTANT = 30 << 20
MARGIN = 1.3, 32 << 20  # an estimate is at most the first times what was measured, plus the second


def serving(manifest: Manifest) -> int:
    """Return the bytes that a model takes once it is loaded."""
    model, tokenizer = _sizes(manifest)
    return int(MODEL_FACTOR * model + TOKENIZER_FACTOR * tokenizer) + CONSTANT


def parallel(manifest: Manifest) -> int:
    """Return the bytes that a model's second session takes while it loads: what remains, and the file."""
    model, _ = _sizes(manifest)
    return int((MODEL_FACTOR + 1) * model)


def loading(manifest: Manifest) -> int:
    """Return the bytes that a model takes while it is loaded: what remains, and its files."""
    return serving(manifest) + sum(_sizes(manifest))


def _sizes(manifest: Manifest) -> tuple[int, int]:
    return manifest.files[MODEL_FILE].size, manifest.files[TOKENIZER_FILE].size
