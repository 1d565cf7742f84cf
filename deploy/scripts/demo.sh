#!/usr/bin/env bash
# demo.sh BIN: starts BIN/chela-server with the bundled model on free ports,
# streams a completion, shows metrics and stops the server again.
set -euo pipefail

bin=$1
prompt=${PROMPT:-"It was a bright morning in April, and the old man"}
work=$(mktemp -d)
server=

stop_server() {
  if [[ -n $server ]]; then
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap stop_server EXIT
trap 'exit 130' INT TERM

touch "$work/log"
"$bin/chela-server" --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 \
  2>"$work/log" &
server=$!

listening='listening on ([^ ]+) \(gRPC\) and ([^ ]+) \(metrics\)'
ready() {
  [[ $(<"$work/log") =~ $listening ]] || return 1
  target=${BASH_REMATCH[1]}
  metrics=${BASH_REMATCH[2]}
  curl -sf --max-time 5 -o /dev/null "http://$metrics/readyz"
}
for ((tries = 0; tries < 600; tries++)); do
  if ready || ! kill -0 "$server" 2>/dev/null; then break; fi
  sleep 0.1
done
if ! ready; then
  echo "demo: the server did not start:" >&2
  cat "$work/log" >&2
  exit 1
fi
echo "chela-server listens on $target (gRPC) and $metrics (metrics)."

printf '\nPrompt: %s\n\n%s' "$prompt" "$prompt"
"$bin/chela-cli" generate --target "$target" --prompt "$prompt" \
  --max-tokens 200 --temperature 0.8 --top-p 0.95 --seed 7 2>"$work/statistics"
printf '\n\n'
cat "$work/statistics"

printf '\nFrom http://%s/metrics:\n' "$metrics"
curl -sSf "http://$metrics/metrics" >"$work/metrics"
for name in 'chela_requests_total{.*code="OK".*rpc="generate_stream"' \
  'chela_generated_tokens_total' 'chela_time_to_first_token_seconds_sum' \
  'chela_inter_token_latency_seconds_count' 'chela_state_slots{.*state="free"'; do
  grep -m 1 "^$name" "$work/metrics" || {
    echo "demo: no metric $name" >&2
    exit 1
  }
done

kill -TERM "$server"
code=0
wait "$server" || code=$?
server=
if ((code != 0)); then
  echo "demo: the server exited with $code after SIGTERM:" >&2
  cat "$work/log" >&2
  exit 1
fi
printf '\nThe server drained and stopped. "make serve" keeps one running.\n'
