#!/usr/bin/env bash
# test.sh: builds the preset release and runs ctest and pytest. The last line
# is "N passed, N failed, N skipped"; the exit code is 0 only if something
# passed and nothing failed.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=$(deploy/scripts/test-python.sh)
deploy/scripts/install-packages.sh store
export CHELA_REQUIRE_REDIS=1  # Its tests are skipped elsewhere, without it.
results=$PWD/build/release/results
rm -rf "$results"
mkdir -p "$results"

# An old test binary would pass in the place of one that no longer builds, so
# nothing runs after a failed build.
if ! { cmake --preset release && cmake --build --preset release; }; then
  echo "The build failed."
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
fi
code=0
ctest --preset release -j2 --output-junit "$results/ctest.xml" || code=1
CHELA_BIN_DIR=$PWD/build/release/bin "$python" -B -m pytest tests/python \
  -q -p no:cacheprovider --junitxml="$results/pytest.xml" || code=1
/usr/bin/python3 deploy/scripts/count_tests.py \
  "$results/ctest.xml" "$results/pytest.xml" || code=1
exit "$code"
