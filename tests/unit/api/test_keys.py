import hashlib
import re
import subprocess
import sys

import pytest

from handler.api.keys import digest_of, main
from handler.settings import Settings
from tests.emulator import ROOT


def test_command_prints_a_new_key_and_its_name_and_digest():
    command = [sys.executable, "-m", "handler.api.keys", "alice"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    match = re.fullmatch(r"The key, shown this once: +(sk-[\w-]{43})\nTo deploy, in ApiKeys: +(\S+)\n", printed)
    assert match
    key, pair = match.groups()
    assert pair == f"alice:{hashlib.sha256(key.encode()).hexdigest()}"
    assert Settings.from_env({"API_KEYS": pair}).api_keys == (("alice", digest_of(key)),)


@pytest.mark.parametrize("name", ["", "two words", "a:b", "a,b", "n" * 65])
def test_command_rejects_invalid_names(monkeypatch, name):
    monkeypatch.setattr(sys, "argv", ["keys", name])
    with pytest.raises(SystemExit, match="cannot name a key: use letters, digits"):
        main()
