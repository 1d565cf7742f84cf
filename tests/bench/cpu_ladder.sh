#!/usr/bin/env bash
# cpu_ladder.sh OUT: measures every goal of the CPU engine on this machine, which
# nothing else may use meanwhile, and prints a line for each: what was measured,
# what is wanted, and whether it is met. JSON and tables go to OUT, the lines to
# OUT/ladder.txt too. Takes about 17 minutes on 2 cores, 25 at most. Wants a
# build with -DCHELA_ONEDNN=ON (packages of the group `peers`) in
# build/release/bin, or in CHELA_BIN, and 16 GiB of memory.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [[ $# -ne 1 ]]; then
  echo "usage: cpu_ladder.sh OUT; got $# arguments" >&2
  exit 2
fi
bin=${CHELA_BIN:-build/release/bin}
for program in chela-bench chela-server chela-cli; do
  if [[ ! -x $bin/$program ]]; then
    echo "cpu_ladder: no program $bin/$program; build it, or name its folder in" \
      "CHELA_BIN" >&2
    exit 1
  fi
done
out=$1
mkdir -p "$out"

failed=0
measure() { # measure NAME SECONDS ARGUMENTS...: OUT/NAME.json, OUT/NAME.txt
  local name=$1 limit=$2
  shift 2
  rm -f "$out/$name.json"
  echo "== $(date +%T) $name: chela-bench $*"
  if ! timeout "$limit" "$bin/chela-bench" "$@" --json "$out/$name.json" \
    >"$out/$name.txt" 2>&1; then
    failed=1
    echo "FAILED or longer than $limit s:"
  fi
  cat "$out/$name.txt"
}

# G15, G19, G20: one run a size, so that all of it meets the same machine.
for size in 125m 350m; do
  measure "engine-$size" 150 engine --size "$size" --batch 1,8 --in-turn \
    --stages --prefill 512 --onednn --pairs 9 --seconds 0.3
done
# G16.
measure products 260 kernels --products --size 125m,350m --rows 1,8,16,64 \
  --pairs 7 --seconds 0.06
# G10, both kinds.
for kind in hierarchical explicit; do
  measure "position-$kind" 260 engine --size 125m --long-conv "$kind" \
    --batch 1 --position 1024,8192,65536,262144 --in-turn --prefill 0 \
    --pairs 7 --periods 0 --seconds 1.2
done
# G11: two copies of the weights take turns, so two periods are 4 x 2^S steps.
measure tail-equal 110 engine --size 125m --batch 8 --control --prefill 0 \
  --pairs 9 --periods 2
measure tail-spread 110 engine --size 125m --batch 8 --spread --control \
  --prefill 0 --pairs 9 --periods 2
# The explicit convolution.
measure explicit-350m 130 engine --size 350m --long-conv explicit --batch 1,8 \
  --stages --prefill 0 --pairs 9 --seconds 0.5
# int8 beside the rest.
measure int8-350m 80 engine --size 350m --weights int8 --batch 1,8 --in-turn \
  --stages --prefill 0 --pairs 7 --periods 0 --seconds 0.6

# Beside another process's endless work, which others' time counts as: the row
# calls itself inconclusive.
while :; do :; done &
spinner=$!
trap 'kill "$spinner" 2>/dev/null || true' EXIT
measure beside-125m 60 engine --size 125m --batch 1 --prefill 0 --pairs 3 \
  --periods 0 --seconds 0.5
kill "$spinner"

# Processor time of a server that has worked and waits.
"$bin/chela-server" --model tests/data/reference/hierarchical_b16_s3 \
  --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 >"$out/server.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
target=
for _ in $(seq 100); do
  target=$(sed -nE 's/.*listening on ([^ ]+) \(gRPC\).*/\1/p' "$out/server.log" |
    head -n 1)
  [[ -n $target ]] && "$bin/chela-cli" health --target "$target" \
    >/dev/null 2>&1 && break
  sleep 0.1
done
if "$bin/chela-cli" generate --target "$target" --prompt "The sea" \
  --max-tokens 64 --ignore-eos >/dev/null 2>>"$out/server.log"; then
  sleep 1
  ticks() { awk '{print $14 + $15}' "/proc/$server/stat"; }
  before=$(ticks)
  sleep 10
  awk -v ticks="$(($(ticks) - before))" -v hz="$(getconf CLK_TCK)" \
    'BEGIN {printf "{\"seconds\": 10, \"processor_seconds\": %g}\n", ticks / hz}' \
    >"$out/idle.json"
else
  failed=1
fi
kill "$server"
wait "$server" || true

python3 tests/bench/cpu_ladder.py "$out" | tee "$out/ladder.txt"
exit "$failed"
