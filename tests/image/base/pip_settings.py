"""Copies this machine's package index settings for the substitute image, which stays local and is never pushed.

`pip_settings.py FOLDER` writes pip.conf and ca-certificates.crt.
"""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

KEPT = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def main(folder: Path) -> None:
    """Write both files."""
    bundle = os.environ.get("SSL_CERT_FILE", CERTIFICATES)
    settings = {"cert": CERTIFICATES, "disable-pip-version-check": "1", "root-user-action": "ignore"}
    listed = subprocess.check_output([sys.executable, "-m", "pip", "config", "list"], text=True)
    for line in listed.splitlines():
        key, _, quoted = line.partition("=")
        name, value = key.rpartition(".")[2].removeprefix("default-"), ast.literal_eval(quoted)
        if name == "cert":
            bundle = value
        if name in KEPT and not value.startswith(("/", "file:")):
            settings[name] = value
    shutil.copy(bundle, folder / "ca-certificates.crt")
    lines = [f"{name} = {value}\n" for name, value in settings.items()]
    (folder / "pip.conf").write_text("[global]\n" + "".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
