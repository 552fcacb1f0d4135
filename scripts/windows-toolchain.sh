#!/usr/bin/env bash
# Makes this machine able to build x86-64 Windows programs with Rust, and with --with-wine to run them.
#
# Nothing is installed when it is there already. Below target/windows goes all that is fetched or made:
#   sysroot   the standard library of x86_64-pc-windows-gnu, where neither the toolchain in use has it nor rustup can add
#             it: compiled from Debian's rust-src of the same release
#   crt       start files, import libraries, the unwinder and dlltool, out of Debian's mingw-w64 packages; the linker is the
#             rust-lld that comes with Rust, so that neither gcc nor a Windows SDK is needed
#   wine      a prefix of its own to run programs in
#   env       what cargo must know, to be sourced by a script
# wine64 is installed by apt where it is missing, which takes root (or sudo that asks nothing).
# For Debian and its like on x86-64, with rustc and cargo on the PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

name=windows-toolchain
target=x86_64-pc-windows-gnu
out=$PWD/target/windows
sysroot=$out/sysroot
crt=$out/crt
prefix=$out/wine
with_wine=false
force_source=false
for arg; do
  case $arg in
    --with-wine) with_wine=true ;;
    --from-source) force_source=true ;; # compile the standard library even where it could be had, to try it
    *) echo "usage: $0 [--with-wine] [--from-source]" >&2; exit 2 ;;
  esac
done

. scripts/toolchain.sh

# --- wine ---
wine=
find_wine() {
  local path
  for path in "$(command -v wine64)" /usr/lib/wine/wine64 "$(command -v wine)"; do
    if [ -x "$path" ]; then wine=$path; return; fi
  done
  return 1
}
if $with_wine && ! find_wine; then
  apt_install wine64
  find_wine || die "the package wine64 has no wine64"
fi

# --- what rustc must know ---
flags() { # flags [SYSROOT]
  local linking="-C linker=rust-lld -C link-self-contained=yes -C dlltool=$crt/bin/x86_64-w64-mingw32-dlltool"
  echo "$linking -L native=$crt/lib${1:+ --sysroot $1}"
}
finish() { # finish FLAGS: writes what cargo must know, and ends
  {
    echo "export WINDOWS_TARGET=$target"
    echo "export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS='$1'"
    ! $with_wine || echo "export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER='$out/run'"
  } >"$out/env"
  exit 0
}

# Wine 8 lacks a system library that programs of Rust ask for random numbers: this one passes the question on.
make_random_library() { # make_random_library FLAGS
  local place=$prefix/drive_c/windows/system32/bcryptprimitives.dll
  [ ! -e "$place" ] || return 0
  cat >"$out/random.rs" <<'END'
#![no_std]
#[link(name = "advapi32")]
unsafe extern "system" {
    /// Known as RtlGenRandom.
    #[link_name = "SystemFunction036"]
    fn fill(bytes: *mut u8, n: u32) -> u8;
}
/// # Safety
/// There are `n` bytes at `bytes`.
#[unsafe(no_mangle)]
unsafe extern "system" fn ProcessPrng(bytes: *mut u8, n: usize) -> i32 {
    let mut at = 0;
    while at < n {
        let piece = (n - at).min(1 << 16);
        // SAFETY: the piece is within the bytes.
        if unsafe { fill(bytes.add(at), piece as u32) } == 0 {
            return 0;
        }
        at += piece;
    }
    1
}
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
END
  # shellcheck disable=SC2086
  rustc --edition 2024 -O --target $target $1 -C panic=abort --crate-type cdylib -o "$place" "$out/random.rs" \
    >"$out/random.log" 2>&1 || { tail -n 5 "$out/random.log" >&2; return 1; }
  rm -f "${place%/*}"/libbcryptprimitives*.a
}

make_prefix() { # make_prefix FLAGS
  # Spaces in the path of wine or of the prefix need the quotes.
  printf '#!/bin/sh\n# Runs a Windows program in the prefix beside this file.\nWINEPREFIX="%s" WINEDEBUG="${WINEDEBUG:--all}" exec "%s" "$@"\n' \
    "$prefix" "$wine" >"$out/run"
  chmod +x "$out/run"
  if [ ! -e "$prefix/ready" ]; then
    say "making a wine prefix"
    rm -rf "$prefix"
    # Without a window system, Mono and Gecko: nothing asks, and nothing is fetched. Its server must not hold our lock.
    DISPLAY='' WINEDLLOVERRIDES='mscoree,mshtml=' "$out/run" wineboot -i </dev/null >"$out/wine.log" 2>&1 9>&- ||
      { tail -n 5 "$out/wine.log" >&2; die "wine could not make a prefix"; }
    # Wine says that it is Windows 7 until it is told otherwise, and Rust's programs are for 10 and newer.
    "$out/run" reg add 'HKCU\Software\Wine' /v Version /d win10 /f </dev/null >>"$out/wine.log" 2>&1 9>&- ||
      die "wine runs no program; see $out/wine.log"
    touch "$prefix/ready"
  fi
  make_random_library "$1"
}

# Does a program that threads, panics and unwinds come out right?
works() { # works FLAGS
  local dir ok=true
  dir=$(mktemp -d "$out/works.XXXX")
  cat >"$dir/main.rs" <<'END'
fn main() {
    std::panic::set_hook(Box::new(|_| ()));
    assert!(std::thread::spawn(|| assert!(std::env::args().count() > 9)).join().is_err());
    println!("unwound on {}", std::env::consts::OS);
}
END
  # shellcheck disable=SC2086
  rustc --edition 2024 -O --target $target $1 -o "$dir/main.exe" "$dir/main.rs" >"$out/works.log" 2>&1 || ok=false
  if $ok && $with_wine; then
    make_prefix "$1" && "$out/run" "$dir/main.exe" </dev/null >"$dir/said" 2>>"$out/works.log" 9>&- &&
      [ "$(tr -d '\r' <"$dir/said")" = "unwound on windows" ] || ok=false
  fi
  rm -rf "$dir"
  $ok
}

# --- start files and libraries ---
if [ ! -e "$crt/complete" ]; then
  say "taking start files and libraries out of mingw-w64"
  rm -rf "$crt"
  mkdir -p "$crt"/{lib,bin}
  own_apt
  # Of this machine's own release: dlltool and the assembler that it calls run here.
  read_suites "${own_suite%-updates}" || die "cannot read the package lists of $own_suite"
  fetch binutils-mingw-w64-x86-64 mingw-w64-x86-64-dev gcc-mingw-w64-x86-64-win32
  cp "$work"/root/usr/bin/x86_64-w64-mingw32-{dlltool,as} "$crt/bin/"
  cp "$work"/root/usr/x86_64-w64-mingw32/lib/{crt2.o,dllcrt2.o,lib*.a} "$crt/lib/"
  cp "$work"/root/usr/lib/gcc/x86_64-w64-mingw32/*-win32/libgcc{,_eh}.a "$crt/lib/"
  touch "$crt/complete"
fi

# --- the standard library ---
if ! $force_source; then
  if works "$(flags)" || { rustup_adds && works "$(flags)"; }; then finish "$(flags)"; fi
fi
if [ "$(cat "$sysroot/built-by" 2>/dev/null)" = "$stamp" ] && works "$(flags "$sysroot")"; then finish "$(flags "$sysroot")"; fi

own_apt
unpack_rust_source
# The library itself asks dlltool for lists of what some system libraries have.
std_flags="-Cdlltool=$crt/bin/x86_64-w64-mingw32-dlltool" compile_std
install_std "$sysroot"
mkdir "$lib/self-contained"
cp "$crt"/lib/{crt2,dllcrt2}.o "$lib/self-contained/"
works "$(flags "$sysroot")" || { tail -n 20 "$out/works.log" >&2; die "a program built with it does not run"; }
echo "$stamp" >"$sysroot/built-by"
finish "$(flags "$sysroot")"
