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

target=aarch64-unknown-linux-musl
out=$PWD/target/aarch64
sysroot=$out/sysroot
work=$out/work
with_qemu=false
force_source=false
for arg; do
  case $arg in
    --with-qemu) with_qemu=true ;;
    --from-source) force_source=true ;; # way 3 even where the others would do, to try it
    *) echo "usage: $0 [--with-qemu] [--from-source]" >&2; exit 2 ;;
  esac
done

say() { echo "aarch64-toolchain: $*" >&2; }
die() { say "$*"; exit 1; }
command -v rustc >/dev/null || die "rustc is missing; see https://rustup.rs"
mkdir -p "$out"

# Everything below writes into $out: one run at a time.
exec 9>"$out/lock"
flock 9

# --- the emulator ---
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
if $with_qemu && ! command -v qemu-aarch64 >/dev/null; then
  say "installing qemu-user"
  install=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install qemu-user)
  as_root "${install[@]}" >"$out/apt.log" 2>&1 ||
    { as_root apt-get -qq update >>"$out/apt.log" 2>&1 && as_root "${install[@]}" >>"$out/apt.log" 2>&1; } ||
    { tail -n 5 "$out/apt.log" >&2; die "qemu-aarch64 is missing and apt could not install qemu-user"; }
fi

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
  if works; then write_env; exit 0; fi
  if command -v rustup >/dev/null; then
    say "rustup target add $target"
    if timeout 300 rustup target add $target >"$out/rustup.log" 2>&1 && works; then write_env; exit 0; fi
    say "rustup could not: $(tail -n 1 "$out/rustup.log")"
  fi
fi

# --- Debian's packages ---
release=$(rustc -vV | sed -n 's/^release: //p')
commit=$(rustc -vV | sed -n 's/^commit-hash: //p')
host=$(rustc -vV | sed -n 's/^host: //p')
stamp="rustc $release $commit"
if [ "$(cat "$sysroot/built-by" 2>/dev/null)" = "$stamp" ] && works --sysroot "$sysroot"; then
  write_env "--sysroot $sysroot"
  exit 0
fi
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
  die "no way left to get the standard library of $target: rustup failed, and this is no Debian"

rm -rf "$work" "$sysroot"
mkdir -p "$work"/{lists/partial,cache/archives/partial,debs,root} "$sysroot"
trap 'rm -rf "$work"' EXIT

# An apt of our own inside $work reads suites of other releases from the mirror this machine uses already, so that
# the machine's package lists stay as they are and no root is needed.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(COMPONENT)' 'Created-By: Packages' |
  awk '$2 == "Debian" && $3 == "main" && $1 !~ /security/ {print $1; exit}')
[ -n "$mirror" ] || die "found no Debian mirror in apt's sources"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $keys ] || die "$keys is missing: install debian-archive-keyring"
: >"$work/status"
{
  apt-config dump | grep -E '^Acquire::(http|https|Retries|ForceIPv4)' || true # the way to the mirror: proxies and such
  cat <<END
APT::Architecture "amd64";
APT::Architectures { "amd64"; "arm64"; };
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
END
} >"$work/apt.conf"
other_apt() { APT_CONFIG=$work/apt.conf "$@"; }
read_suites() { # read_suites SUITE...
  local suite
  for suite; do echo "deb [arch=amd64,arm64 signed-by=$keys] $mirror $suite main"; done >"$work/sources.list"
  other_apt apt-get -qq update >"$work/update.log" 2>&1
}

# std must be of the compiler's own release; a later revision of the same minor release will do.
find_source() {
  local versions
  versions=$(other_apt apt-cache madison rust-src | awk '{print $3}')
  grep -m 1 -F "$release+" <<<"$versions" || grep -m 1 "^${release%.*}[.]" <<<"$versions"
}
version=
for suites in "trixie trixie-backports" "trixie forky sid" "trixie experimental"; do
  # shellcheck disable=SC2086
  if read_suites $suites && version=$(find_source); then break; fi
done
[ -n "$version" ] || die "Debian has no rust-src for rustc $release"

say "compiling the standard library of $target from rust-src $version"
(cd "$work/debs" && other_apt apt-get -qq download "rust-src=$version" musl-dev:arm64 libunwind-19-dev:arm64)
for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/root"; done
library=$(echo "$work"/root/usr/src/rustc-*/library)

# What the caller set for their own builds must not reach this one; the paths in it are those of an official std.
env -u CARGO_BUILD_TARGET -u CARGO_BUILD_RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u RUSTC_WRAPPER -u RUSTC_WORKSPACE_WRAPPER \
  RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work/std" \
  CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 CARGO_PROFILE_RELEASE_DEBUG=0 \
  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld \
  RUSTFLAGS="-Zforce-unstable-if-unmarked -Cembed-bitcode=yes --remap-path-prefix=$library=/rustc/$commit/library" \
  cargo build --manifest-path "$library/Cargo.toml" --locked --release --target $target -p sysroot \
  --features panic-unwind,backtrace >"$out/std.log" 2>&1 ||
  { grep -m 3 -A 5 '^error' "$out/std.log" >&2 || tail -n 10 "$out/std.log" >&2; die "the standard library did not compile"; }

lib=$sysroot/lib/rustlib/$target/lib
mkdir -p "$lib/self-contained"
cp "$work/std/$target"/release/deps/*.rlib "$lib/"
rm -f "$lib"/libsysroot-*.rlib
# rust-lld is looked for beside the sysroot's libraries of the host.
ln -s "$(rustc --print sysroot)/lib/rustlib/$host" "$sysroot/lib/rustlib/$host"

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
