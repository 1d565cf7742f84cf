#!/usr/bin/env bash
# run.sh [OUT]: on a host with an NVIDIA GPU, in a checkout that holds
# build/gpu/bundle.tar.xz (tests/gpu/bundle.sh makes it): runs every test on
# the GPU, asks a server for text and measures, beside PyTorch if it is there.
# Logs and figures go to OUT (build/gpu/results). Needs CUDA's cuBLASLt and a
# driver, no compiler. The tests look for their data in the folder that the
# bundle was built in. Takes up to 10 minutes.
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
# Replicas on all GPUs that there are.
CHELA_TEST_GPUS=$(nvidia-smi --list-gpus | wc -l) CHELA_TEST_DEVICE=cuda \
  check replicas ./engine_test --gtest_filter='EngineReplicas*:EngineFaults*'
# Texts that go on, and what the prefix cache keeps.
CHELA_TEST_DEVICE=cuda check turns ./engine_test \
  --gtest_filter='*Turns*:*StopState*:*PrefixCache*:*PrefixPin*:-*Draws*'
# Other pieces of a prompt give other bits here; ModelInvariance holds them to
# the tolerances of the design.
CHELA_TEST_DEVICE=cuda check models ./models_test --gtest_filter='*WarmUp*:*DeviceInvariance*:*ModelTwin*:*ReferenceLogits*:*ForwardTest*:*LongTest*:*ModelInvariance*:*DrawRules*cuda*'
if [[ -f $root/models/chela-demo/model-00001-of-00005.safetensors ]]; then
  CHELA_TEST_DEVICE=cuda check demo ./models_test --gtest_filter='DemoModel*'
fi
if command -v compute-sanitizer >/dev/null; then
  check memcheck compute-sanitizer --error-exitcode 9 ./kernels_test \
    --gtest_filter='*cuda*:-*WhenMemoryIsFull*'
  check racecheck compute-sanitizer --tool racecheck --error-exitcode 9 \
    ./kernels_test --gtest_filter='*Attention*cuda*:*Draw*cuda*:*Gated*cuda*'
  check draw-memcheck compute-sanitizer --error-exitcode 9 ./models_test \
    --gtest_filter='*DrawRules*cuda*'
  check draw-racecheck compute-sanitizer --tool racecheck --error-exitcode 9 \
    ./models_test --gtest_filter='*DrawRules*cuda*:-*HostDraws*'
fi

# start LOG MODEL [FLAGS...]: a ready server on the GPU as $server, $target. With
# $fault_file it loses its GPU when there is something in that file.
server=
target=
fault_file=
start() {
  local log=$1 model=$2
  shift 2
  local lose=()
  [[ -n $fault_file ]] && lose=(CHELA_DEVICE_FAULT_FILE="$fault_file"
    LD_PRELOAD="$PWD/libchela_device_fault.so")
  target=
  ours env "${lose[@]}" ./chela-server --model "$model" --device cuda \
    --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 "$@" >"$log" 2>&1 &
  server=$!
  for _ in $(seq 100); do
    target=$(sed -nE 's/.*listening on ([^ ]+) \(gRPC\).*/\1/p' "$log" |
      head -n 1)
    [[ -n $target ]] && break
    sleep 0.1
  done
  # Listening comes before the model is loaded.
  for _ in $(seq 100); do
    ours ./chela-cli health --target "$target" >/dev/null 2>&1 && break
    sleep 0.1
  done
}
stop() {
  kill -TERM "$server"
  wait "$server" || failed=1
}

# Asked by a real client.
tiny=$root/tests/data/reference/hierarchical_b16_s3
start "$out/server.log" "$tiny"
ours ./chela-cli info --target "$target" --json >"$out/info.json" || failed=1
ours ./chela-cli generate --target "$target" --prompt "The sea" \
  --max-tokens 64 --ignore-eos --seed 7 --json >"$out/generate.json" || failed=1
stop
echo "server  $(cat "$out/generate.json")"

# The GPU is lost while a client streams: an error for him, the exit code 1.
lose_device() {
  fault_file=$work/fault
  start "$out/lost.log" "$tiny"
  fault_file=
  ours timeout 60 ./chela-cli generate --target "$target" --prompt x \
    --max-tokens 60000 --ignore-eos >/dev/null 2>"$out/lost-client.log" &
  local client=$!
  sleep 1
  echo 0 >"$work/fault"
  local codes=0
  wait "$client" || codes=$?
  wait "$server" || codes=$codes$?
  if [[ $codes == 11 ]] && grep -q UNAVAILABLE "$out/lost-client.log"; then
    echo "ok      lost device: $(tail -n 1 "$out/lost-client.log")"
  else
    failed=1
    echo "FAILED  lost device: exit codes $codes, want 11; see lost.log"
  fi
}
lose_device

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
# The same served over loopback, after a round that records the step's graphs.
if python3 -c 'import numpy' 2>/dev/null; then
  python3 "$root/tests/gpu/random_checkpoint.py" "$work/350m" --size 350m
  start "$out/serve.log" "$work/350m" --max-sequences 256 --prefix-cache-bytes 0
  for streams in 64 256; do
    load=(--target "$target" --concurrency "$streams" --prompt-tokens 16)
    ours timeout 60 ./chela-bench serve "${load[@]}" --requests "$streams" \
      --max-tokens 32 >/dev/null || failed=1
    ours timeout 60 ./chela-bench serve "${load[@]}" \
      --requests $((2 * streams)) --max-tokens 512 \
      --json "$out/serve-350m-$streams.json" || failed=1
  done
  stop
fi
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
