#!/usr/bin/env bash
# Runs the tests as Windows programs under wine.
#
#   test-windows.sh full     every test of the workspace, at every level that this CPU has, but for those of LEFT_OUT
#   test-windows.sh short    conformance of the kernels, the library's unit tests (each function of Windows with real values
#                            among them), golden values, behaviour, and one answer: the same text as on Linux
#
# Wine finds Linux's files of facts where a program of Windows should find none: what is built must not hold their names.
set -euo pipefail
cd "$(dirname "$0")/.."

form=${1:-full}
case $form in
  full) what=(--workspace --lib --tests) modules=() ;;
  short)
    what=(--workspace --lib --test all)
    modules=(golden:: manners:: windows:: tokenizer:: heldout)
    ;;
  *) echo "usage: $0 full|short" >&2; exit 2 ;;
esac

# What cannot be asked of an emulator on this machine, and why.
LEFT_OUT=(
  library:: # builds with cargo, which is no Windows program here
)

scripts/windows-toolchain.sh --with-wine
. target/windows/env

cargo test --locked --target "$WINDOWS_TARGET" "${what[@]}" --no-run
echo "==> the program"
python3 scripts/check-exe.py "${CARGO_TARGET_DIR:-target}/$WINDOWS_TARGET/debug/qwen-edge.exe" --timed
skipped=()
for name in "${LEFT_OUT[@]}"; do skipped+=(--skip "$name"); done
echo "==> windows"
if [ "$form" = short ]; then
  cargo test --locked --target "$WINDOWS_TARGET" --workspace --lib -- --quiet
  cargo test --locked --target "$WINDOWS_TARGET" --test all -- --quiet "${skipped[@]}" "${modules[@]}"
else
  cargo test --locked --target "$WINDOWS_TARGET" "${what[@]}" -- --quiet "${skipped[@]}"
fi
echo "windows: passed"
