#!/usr/bin/env bash
# prove-image.sh: builds the Dockerfile without a Docker engine, starts the
# server in the image and asks it for text. For machines where only root and
# apt are to be had: needs buildah and debootstrap (apt-get install buildah
# debootstrap), the network, 5 GB below ${TMPDIR:-/tmp} and the image's ports.
# Leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/../.."

base=localhost/debian:bookworm-slim
image=localhost/chela:proof
work=$(mktemp -d)
container=
server=

buildah() { command buildah --root "$work/store" --runroot "$work/run" \
  --storage-driver vfs "$@"; }
in_image() { buildah run --isolation chroot "$container" -- "$@"; }

clean_up() {
  if [[ -n $server ]]; then
    kill "$(<"$work/pid")" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  if [[ -n $container ]]; then buildah rm "$container" >/dev/null || true; fi
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

say() { printf '\n=== %s (%d s)\n' "$1" "$SECONDS"; }

say "base image"
# The mirror that this machine's own apt uses; debootstrap's default elsewhere.
# shellcheck disable=SC2016
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
  'Codename: bookworm' 'Origin: Debian' | head -n 1)
debootstrap --variant=minbase bookworm "$work/rootfs" ${mirror:+"$mirror"} \
  >"$work/debootstrap.log" || { cat "$work/debootstrap.log"; exit 1; }
scratch=$(buildah from scratch)
tar -C "$work/rootfs" --exclude './dev/*' -c . |
  tar -C "$(buildah mount "$scratch")" -x
rm -rf "$work/rootfs"
buildah umount "$scratch" >/dev/null
buildah commit --quiet --rm "$scratch" "$base" >/dev/null

say "build"
buildah build --isolation chroot --pull-never --build-arg "BASE=$base" \
  --build-arg "REVISION=$(git rev-parse HEAD)" --tag "$image" .

say "runtime image"
buildah images --format '{{.Name}}:{{.Tag}} {{.Size}}' "$image"
container=$(buildah from --pull-never "$image")
[[ $(in_image id -u) == 10001 ]]
for tool in cc c++ gcc g++ cmake make; do
  if in_image sh -c "command -v $tool" 2>/dev/null; then exit 1; fi
done

say "server"
# The isolation has no network or process namespace of its own, so the server's
# ports and process id are the machine's.
root=$(buildah mount "$container")
install -d -m 1777 "$root/tmp"
in_image sh -c 'echo $$ > /tmp/pid && exec chela-server' &
server=$!
for ((tries = 0; tries < 60; tries++)); do
  in_image chela-cli health --timeout 4s >/dev/null 2>&1 && break
  kill -0 "$server"
  sleep 1
done
cp "$root/tmp/pid" "$work/pid"
in_image chela-cli health --timeout 4s
in_image chela-cli generate --prompt "The ship left the harbour" --max-tokens 60 \
  --temperature 0.8 --seed 1

say "drain"
kill -TERM "$(<"$work/pid")"
wait "$server"
server=
say "the image builds, serves and drains"
