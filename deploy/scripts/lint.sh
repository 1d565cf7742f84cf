#!/usr/bin/env bash
# lint.sh: shellcheck over every script, promtool over Prometheus' files.
set -euo pipefail
cd "$(dirname "$0")/../.."
shellcheck deploy/scripts/*.sh tests/bench/*.sh tests/gpu/*.sh .ci/run
promtool check config deploy/prometheus/prometheus.yml
promtool test rules deploy/prometheus/alerts_test.yml
