"""The machine that measures: its processor with the extensions that matter here, and the versions of the packages."""

import os
import platform
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks import avx2

PACKAGES = ("onnxruntime", "tokenizers", "numpy", "fastapi", "mangum")
PEERS = {  # whose versions are those of the files of their environments
    "fastembed": "fastembed",
    "sentence-transformers": "sentence-transformers",
    "torch": "sentence-transformers",
    "ctranslate2": "ctranslate2",
    "openvino": "openvino",
    "nncf": "openvino",
    "infinity-emb": "infinity",
}
# What is fastest for int8 first: flags of /proc/cpuinfo, and names of the extensions.
EXTENSIONS = {"amx_int8": "AMX", "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX-VNNI", "avx2": "AVX2"}
ALONE = "AVX2 alone"  # on a processor that has more


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that measured.

    extension  the fastest for int8 that the processes could use
    """

    processor: str
    extension: str
    cores: int
    system: str
    python: str
    packages: dict[str, str]

    @classmethod
    def here(cls) -> "Machine":
        """Describe this machine."""
        information = Path("/proc/cpuinfo").read_text()
        processor = re.search(r"^model name\s*: (.*)$", information, re.MULTILINE)
        flags = re.search(r"^flags\s*: (.*)$", information, re.MULTILINE)
        found = [name for flag, name in EXTENSIONS.items() if flags and flag in flags[1].split()]
        return cls(
            processor=_plain(processor[1]) if processor else platform.machine(),
            extension=ALONE if avx2.hidden() else [*found, "none"][0],
            cores=len(os.sched_getaffinity(0)),
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            packages={name: version(name) for name in PACKAGES} | _pinned(),
        )

    @property
    def slug(self) -> str:
        """The name of its file of results."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.processor} {self.extension}".lower())

    @property
    def rank(self) -> int:
        """The place of its extension, the fastest first."""
        names = [*EXTENSIONS.values(), ALONE]
        return names.index(self.extension) if self.extension in names else len(names)

    @property
    def wide(self) -> bool:
        """Whether it has more than AVX2."""
        return self.rank < list(EXTENSIONS.values()).index("AVX2")

    @property
    def title(self) -> str:
        """The processor and its extension, as a table's head."""
        if self.extension == ALONE:
            return f"{ALONE} (AVX-512 hidden on an {self.processor})"
        return f"{self.processor}, {self.extension}"


def _plain(name: str) -> str:
    return " ".join(re.sub(r"\((R|TM)\)|\bProcessor\b|\bCPU\b|@.*", " ", name).split())


def _pinned() -> dict[str, str]:
    folder = Path(__file__).parents[1] / "peers"
    found = {
        name: re.search(rf"^{name}==(\S+)$", (folder / f"{file}.txt").read_text(), re.MULTILINE)
        for name, file in PEERS.items()
    }
    return {name: match[1] for name, match in found.items() if match}
