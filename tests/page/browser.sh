#!/usr/bin/env bash
# Prints the path of Chromium or Chrome; installs Debian's package chromium if there is neither.
set -euo pipefail

say() { echo "browser.sh: $*" >&2; }
find() { command -v chromium || command -v google-chrome; }

if ! find; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { say "this requires Chromium (Debian's chromium) or Chrome, or root on Debian"; exit 1; }
  say "installing chromium"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -qq --no-install-recommends chromium >/dev/null
  find
fi
