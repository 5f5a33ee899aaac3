#!/usr/bin/env bash
# Installs what tests/console needs: a browser with a font, and node with packages that check and run the modules for front
# ends. Only the browser is required. If something else cannot be installed, the script says so, and its tests are skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

missing=()
if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null; then
  missing+=(chromium fonts-dejavu-core)
fi
command -v npm >/dev/null || missing+=(nodejs npm)

if ((${#missing[@]})); then
  if ((EUID == 0)) && command -v apt-get >/dev/null; then
    apt-get update --quiet
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends "${missing[@]}"
  else
    echo "tests/console needs a browser and node. On Debian and Ubuntu, as root: apt-get install ${missing[*]}" >&2
    [[ " ${missing[*]} " != *' chromium '* ]] || exit 1
  fi
fi

packages=tests/console/node_modules
if [[ $packages/.package-lock.json -nt tests/console/package-lock.json ]]; then
  exit 0
fi
if ! command -v npm >/dev/null || ! timeout 120 npm ci --prefix tests/console --no-audit --no-fund --fetch-retries=1; then
  rm -rf "$packages"
  echo "Without npm and its registry, the tests of types and of React skip. Later: npm ci --prefix tests/console" >&2
fi
