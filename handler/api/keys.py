"""API keys: creating one, and the SHA-256 by which the service recognizes it.

`python -m handler.api.keys NAME` creates one.
"""

import hashlib
import re
import secrets
import sys

from handler.settings import KEY_NAME


def digest_of(key: str) -> str:
    """Return a key's SHA-256 in hex. Keys are 256 random bits, so neither salt nor stretching would add anything."""
    return hashlib.sha256(key.encode()).hexdigest()


def main() -> None:
    """Print a new key, once, and the name:sha256 pair to deploy."""
    name = sys.argv[1]
    if not re.fullmatch(KEY_NAME, name):
        sys.exit(f"'{name}' cannot name a key: use letters, digits, '-', '_' and '.', 64 at most")
    key = f"sk-{secrets.token_urlsafe(32)}"
    print(f"The key, shown this once:   {key}")
    print(f"To deploy, in ApiKeys:      {name}:{digest_of(key)}")


if __name__ == "__main__":
    main()
