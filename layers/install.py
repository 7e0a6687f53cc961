"""Prepare a folder of the image: install locked wheels into it, leave out what the function never reads, compile.

`install.py requirements.txt FOLDER` installs first; `install.py FOLDER` prepares what lies there. It runs in the base
image, which need not have `find`.
"""

import compileall
import subprocess
import sys
from pathlib import Path
from py_compile import PycInvalidationMode
from shutil import rmtree

NEVER_READ = (
    "**/tests",
    "**/*.pyi",
    "bin",
    "boto3/data",  # of resources; clients need only botocore's
    "boto3/examples",
    "botocore/data/[!s]*/",  # of services other than S3
    "botocore/data/s[!3]*/",
    "botocore/data/s3?*/",
    "numpy/_core/include",
    "numpy/**/*.a",
    "numpy/f2py",
    "onnxruntime/backend",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
)


def main(*requirements: str, folder: Path) -> None:
    """Install, prune, compile, and open everything to the function's user, whatever the umask of the checkout was."""
    for file in requirements:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-compile", "--no-deps"]
        wheels = ["--only-binary", ":all:", "--require-hashes", "--requirement", file]
        subprocess.run([*install, *wheels, "--target", folder], check=True)
    for path in [path for pattern in NEVER_READ for path in folder.glob(pattern)]:
        if path.is_dir():
            rmtree(path)
        else:
            path.unlink(missing_ok=True)
    # Unchecked: Python then reads the byte code without asking the file system for the source's date.
    if not compileall.compile_dir(folder, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH):
        sys.exit(f"{folder}: not everything compiles")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


if __name__ == "__main__":
    main(*sys.argv[1:-1], folder=Path(sys.argv[-1]))
