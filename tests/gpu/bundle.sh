#!/usr/bin/env bash
# bundle.sh: packs the built programs, the tests that have something to do with a
# GPU and the shared libraries they need into build/gpu/bundle.tar.xz, for a
# GPU host that has CUDA's libraries (cuBLAS) and a driver, but no compiler
# and none of our packages. tests/gpu/run.sh unpacks and runs it there.
set -euo pipefail
cd "$(dirname "$0")/../.."

programs=(chela-server chela-cli chela-bench kernels_test
  kernels_convolution_test models_test engine_test session_test
  libchela_cuda.so libchela_device_fault.so libchela_sentencepiece.so)
if [[ ${1:-} != --no-build ]]; then
  cmake --preset release
  cmake --build --preset release --target chela-server chela-cli chela-bench \
    kernels_test kernels_convolution_test models_test engine_test session_test \
    chela_cuda chela_device_fault
fi

out=build/gpu
rm -rf "$out"
mkdir -p "$out/bundle/bin" "$out/bundle/lib"
for program in "${programs[@]}"; do
  cp "build/release/bin/$program" "$out/bundle/bin/"
  # The C library is the host's; CUDA's libraries are found there by run.sh.
  ldd "build/release/bin/$program" | awk '$2 == "=>" && $3 ~ /^\// {print $3}'
done | sort -u |
  grep -vE '/(libc|libm|libdl|librt|libpthread|libresolv|ld-linux[^/]*|libcublas[^/]*|libcuda[^/]*)\.so' |
  xargs -I{} cp -L {} "$out/bundle/lib/"
strip "$out"/bundle/bin/* "$out"/bundle/lib/*
tar -C "$out" -cJf "$out/bundle.tar.xz" bundle
rm -rf "$out/bundle"
ls -l "$out/bundle.tar.xz"
