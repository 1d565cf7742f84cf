#!/usr/bin/env bash
# test-python.sh: makes sure that a Python with the test packages exists and
# prints its path. Debian's own, since Debian packages PyTorch; elsewhere (Ubuntu)
# a virtual environment in build/venv with the versions that
# deploy/requirements-test.txt pins.
set -euo pipefail
cd "$(dirname "$0")/../.."

if grep -qx 'ID=debian' /etc/os-release; then
  deploy/scripts/install-packages.sh test >&2
  echo /usr/bin/python3
  exit
fi

venv=build/venv
if ! cmp -s deploy/requirements-test.txt "$venv/installed.txt"; then
  deploy/scripts/install-packages.sh venv >&2
  rm -rf "$venv"
  /usr/bin/python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --requirement deploy/requirements-test.txt >&2
  cp deploy/requirements-test.txt "$venv/installed.txt"
fi
echo "$venv/bin/python3"
