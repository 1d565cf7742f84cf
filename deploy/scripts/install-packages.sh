#!/usr/bin/env bash
# install-packages.sh GROUP...: installs the packages of these groups of
# deploy/packages.txt that are missing. Touches neither apt nor the network if
# none is.
set -euo pipefail

list=$(dirname "$0")/../packages.txt

installed() {
  dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

if ! command -v dpkg-query >/dev/null; then
  echo "install-packages: this system has no dpkg; install what" \
    "deploy/packages.txt lists (groups: $*) by hand" >&2
  exit 1
fi

missing=()
for group in "$@"; do
  while read -r _ package why; do
    installed "$package" && continue
    ((${#missing[@]})) || echo "Packages to install:"
    printf '  %-24s %s\n' "$package" "$why"
    missing+=("$package")
  done < <(grep "^$group " "$list")
done
((${#missing[@]})) || exit 0

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "install-packages: not root and no sudo; run as root:" \
      "apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
  --no-install-recommends "${missing[@]}"
