#!/usr/bin/env bash
# runtime-packages.sh PROGRAM...: prints the packages that own the shared
# libraries which these programs need, one a line. So the runtime image follows
# the programs and the distribution, and no list has to.
set -euo pipefail

ldd "$@" | awk '/=> not found/ { print > "/dev/stderr"; missing = 1 }
                $2 == "=>" && $3 ~ /^\// { print $3 } END { exit missing }' |
  sort -u | while read -r library; do
  # dpkg knows a file by the path it was packaged with, which on a merged /usr
  # may lack the /usr that the loader reports, or the other way round.
  real=$(readlink -f "$library")
  dpkg-query -S "$library" "$real" "/usr$library" "${real#/usr}" 2>/dev/null |
    grep -v ^diversion | head -n 1 || true
done | cut -d: -f1 | sort -u
