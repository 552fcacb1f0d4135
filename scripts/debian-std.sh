# For scripts that are to have the standard library of a target that rustup cannot give: it is compiled by the rustc in use
# from Debian's rust-src of the same release. Sourced; the caller has set `out` (a folder for what is made), `work` (one
# that is emptied here and removed by the caller) and `target`, and has the functions `say` and `die`.
#
#   own_apt [ARCH]              an apt of our own inside $work, which knows the packages of the mirror that this machine uses
#   read_suites SUITE...        the lists of these suites, for own_apt's architectures
#   fetch PACKAGE...            unpacks packages of the suites below $work/root
#   unpack_rust_source          $library is then the source of the standard library
#   compile_std [VAR=VALUE...]  the libraries, into $work/std/$target/release/deps

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
