#!/usr/bin/env bash
# Makes sure of a Docker engine and of the AWS base image, also where no container registry is reachable.
#
# With both at hand, or a registry to pull from, this does nothing more. Else, on Debian and as root, it starts an engine
# from Debian's docker.io and builds a stand-in for the base image, under the same name, from Debian's Python 3.13,
# Lambda's emulator (the package aws-sam-cli carries it) and Lambda's runtime client: about a minute and a half, once.
# An engine that was started here keeps running; its process id is in build/dockerd.pid.
#
# How the stand-in differs from AWS's image: Debian instead of Amazon Linux, no dnf, boto3 in /var/runtime.
set -euo pipefail
cd "$(dirname "$0")/../.."
base=$(sed -n 's/^ARG BASE_IMAGE=//p' layers/Dockerfile)
build=$PWD/build/base-image
debian=trixie # has Python 3.13

say() { echo "engine.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

install() { # Debian packages
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "this needs root on Debian; or start Docker, with $base at hand"
  say "installing $*"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -qq --no-install-recommends "$@" >"$build/apt.log" 2>&1 || fail "see $build/apt.log"
}

start_engine() {
  command -v dockerd >/dev/null || install docker.io iptables iproute2
  say "starting Docker"
  local device
  device=$(ip -o route show default | sed -E 's/.* dev ([^ ]+).*/\1/;q')
  # The MTU is the machine's own: a larger one loses packets in nested networks.
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
  say "building a stand-in for $base from Debian $debian"
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
