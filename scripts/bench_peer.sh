#!/usr/bin/env bash
# Compares the speed of qwen-edge and llama.cpp on one model: bench_peer.sh MODEL.gguf [options of bench_peer.py].
# PEER_SCRIPT=bench_vision.py bench_peer.sh MODEL.gguf MMPROJ.gguf [IMAGE] [options] does so for a picture.
# Builds llama.cpp (the llama-cpp-python package) for this machine once, into target/peer. PEER_AVX2=1 makes and uses a
# second build without AVX-512, to be compared with --isa avx2.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=target/peer/native
flags=-DGGML_NATIVE=ON
if [ -n "${PEER_AVX2:-}" ]; then
  venv=target/peer/avx2
  flags='-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AVX512=OFF'
fi
if ! [ -e "$venv/ready" ]; then
  # GCC 12 miscompiles llama.cpp's AMX code: clang where there is one.
  for version in '' -19 -18 -17 -16; do
    if command -v "clang$version" > /dev/null; then export CC="clang$version" CXX="clang++$version"; break; fi
  done
  echo "building llama.cpp with ${CC:-the default compiler}: some minutes" >&2
  python3 -m venv "$venv"
  # Without the cache, which would hand out a build made with other flags.
  CMAKE_ARGS="$flags" "$venv/bin/pip" install --quiet --no-cache-dir --no-binary llama-cpp-python llama-cpp-python==0.3.36
  touch "$venv/ready"
fi
exec "$venv/bin/python" "scripts/${PEER_SCRIPT:-bench_peer.py}" "$@"
