#!/usr/bin/env bash
# Runs the tests as aarch64 programs under user-mode emulation, once for each class of board:
#   cortex-a72  Raspberry Pi 4: Armv8.0, NEON alone      cortex-a76  Raspberry Pi 5: dotprod, fp16
#   max         all that the emulator knows: i8mm, bf16, SVE2
# The emulator enforces the model: an instruction that the CPU lacks is an illegal instruction here too.
#
#   test-arm.sh full     every test of the workspace. Those of tests/all that would signal the emulator, measure it or
#                        build for it (signals, memory, library) are passed over; recall takes shorter lists
#   test-arm.sh short    the kernels' conformance tests and the library's unit tests
# Settings: CPUS="cortex-a72 cortex-a76 max".
set -euo pipefail
cd "$(dirname "$0")/.."

form=${1:-full}
cpus=${CPUS:-cortex-a72 cortex-a76 max}
case $form in
  full) what=(--workspace --lib --tests) ;;
  short) what=(--workspace --lib) ;;
  *) echo "usage: $0 full|short" >&2; exit 2 ;;
esac

scripts/aarch64-toolchain.sh --with-qemu
. target/aarch64/env

cargo test --locked --target "$AARCH64_TARGET" "${what[@]}" --no-run
for cpu in $cpus; do
  echo "==> aarch64 $cpu"
  # The runner is for cargo; tests that start the program themselves read QWEN_EDGE_RUNNER.
  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER="qemu-aarch64 -cpu $cpu" \
    QWEN_EDGE_RUNNER="qemu-aarch64 -cpu $cpu" \
    cargo test --locked --target "$AARCH64_TARGET" "${what[@]}" -- --quiet
  echo "aarch64 $cpu: passed"
done
