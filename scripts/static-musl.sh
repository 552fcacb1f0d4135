#!/usr/bin/env bash
# Builds an x86-64 program with the C library of the static aarch64 one, musl, to try what that one does where aarch64 can
# only be emulated: target/x86_64-unknown-linux-musl/release/qwen-edge.
set -euo pipefail
cd "$(dirname "$0")/.."

target=x86_64-unknown-linux-musl
if ! rustup target list --installed 2>/dev/null | grep -qx $target; then
  rustup target add $target || { echo "the standard library of $target cannot be had here" >&2; exit 1; }
fi
CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld cargo build --release --locked --target $target "$@"
