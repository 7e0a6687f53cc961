"""Prepares a folder of the image: installs locked wheels, removes files that the function never reads, compiles.

`install.py requirements.txt FOLDER` installs first; `install.py FOLDER` prepares the existing files. It runs in the
base image, which may lack `find`.
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
    "boto3/data",  # definitions of resources; clients need only botocore's
    "boto3/examples",
    "botocore/data/[!s]*/",  # definitions of services other than S3 and Step Functions
    "botocore/data/s[!3t]*/",
    "botocore/data/s3?*/",
    "botocore/data/st[!e]*/",
    "numpy/_core/include",
    "numpy/**/*.a",
    "numpy/f2py",
    "onnxruntime/backend",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "pyarrow/include",
    "pyarrow/src",
    "pyarrow/*.p[xy][dxi]",  # Cython's sources
    "pyarrow/*flight*",
    "pyarrow/*_s3*",  # objects are read by boto3
    "pyarrow/libarrow_python*.so",  # copies of those with a version in their name
    "pyarrow/libarrow_python*.so.*.*.*",
)


def main(*requirements: str, folder: Path) -> None:
    """Install, prune and compile; make all files readable to the function's user, independently of the umask."""
    for file in requirements:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-compile", "--no-deps"]
        wheels = ["--only-binary", ":all:", "--require-hashes", "--requirement", file]
        subprocess.run([*install, *wheels, "--target", folder], check=True)
    for path in [path for pattern in NEVER_READ for path in folder.glob(pattern)]:
        if path.is_dir():
            rmtree(path)
        else:
            path.unlink(missing_ok=True)
    # With unchecked bytecode Python does not read the source file's date.
    if not compileall.compile_dir(folder, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH):
        sys.exit(f"{folder}: some files do not compile")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


if __name__ == "__main__":
    main(*sys.argv[1:-1], folder=Path(sys.argv[-1]))
