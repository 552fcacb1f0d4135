# What the scripts that make tool chains share. Sourced; the caller has set `name` (its own), `target` and `out` (a folder for
# what is made).
#
#   say, die                    a line of the caller's, to the standard error
#   as_root COMMAND             runs it as root, or says that it cannot
#   apt_install PACKAGE         into the system, from the lists that are there or from fresh ones
#   rustup_adds                 whether rustup could add the standard library of the target, and says why not
#
# Where it could not, the library is compiled by the rustc in use from Debian's rust-src of the same release, in $work:
#
#   own_apt [ARCH]              an apt of our own inside $work, which knows the packages of the mirror that this machine uses
#   read_suites SUITE...        the lists of these suites, for own_apt's architectures
#   fetch PACKAGE...            unpacks packages of the suites below $work/root
#   unpack_rust_source          $library is then the source of the standard library
#   compile_std [VAR=VALUE...]  compiles it
#   install_std SYSROOT         puts the libraries into $lib, a folder of SYSROOT that is emptied before

say() { echo "$name: $*" >&2; }
die() { say "$*"; exit 1; }
command -v rustc >/dev/null || die "rustc is missing; see https://rustup.rs"

# All of it writes into $out: one run at a time. What runs on behind the script must not hold the lock: 9>&-.
mkdir -p "$out"
exec 9>"$out/lock"
flock 9
work=$out/work
trap 'rm -rf "$work"' EXIT

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
apt_install() {
  say "installing $1"
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$1")
  as_root "${install[@]}" >"$out/apt.log" 2>&1 9>&- ||
    { as_root apt-get -qq update && as_root "${install[@]}"; } >>"$out/apt.log" 2>&1 9>&- ||
    { tail -n 5 "$out/apt.log" >&2; die "apt could not install $1"; }
}

rustup_adds() {
  command -v rustup >/dev/null || return 1
  say "rustup target add $target"
  timeout 300 rustup target add "$target" >"$out/rustup.log" 2>&1 9>&- ||
    { say "rustup could not: $(tail -n 1 "$out/rustup.log")"; return 1; }
}

release=$(rustc -vV | sed -n 's/^release: //p')
commit=$(rustc -vV | sed -n 's/^commit-hash: //p')
host=$(rustc -vV | sed -n 's/^host: //p')
stamp="rustc $release $commit"

# The machine's package lists stay as they are, and no root is needed.
own_apt() { # own_apt [ARCH]
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
    die "no way left to get the standard library of $target: rustup failed, and this is no Debian"
  architectures=amd64${1:+,$1}
  local indexes keys=/usr/share/keyrings/debian-archive-keyring.gpg
  indexes=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(ORIGIN) $(COMPONENT)' 'Created-By: Packages')
  read -r mirror own_suite < <(awk '$3 == "Debian" && $4 == "main" && $1 !~ /security/ {print $1, $2; exit}' <<<"$indexes") ||
    die "found no Debian mirror in apt's sources"
  [ -e $keys ] || die "$keys is missing: install debian-archive-keyring"
  signed_by=$keys
  rm -rf "$work"
  mkdir -p "$work"/{lists/partial,cache/archives/partial,debs,root}
  : >"$work/status"
  {
    apt-config dump | grep -E '^Acquire::(http|https|Retries|ForceIPv4)' || true # the way to the mirror: proxies and such
    local arch
    echo 'APT::Architecture "amd64";'
    for arch in ${architectures//,/ }; do echo "APT::Architectures:: \"$arch\";"; done
    echo "APT::Sandbox::User \"$(id -un)\";"
    echo 'Acquire::Languages "none";'
    local setting
    for setting in Etc::main Etc::parts Etc::preferences Etc::preferencesparts Etc::sourceparts; do
      echo "Dir::$setting \"/dev/null\";"
    done
    echo "Dir::Etc::sourcelist \"$work/sources.list\";"
    echo "Dir::State::lists \"$work/lists\";"
    echo "Dir::State::status \"$work/status\";"
    echo "Dir::Cache \"$work/cache\";"
  } >"$work/apt.conf"
}

read_suites() {
  local suite
  for suite; do echo "deb [arch=$architectures signed-by=$signed_by] $mirror $suite main"; done >"$work/sources.list"
  APT_CONFIG=$work/apt.conf apt-get -qq update >"$work/update.log" 2>&1
}

fetch() {
  (cd "$work/debs" && APT_CONFIG=$work/apt.conf apt-get -qq download "$@") || die "cannot fetch $*"
  local deb
  for deb in "$work"/debs/*.deb; do
    dpkg-deb -x "$deb" "$work/root"
    rm "$deb"
  done
}

unpack_rust_source() {
  # The source must be of the compiler's own release; a later revision of the same minor release will do.
  local suites versions version=
  for suites in "trixie trixie-backports" "trixie forky sid" "trixie experimental"; do
    # shellcheck disable=SC2086
    read_suites $suites || continue
    versions=$(APT_CONFIG=$work/apt.conf apt-cache madison rust-src | awk '{print $3}')
    version=$(grep -m 1 -F "$release+" <<<"$versions" || grep -m 1 "^${release%.*}[.]" <<<"$versions") && break
  done
  [ -n "$version" ] || die "Debian has no rust-src for rustc $release"
  say "compiling the standard library of $target from rust-src $version"
  fetch "rust-src=$version"
  library=$(echo "$work"/root/usr/src/rustc-*/library)
  # As a library to link in alone: the shared one would have to be linked, and nobody uses it.
  sed -i 's/^crate-type = \["dylib", "rlib"\]$/crate-type = ["rlib"]/' "$library/std/Cargo.toml"
  grep -q '^crate-type = \["rlib"\]$' "$library/std/Cargo.toml" || die "the standard library's manifest is not as expected"
}

# What the caller set for builds of their own must not reach this one; the paths in it are those of an official one.
compile_std() {
  local variable=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")
  env -u CARGO_BUILD_TARGET -u CARGO_BUILD_RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u RUSTC_WRAPPER -u RUSTC_WORKSPACE_WRAPPER \
    -u "${variable}_RUSTFLAGS" -u "${variable}_LINKER" \
    RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work/std" CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 CARGO_PROFILE_RELEASE_DEBUG=0 \
    RUSTFLAGS="-Zforce-unstable-if-unmarked -Cembed-bitcode=yes --remap-path-prefix=$library=/rustc/$commit/library ${std_flags:-}" \
    "$@" cargo build --manifest-path "$library/Cargo.toml" --locked --release --target "$target" -p sysroot \
    --features panic-unwind,backtrace >"$out/std.log" 2>&1 ||
    { grep -m 3 -A 5 '^error' "$out/std.log" >&2 || tail -n 10 "$out/std.log" >&2; die "the standard library did not compile"; }
}

install_std() {
  lib=$1/lib/rustlib/$target/lib
  rm -rf "$lib"
  mkdir -p "$lib"
  cp "$work/std/$target"/release/deps/*.rlib "$lib/"
  rm -f "$lib"/libsysroot-*.rlib
  # rust-lld is looked for beside the sysroot's libraries of the host.
  [ -e "$1/lib/rustlib/$host" ] || ln -s "$(rustc --print sysroot)/lib/rustlib/$host" "$1/lib/rustlib/$host"
}
