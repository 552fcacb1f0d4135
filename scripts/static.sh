#!/usr/bin/env bash
# Builds the static release binary for one kind of CPU: static.sh x86_64|aarch64 -> dist/qwen-edge-KIND
#
# The baseline is the oldest CPU of the kind (SSE2; Armv8.0 NEON): faster kernels are inside and chosen at run time.
# The same commit and the same compiler give the same bytes in whatever directory they are built: no path of the
# machine and no time gets into the file.
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:-}
cargo_home=${CARGO_HOME:-$HOME/.cargo}
flags="--remap-path-prefix=$PWD=. --remap-path-prefix=$cargo_home=cargo --remap-path-prefix=$(rustc --print sysroot)=rust"
# Cargo.toml overrides a setting for one package, and then cargo takes no `strip` from the environment.
flags+=" -C strip=symbols"
case $kind in
  x86_64)
    # The C library of the machine, linked in; --target keeps the flag away from proc macros, which cannot be static.
    target=x86_64-unknown-linux-gnu
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static $flags"
    ;;
  aarch64)
    scripts/aarch64-toolchain.sh
    . target/aarch64/env
    target=$AARCH64_TARGET
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS:-} $flags"
    ;;
  *) echo "usage: $0 x86_64|aarch64" >&2; exit 2 ;;
esac
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS # cargo would take these instead of the flags above

# A crate that asks for the time of the build is told that of the commit.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH
cargo build --release --locked --target "$target"

mkdir -p dist
out=dist/qwen-edge-$kind
install -m 755 "${CARGO_TARGET_DIR:-target}/$target/release/qwen-edge" "$out"

# --- what was promised of the file ---
fail() { echo "$out: $*" >&2; exit 1; }
if readelf --program-headers "$out" | grep -q INTERP; then fail "not static: it asks for a dynamic loader"; fi
if readelf --dynamic "$out" | grep -q NEEDED; then fail "not static: it needs shared libraries"; fi
bytes=$(stat -c %s "$out")
[ "$bytes" -lt 20000000 ] || fail "$bytes bytes, more than 20 MB"
if grep -aqF -e "$PWD" -e "$cargo_home" "$out"; then fail "holds a path of this machine"; fi
echo "$out: static, $bytes bytes, sha256 $(sha256sum "$out" | cut -d' ' -f1)"
