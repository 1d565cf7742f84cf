#!/usr/bin/env bash
# cpp-files.sh: prints the C++ and CUDA files of the working tree, new ones too.
set -euo pipefail
cd "$(dirname "$0")/../.."
git ls-files --cached --others --exclude-standard \
  '*.cc' '*.h' '*.cu' '*.cuh' | while read -r file; do
  if [[ -f $file ]]; then echo "$file"; fi
done
