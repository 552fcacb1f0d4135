#!/usr/bin/env bash
# Builds the release program for Windows on x86-64: dist/qwen-edge-x86_64.exe, one file that needs nothing beside it.
#
# The same commit and the same compiler give the same bytes in whatever directory they are built: no path of the machine
# and no time gets into the file.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/windows-toolchain.sh
. target/windows/env
cargo_home=${CARGO_HOME:-$HOME/.cargo}
flags="--remap-path-prefix=$PWD=. --remap-path-prefix=$cargo_home=cargo --remap-path-prefix=$(rustc --print sysroot)=rust"
# Cargo.toml overrides a setting for one package, and then cargo takes no `strip` from the environment.
flags+=" -C strip=symbols -C link-arg=--no-insert-timestamp"
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS="$CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS $flags"
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS # cargo would take these instead of the flags above
# A crate that asks for the time of the build is told that of the commit.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH
cargo build --release --locked --target "$WINDOWS_TARGET"

mkdir -p dist
out=dist/qwen-edge-x86_64.exe
install -m 755 "${CARGO_TARGET_DIR:-target}/$WINDOWS_TARGET/release/qwen-edge.exe" "$out"
scripts/check-exe.py "$out" "$PWD" "$cargo_home"
bytes=$(stat -c %s "$out")
[ "$bytes" -lt 20000000 ] || { echo "$out: $bytes bytes, more than 20 MB" >&2; exit 1; }
echo "$out: $bytes bytes, sha256 $(sha256sum "$out" | cut -d' ' -f1)"
