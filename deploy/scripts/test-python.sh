#!/usr/bin/env bash
# test-python.sh: makes sure that a Python with the test packages exists and
# prints its path: a virtual environment in build/venv. On Debian it sees
# Debian's own packages, since Debian packages PyTorch, and adds what Debian
# lacks; elsewhere (Ubuntu) it holds all that deploy/requirements-test.txt pins.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=build/venv
if grep -qx 'ID=debian' /etc/os-release; then
  groups=(test venv)
  options=(--system-site-packages)
  # No dependencies: they serve downloads, which no test does.
  install=(--no-deps --constraint deploy/requirements-test.txt tokenizers)
else
  groups=(venv)
  options=()
  install=(--requirement deploy/requirements-test.txt)
fi

deploy/scripts/install-packages.sh "${groups[@]}" >&2
if ! cmp -s deploy/requirements-test.txt "$venv/installed.txt"; then
  rm -rf "$venv"
  /usr/bin/python3 -m venv "${options[@]}" "$venv"
  "$venv/bin/pip" install --quiet "${install[@]}" >&2
  cp deploy/requirements-test.txt "$venv/installed.txt"
fi
echo "$PWD/$venv/bin/python3"
