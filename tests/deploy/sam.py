"""The SAM command line in a copy of the project, so that neither the working copy nor its builds change."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.aws import Aws
from tests.emulator import ROOT

SAM = ROOT / "tests/infra/.venv/bin/sam"
PROJECT = (".dockerignore", "handler", "layers", "model_artifacts", "samconfig.toml", "template.yaml")
PROMPT = re.compile(r"([^\n]+?) \[([^\]\n]*)\]: ?$")


@dataclass(frozen=True)
class Sam:
    """The SAM command line, in a folder with a copy of the project, for an emulated AWS."""

    folder: Path
    aws: Aws

    def build(self, *options: str) -> str:
        """Build the image; return what SAM printed."""
        return self.run("build", *options)

    def deploy(self, config_env: str = "default", *options: str, **parameters: str) -> str:
        """Deploy an environment of samconfig.toml, with these parameters on the command line; return SAM's output."""
        overrides = [f"{name}={value}" for name, value in parameters.items()]
        if overrides:
            options = (*options, "--parameter-overrides", *overrides)
        return self.run("deploy", "--config-env", config_env, "--no-progressbar", *options)

    def run(self, *arguments: str) -> str:
        """Run a command; return what it printed, or raise a `SamError` with it."""
        done = subprocess.run(
            [SAM, *arguments],
            cwd=self.folder,
            env=self.aws.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SamError(done.stdout)
        return done.stdout

    def deploy_guided(self, replies: dict[str, str]) -> str:
        """Deploy with `--guided`: reply to each prompt by its name, or accept its default; return what SAM printed."""
        printed = ""
        with subprocess.Popen(
            [SAM, "deploy", "--guided"],
            cwd=self.folder,
            env=self.aws.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        ) as process:
            assert process.stdin
            assert process.stdout
            while some := process.stdout.read(4096):
                printed += some.decode(errors="replace")
                if prompt := PROMPT.search(printed):
                    name = prompt[1].strip().removeprefix("Parameter ")
                    process.stdin.write(f"{replies.get(name, '')}\n".encode())
                    printed += "\n"
        if process.returncode:
            raise SamError(printed)
        return printed


class SamError(Exception):
    """A SAM command failed; the message is what it printed."""


def copy_project(folder: Path) -> Path:
    """Copy what SAM builds and deploys to a folder; return it."""
    for name in PROJECT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder
