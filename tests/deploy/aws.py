"""The emulated AWS as a process, for as long as a block: TLS, names that lead to it, and nothing left behind."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import trustme

from tests.emulator import ROOT, bridge_address

ADDRESS = "127.0.0.2"  # loopback, so Docker pushes to it; and not the address of a web server on this machine
ACCOUNT, REGION = "123456789012", "eu-central-1"
DOMAIN = f"{REGION}.amazonaws.com"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{DOMAIN}"
HOSTS = Path("/etc/hosts")
HOSTS_MARK = "# serverless-embeddings: make test-deploy"
CONTAINERS_HOST = "host.docker.internal"  # leads from a container to the emulated AWS
OWNER = "serverless-embeddings"  # in a label of every container that the emulator starts


@dataclass(frozen=True)
class Aws:
    """An emulated AWS.

    folder       where it keeps its files
    environment  the environment variables that make AWS's tools and SDKs use it, with the account's own credentials
    authority    the certificate that its clients have to trust
    log_path     the emulator's log
    """

    folder: Path
    environment: dict[str, str]
    authority: Path
    log_path: Path

    def client(self, service: str) -> Any:
        """Return a boto3 client of a service."""
        return boto3.client(
            service,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=REGION,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            verify=str(self.authority),
        )

    def name_host(self, url: str) -> None:
        """Make the host of a URL lead here, on this machine."""
        name_host(urlsplit(url).netloc)


@contextmanager
def run(folder: Path) -> Iterator[Aws]:
    """Run an emulated AWS that keeps its files in a folder."""
    if os.geteuid() != 0:
        raise PermissionError("the deployment tests need root: they serve port 443 and add names to /etc/hosts")
    with ExitStack() as cleanup:
        cleanup.callback(remove_images)
        cleanup.callback(remove_containers)
        cleanup.callback(forget_hosts)
        forget_hosts()
        name_host(REGISTRY)
        authority = issue_certificate(folder)
        log_path = folder / "aws.log"
        cleanup.enter_context(_process(folder, log_path))
        yield Aws(folder, client_environment(authority), authority, log_path)


@contextmanager
def _process(folder: Path, log_path: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.deploy.emulated_aws", ADDRESS, bridge_address()]
    settings = {
        "AUTH": "true",  # the function's role may do only what its policies say
        "GATEWAY_PORT": "443",
        "IOT_MTLS_ENABLED": "0",
        "LAMBDA_EXECUTOR": "docker",
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_HOST": DOMAIN,
        "MINISTACK_HOSTNAME": OWNER,
        "MINISTACK_REGION": REGION,
        "MINISTACK_SSL_CERT": f"{folder}/server.pem",
        "MINISTACK_SSL_KEY": f"{folder}/server.key",
        "PATH": os.environ["PATH"],
        "TMPDIR": str(folder),
        "USE_SSL": "1",
    }
    with (
        log_path.open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, env=settings, stdout=log, stderr=log) as process,
    ):
        try:
            _wait_for(process, log_path)
            yield
        finally:
            process.kill()  # a graceful stop waits half a minute for idle connections


def _wait_for(process: "subprocess.Popen[bytes]", log_path: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((ADDRESS, 443), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the emulated AWS does not serve {ADDRESS}:443:\n{log_path.read_text()}")


def client_environment(authority: Path) -> dict[str, str]:
    """Return the environment of AWS's tools, without any of the caller's own AWS settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return inherited | {
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_CA_BUNDLE": str(authority),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"https://{ADDRESS}",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "PYTHONUNBUFFERED": "1",
        "SAM_CLI_TELEMETRY": "0",
    }


def issue_certificate(folder: Path) -> Path:
    """Write a certificate for AWS's names to a folder; return the path of its authority's certificate."""
    authority = trustme.CA()
    names = [
        f"*.{CONTAINERS_HOST}",
        f"*.execute-api.{DOMAIN}",
        f"*.lambda-url.{REGION}.on.aws",
        CONTAINERS_HOST,
        ADDRESS,
        REGISTRY,
    ]
    certificate = authority.issue_cert(*names)
    certificate.private_key_pem.write_to_path(str(folder / "server.key"))
    for pem in (*certificate.cert_chain_pems, authority.cert_pem):
        pem.write_to_path(str(folder / "server.pem"), append=True)
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    return folder / "authority.pem"


def name_host(name: str) -> None:
    """Make a host name lead to the emulated AWS, on this machine."""
    with HOSTS.open("a") as file:
        file.write(f"{ADDRESS} {name} {HOSTS_MARK}\n")


def forget_hosts() -> None:
    """Remove the names again, also those of a run that was killed."""
    lines = HOSTS.read_text().splitlines(keepends=True)
    HOSTS.write_text("".join(line for line in lines if HOSTS_MARK not in line))


def remove_containers() -> None:
    """Remove the containers of the emulator that it left itself."""
    owner = f"label=ministack.instance={OWNER}:443"
    if containers := docker("ps", "--all", "--quiet", "--filter", owner).split():
        docker("rm", "--force", "--volumes", *containers)


def remove_images() -> None:
    """Remove the tags that were pushed. Docker keeps the layers as its build cache."""
    names = docker("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={REGISTRY}/*/*").split()
    if names:
        docker("rmi", "--no-prune", *names)


def docker(*arguments: str) -> str:
    """Run a Docker command; return its output."""
    return subprocess.check_output(["docker", *arguments], text=True)
