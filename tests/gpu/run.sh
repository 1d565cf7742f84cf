#!/usr/bin/env bash
# run.sh [OUT]: on a host with an NVIDIA GPU, in a checkout that holds
# build/gpu/bundle.tar.xz (tests/gpu/bundle.sh makes it): runs every test on
# the GPU, asks a server for text and measures, beside PyTorch if it is there.
# Logs and figures go to OUT (build/gpu/results). Needs CUDA's cuBLASLt and a
# driver, no compiler. The tests look for their data in the folder that the
# bundle was built in. Takes about 10 minutes, half of them PyTorch's compiler.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
out=${1:-build/gpu/results}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -xJf build/gpu/bundle.tar.xz -C "$work"
cd "$work/bundle/bin"

cublas=$(find /usr /opt -name 'libcublasLt.so.13*' 2>/dev/null | head -n 1)
if [[ -z $cublas ]]; then
  echo "run: no libcublasLt.so.13 below /usr or /opt; install CUDA 13" >&2
  exit 1
fi
# For our programs only: a host's own tools keep their libraries.
ours() {
  LD_LIBRARY_PATH=$work/bundle/lib:$(dirname "$cublas") \
    CHELA_REQUIRE_DEVICES=1 "$@"
}

failed=0
check() { # check NAME COMMAND...: its output to OUT/NAME.log
  local name=$1
  shift
  if ours timeout 300 "$@" >"$out/$name.log" 2>&1; then
    echo "ok      $name: $(grep -E '^\[  PASSED' "$out/$name.log" | tail -n 1)"
  else
    failed=1
    echo "FAILED  $name"
    grep -m 20 -E 'FAILED|Failure|error' "$out/$name.log" || true
  fi
}

nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem --format=csv |
  tee "$out/gpu.csv"
check ops ./kernels_test --gtest_filter='*cuda*'
check convolutions ./kernels_convolution_test --gtest_filter='*cuda*:-*Fft*'
# Other pieces of a prompt give other bits here; ModelInvariance holds them to
# the tolerances of the design.
CHELA_TEST_DEVICE=cuda check models ./models_test --gtest_filter='*DeviceInvariance*:*ModelTwin*:*ReferenceLogits*:*ForwardTest*:*LongTest*:*ModelInvariance*'
if [[ -f $root/models/chela-demo/model-00001-of-00005.safetensors ]]; then
  CHELA_TEST_DEVICE=cuda check demo ./models_test --gtest_filter='DemoModel*'
fi
if command -v compute-sanitizer >/dev/null; then
  check memcheck compute-sanitizer --error-exitcode 9 ./kernels_test \
    --gtest_filter='*cuda*:-*WhenMemoryIsFull*'
  check racecheck compute-sanitizer --tool racecheck --error-exitcode 9 \
    ./kernels_test --gtest_filter='*Attention*cuda*:*Draw*cuda*:*Gated*cuda*'
fi

# A server on the GPU, asked by a real client.
serve() {
  ours ./chela-server --model "$root/tests/data/reference/hierarchical_b16_s3" \
    --device cuda --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 \
    >"$out/server.log" 2>&1 &
  local server=$!
  local target=
  for _ in $(seq 100); do
    target=$(sed -nE 's/.*listening on ([^ ]+) \(gRPC\).*/\1/p' "$out/server.log" |
      head -n 1)
    [[ -n $target ]] && break
    sleep 0.1
  done
  # Listening comes before the model is loaded.
  for _ in $(seq 100); do
    ours ./chela-cli health --target "$target" >/dev/null 2>&1 && break
    sleep 0.1
  done
  ours ./chela-cli info --target "$target" --json >"$out/info.json" || failed=1
  ours ./chela-cli generate --target "$target" --prompt "The sea" \
    --max-tokens 64 --ignore-eos --seed 7 --json >"$out/generate.json" || failed=1
  kill -TERM "$server"
  wait "$server" || failed=1
  echo "server  $(cat "$out/generate.json")"
}
serve

measure() { # measure NAME FLAGS...
  local name=$1
  shift
  ours timeout 200 ./chela-bench engine --device cuda "$@" \
    --json "$out/$name.json" | tee "$out/$name.txt"
}
measure engine-350m --size 350m --batch 1,8,32,64,128 --position 1024 \
  --prefill 2048 --seconds 0.5
measure engine-350m-far --size 350m --batch 1 --position 8192,65536,262144 \
  --prefill 0 --seconds 0.5
measure engine-1.3b --size 1.3b --batch 1,8 --prefill 0 --seconds 0.5
# The peer in the same run, if the host has PyTorch.
if python3 -c 'import torch' 2>/dev/null; then
  if timeout 300 python3 "$root/tests/gpu/pytorch_peer.py" --size 350m \
    --json "$out/pytorch-350m.json" >"$out/pytorch.log" 2>&1; then
    echo "PyTorch $(cat "$out/pytorch-350m.json")"
  else
    failed=1
    echo "FAILED  PyTorch"
    tail -n 5 "$out/pytorch.log"
  fi
fi
exit "$failed"
