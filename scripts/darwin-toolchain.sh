#!/usr/bin/env bash
# Makes this machine able to link programs for macOS with Rust: darwin-toolchain.sh [aarch64|x86_64] [--from-source]
#
# All that is fetched goes below target/darwin; no file outside target/ is touched and no root is needed.
#   - The standard library is the toolchain's own, or rustup adds it, or it is compiled from Debian's rust-src.
#   - Of Apple's SDK a program without frameworks needs one file: libSystem.tbd, the list of names that the system's library
#     has. The package ziglang for Python carries it. Nothing of it gets into the program.
#   - The linker is the rust-lld that comes with Rust; it signs the file ad hoc, which Apple silicon asks for.
# Nothing here can run the result: that takes a Mac.
# What cargo must know is left in target/darwin/env-ARCH, to be sourced by a script.
# For Debian and its like on x86-64, with rustc, cargo and python3 (pip) on the PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

arch=aarch64
force_source=false
for arg; do
  case $arg in
    aarch64 | x86_64) arch=$arg ;;
    --from-source) force_source=true ;;
    *) echo "usage: $0 [aarch64|x86_64] [--from-source]" >&2; exit 2 ;;
  esac
done
name=darwin-toolchain
target=$arch-apple-darwin
out=$PWD/target/darwin
sysroot=$out/sysroot
sdk=$out/sdk
zig_version=0.17.0

. scripts/toolchain.sh

flags() { echo "-C linker=rust-lld${1:+ --sysroot $1}"; } # flags [SYSROOT]
finish() { # finish FLAGS
  {
    echo "export DARWIN_TARGET=$target"
    echo "export SDKROOT='$sdk'"
    echo "export CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_RUSTFLAGS='$1'"
  } >"$out/env-$arch"
  exit 0
}
# Does a program that threads and unwinds link?
works() { # works FLAGS
  local dir ok=true
  dir=$(mktemp -d "$out/works.XXXX")
  cat >"$dir/main.rs" <<'END'
fn main() {
    assert!(std::thread::spawn(|| assert!(std::env::args().count() > 9)).join().is_err());
}
END
  # shellcheck disable=SC2086
  SDKROOT=$sdk rustc --edition 2024 -O --target "$target" $1 -o "$dir/main" "$dir/main.rs" >"$out/works.log" 2>&1 || ok=false
  if $ok; then python3 scripts/check-macho.py "$dir/main" >>"$out/works.log" 2>&1 || ok=false; fi
  rm -rf "$dir"
  $ok
}

# --- the list of what the system's library has ---
list=$sdk/usr/lib/libSystem.tbd
if [ ! -e "$list" ]; then
  say "taking libSystem.tbd out of ziglang $zig_version"
  rm -rf "$work" "$sdk"
  mkdir -p "$work" "$sdk/usr/lib"
  python3 -m pip download --quiet --no-deps --only-binary=:all: -d "$work" "ziglang==$zig_version" >"$out/pip.log" 2>&1 ||
    { tail -n 3 "$out/pip.log" >&2; die "the package ziglang for Python cannot be had"; }
  for name in libSystem.tbd SDKSettings.json; do
    place=$sdk
    [ $name != libSystem.tbd ] || place=${list%/*}
    python3 -c 'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))' \
      "$work"/ziglang-*.whl "ziglang/lib/libc/darwin/$name" >"$place/$name.new"
    mv "$place/$name.new" "$place/$name"
  done
  # The linker of this Rust may not know the newest architectures, and then refuses the whole list.
  sed -i 's/arm64e\.x[0-9]*-/arm64-/g' "$list"
  # The C library, the maths and the rest are parts of it.
  for name in c m pthread dl util iconv; do ln -s libSystem.tbd "$sdk/usr/lib/lib$name.tbd"; done
  rm -rf "$work"
fi

# --- the standard library ---
if ! $force_source; then
  if works "$(flags)" || { rustup_adds && works "$(flags)"; }; then finish "$(flags)"; fi
fi
if [ "$(cat "$sysroot/built-by-$arch" 2>/dev/null)" = "$stamp" ] && works "$(flags "$sysroot")"; then finish "$(flags "$sysroot")"; fi

own_apt
unpack_rust_source
compile_std SDKROOT="$sdk"
install_std "$sysroot"
works "$(flags "$sysroot")" || { tail -n 20 "$out/works.log" >&2; die "a program built with it does not link"; }
echo "$stamp" >"$sysroot/built-by-$arch"
finish "$(flags "$sysroot")"
