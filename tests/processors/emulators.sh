#!/usr/bin/env bash
# Provides QEMU's user-mode emulation; with `arm64`, also Debian's Python and the locked wheels for arm64, unpacked into
# build/arm64 without changing this system.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$PWD/build/arm64
python=3.11 # Debian 12's version, whose C library can load the locked wheels

say() { echo "emulators.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

if ! command -v qemu-x86_64 >/dev/null || ! command -v qemu-aarch64 >/dev/null; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "this requires qemu-x86_64 and qemu-aarch64 (Debian's qemu-user), or root on Debian"
  say "installing qemu-user"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -qq --no-install-recommends qemu-user >/dev/null
fi
[ "${1:-}" = arm64 ] || exit 0
[ ! -e "$build/ready" ] || exit 0

say "unpacking Debian's Python $python and the locked wheels for arm64 into build/arm64"
command -v apt-get >/dev/null || fail "this requires apt-get to download Debian's packages for arm64"
rm -rf "$build" && mkdir -p "$build"/{apt/lists/partial,apt/cache/archives/partial,debs,root,wheels}
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(apt-get indextargets --format '$(REPO_URI)' | head -1) bookworm main" >"$build/apt/sources.list"
options=(-qq -o "Dir::State=$build/apt" -o "Dir::State::status=/dev/null" -o "Dir::Cache=$build/apt/cache"
  -o "Dir::Etc::sourcelist=$build/apt/sources.list" -o Dir::Etc::sourceparts=- -o APT::Architecture=arm64
  -o APT::Architectures=arm64 -o APT::Sandbox::User=root)
apt-get "${options[@]}" update
(cd "$build/debs" && apt-get "${options[@]}" download libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libffi8 libssl3 \
  libbz2-1.0 liblzma5 "libpython$python-minimal" "libpython$python-stdlib" "python$python-minimal")
for deb in "$build"/debs/*.deb; do dpkg -x "$deb" "$build/root"; done
.venv/bin/uv export --frozen --quiet --only-group native --only-group service >"$build/requirements.txt"
.venv/bin/uv pip install --quiet --no-deps --python-platform aarch64-manylinux_2_28 --python-version "$python" \
  --only-binary :all: --target "$build/wheels" --requirements "$build/requirements.txt"
# ONNX Runtime reads these files to detect the processor, and crashes (in pytorch/cpuinfo) on those of the host.
mkdir -p "$build/root/proc" "$build/root/sys/devices/system/cpu"
cat >"$build/root/proc/cpuinfo" <<'NEOVERSE_N1' # as on Graviton2
processor : 0
Features : fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer : 0x41
CPU architecture: 8
CPU variant : 0x3
CPU part : 0xd0c
CPU revision : 1

NEOVERSE_N1
for file in possible present; do echo 0 >"$build/root/sys/devices/system/cpu/$file"; done
touch "$build/ready"
