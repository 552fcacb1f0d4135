#!/usr/bin/env bash
# Builds and links the release program for macOS: static-macos.sh [aarch64] [x86_64] -> dist/qwen-edge-macos-ARCH
#
# It needs the system's library and nothing else. It cannot be run here: what is checked is its kind, what it asks for, and
# its signature.
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || set -- aarch64 x86_64
cargo_home=${CARGO_HOME:-$HOME/.cargo}
flags="--remap-path-prefix=$PWD=. --remap-path-prefix=$cargo_home=cargo --remap-path-prefix=$(rustc --print sysroot)=rust"
flags+=" -C strip=symbols"
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS # cargo would take these instead of the flags above
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH

for arch; do
  scripts/darwin-toolchain.sh "$arch"
  . "target/darwin/env-$arch"
  variable=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$DARWIN_TARGET")_RUSTFLAGS
  export "$variable=${!variable} $flags"
  cargo build --release --locked --target "$DARWIN_TARGET"
  mkdir -p dist
  out=dist/qwen-edge-macos-$arch
  install -m 755 "${CARGO_TARGET_DIR:-target}/$DARWIN_TARGET/release/qwen-edge" "$out"
  scripts/check-macho.py "$out" "$PWD" "$cargo_home"
  bytes=$(stat -c %s "$out")
  [ "$bytes" -lt 20000000 ] || { echo "$out: $bytes bytes, more than 20 MB" >&2; exit 1; }
  echo "$out: $bytes bytes, sha256 $(sha256sum "$out" | cut -d' ' -f1)"
done
