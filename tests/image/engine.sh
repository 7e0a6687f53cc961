#!/usr/bin/env bash
# Provides a Docker engine and the AWS base image, even where no container registry is reachable.
#
# If both exist, it does nothing; if a registry is reachable, it pulls the image. Otherwise, as root on Debian, it starts
# an engine from Debian's docker.io and builds a substitute for the base image, with the same name, from Debian's Python
# 3.13, Lambda's emulator (included in the package aws-sam-cli) and Lambda's runtime client: about 90 seconds, once.
# An engine started here keeps running; its process ID is in build/dockerd.pid.
#
# Differences from AWS's image: Debian instead of Amazon Linux, no dnf, boto3 in /var/runtime.
set -euo pipefail
cd "$(dirname "$0")/../.."
base=$(sed -n 's/^ARG BASE_IMAGE=//p' layers/Dockerfile)
build=$PWD/build/base-image
debian=trixie # the release with Python 3.13

say() { echo "engine.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

install() { # Debian packages
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "this requires root on Debian; or start Docker and pull $base"
  say "installing $*"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -qq --no-install-recommends "$@" >"$build/apt.log" 2>&1 || fail "see $build/apt.log"
}

start_engine() {
  command -v dockerd >/dev/null || install docker.io iptables iproute2
  say "starting Docker"
  local device
  device=$(ip -o route show default | sed -E 's/.* dev ([^ ]+).*/\1/;q')
  # Use the host's MTU: a larger one loses packets in nested networks.
  setsid dockerd --pidfile "$PWD/build/dockerd.pid" --mtu "$(cat "/sys/class/net/$device/mtu")" \
    >"$build/dockerd.log" 2>&1 </dev/null &
  for _ in $(seq 240); do
    docker info >/dev/null 2>&1 && return
    sleep 0.25
  done
  fail "Docker did not start; see $build/dockerd.log"
}

build_base() {
  local python=.venv/bin/python samcli
  command -v mmdebstrap >/dev/null || install mmdebstrap
  say "building a substitute for $base from Debian $debian"
  rm -rf "$build/context" && cp -r tests/image/base "$build/context"
  mmdebstrap --quiet --variant=essential --include=python3,ca-certificates,libstdc++6,tzdata \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$debian" "$build/context/rootfs.tar" 2>"$build/mmdebstrap.log" || fail "see $build/mmdebstrap.log"
  samcli=$($python -c 'import samcli; print(samcli.__path__[0])')
  cp "$samcli/local/rapid/aws-lambda-rie-$(uname -m | sed s/aarch64/arm64/)" "$build/context/aws-lambda-rie"
  $python -m pip download --quiet --no-deps --dest "$build/context" pip
  $python tests/image/base/pip_settings.py "$build/context"
  DOCKER_BUILDKIT=0 docker build --tag "$base" "$build/context" >"$build/build.log" 2>&1 || fail "see $build/build.log"
}

mkdir -p "$build"
docker info >/dev/null 2>&1 || start_engine
docker image inspect "$base" >/dev/null 2>&1 || docker pull --quiet "$base" 2>/dev/null || build_base
