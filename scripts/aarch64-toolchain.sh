#!/usr/bin/env bash
# Makes this machine able to build static aarch64 programs with Rust, and with --with-qemu to run them.
#
# Nothing is installed when it is there already. The target's standard library comes from the first that works:
#   1. the toolchain in use has it;
#   2. `rustup target add aarch64-unknown-linux-musl`;
#   3. Debian's packages: the rust-src package of the same release is compiled by the rustc in use, and musl and the
#      unwinder are unpacked beside it, all in target/aarch64/sysroot. No file outside target/ is touched.
# What cargo must know is left in target/aarch64/env, to be sourced by a script.
#
# qemu-aarch64 is installed by apt where it is missing, which takes root (or sudo that asks nothing).
# For Debian and its like on x86-64, with rustc and cargo on the PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

name=aarch64-toolchain
target=aarch64-unknown-linux-musl
out=$PWD/target/aarch64
sysroot=$out/sysroot
with_qemu=false
force_source=false
for arg; do
  case $arg in
    --with-qemu) with_qemu=true ;;
    --from-source) force_source=true ;; # way 3 even where the others would do, to try it
    *) echo "usage: $0 [--with-qemu] [--from-source]" >&2; exit 2 ;;
  esac
done

. scripts/toolchain.sh

# --- the emulator ---
if $with_qemu && ! command -v qemu-aarch64 >/dev/null; then apt_install qemu-user; fi

# --- does a program that threads, panics and unwinds come out right? ---
write_env() { # write_env [RUSTFLAGS]
  {
    echo "export AARCH64_TARGET=$target"
    if [ $# -gt 0 ]; then echo "export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS='$1'"; fi
  } >"$out/env"
}
works() { # works [RUSTC-FLAG...]
  local dir
  dir=$(mktemp -d "$out/works.XXXX")
  cat >"$dir/main.rs" <<'END'
fn main() {
    std::panic::set_hook(Box::new(|_| ()));
    assert!(std::thread::spawn(|| assert!(std::env::args().count() > 9)).join().is_err());
    println!("unwound on {}", std::env::consts::ARCH);
}
END
  local ok=true
  rustc --edition 2024 -O --target $target -C linker=rust-lld "$@" -o "$dir/main" "$dir/main.rs" >"$out/works.log" 2>&1 || ok=false
  if $ok && $with_qemu; then
    [ "$(qemu-aarch64 -cpu cortex-a72 "$dir/main" 2>>"$out/works.log")" = "unwound on aarch64" ] || ok=false
  fi
  rm -rf "$dir"
  $ok
}

if ! $force_source; then
  if works || { rustup_adds && works; }; then write_env; exit 0; fi
fi

# --- Debian's packages ---
if [ "$(cat "$sysroot/built-by" 2>/dev/null)" = "$stamp" ] && works --sysroot "$sysroot"; then
  write_env "--sysroot $sysroot"
  exit 0
fi
own_apt arm64
unpack_rust_source
fetch musl-dev:arm64 libunwind-19-dev:arm64
compile_std CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld
install_std "$sysroot"
mkdir "$lib/self-contained"

# The C library and the unwinder. libunwind was compiled against another C library's headers and asks for two checked
# forms of printf; the start files, empty otherwise, send those to the plain functions.
cp "$work"/root/usr/lib/aarch64-linux-musl/*.[ao] "$work"/root/usr/lib/llvm-*/lib/libunwind.a "$lib/self-contained/"
cat >"$work/begin.rs" <<'END'
#![no_std]
use core::ffi::{c_char, c_int, c_void};
unsafe extern "C" {
    fn vfprintf(stream: *mut c_void, format: *const c_char, args: *mut c_void) -> c_int;
    fn vsnprintf(out: *mut c_char, n: usize, format: *const c_char, args: *mut c_void) -> c_int;
}
// A va_list argument is passed as a pointer to the caller's copy in this ABI.
#[unsafe(no_mangle)]
unsafe extern "C" fn __vfprintf_chk(stream: *mut c_void, _flag: c_int, format: *const c_char, args: *mut c_void) -> c_int {
    unsafe { vfprintf(stream, format, args) }
}
#[unsafe(no_mangle)]
unsafe extern "C" fn __vsnprintf_chk(
    out: *mut c_char, n: usize, _flag: c_int, _size: usize, format: *const c_char, args: *mut c_void,
) -> c_int {
    unsafe { vsnprintf(out, n, format, args) }
}
END
echo '#![no_std]' >"$work/end.rs"
for part in begin end; do
  rustc --sysroot "$sysroot" --edition 2024 --target $target --crate-type lib --emit obj -C panic=abort -C opt-level=2 \
    -C relocation-model=pic -o "$work/$part.o" "$work/$part.rs"
  for name in crt$part crt${part}S crt${part}T; do cp "$work/$part.o" "$lib/self-contained/$name.o"; done
done

works --sysroot "$sysroot" || { tail -n 20 "$out/works.log" >&2; die "a program built with it does not run"; }
echo "$stamp" >"$sysroot/built-by"
write_env "--sysroot $sysroot"
