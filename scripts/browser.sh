#!/usr/bin/env bash
# Installs the browser that tests/console drives, with a font, unless one is there. Without root it says what to install.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null; then
    exit 0
  fi
done
if ((EUID == 0)) && command -v apt-get >/dev/null; then
  apt-get update --quiet
  DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends chromium fonts-dejavu-core
else
  echo 'tests/console needs a browser. On Debian and Ubuntu, as root: apt-get install chromium' >&2
  exit 1
fi
