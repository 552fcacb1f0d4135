#!/usr/bin/env bash
# Packs the static binaries of dist/ for those who install them: dist.sh tarballs|debs
#
# Every package holds the binary, man pages, completions of the common shells, the licences and the README. The pages
# and completions are printed by the x86-64 binary, which is the same program. Times are those of the commit.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-}
case $what in tarballs | debs) ;; *) echo "usage: $0 tarballs|debs" >&2; exit 2 ;; esac
version=$(cargo metadata --no-deps --format-version 1 --locked | grep -o '"name":"qwen-edge","version":"[^"]*"' | cut -d'"' -f8)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH

# What every package shares, laid out as under /usr/share.
program=dist/qwen-edge-x86_64
share=dist/share
rm -rf $share
mkdir -p $share/{bash-completion/completions,zsh/site-functions,fish/vendor_completions.d}
$program man $share/man/man1
$program completions bash >$share/bash-completion/completions/qwen-edge
$program completions zsh >$share/zsh/site-functions/_qwen-edge
$program completions fish >$share/fish/vendor_completions.d/qwen-edge.fish

tarball() { # tarball KIND
  local name=qwen-edge-$version-linux-$1
  rm -rf "dist/$name"
  mkdir -p "dist/$name"
  install -m 755 "dist/qwen-edge-$1" "dist/$name/qwen-edge"
  cp -R $share "dist/$name/share"
  cp README.md LICENSE-MIT LICENSE-APACHE "dist/$name/"
  tar -C dist --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX --mtime="@$SOURCE_DATE_EPOCH" -cf - "$name" |
    gzip -9n >"dist/$name.tar.gz"
  rm -rf "dist/${name:?}"
  echo "dist/$name.tar.gz"
}

deb() { # deb KIND ARCHITECTURE TARGET
  # cargo-deb takes the binary from where cargo would have put it; Cargo.toml names the other files.
  local built="${CARGO_TARGET_DIR:-target}/$3/release/qwen-edge"
  install -D -m 755 "dist/qwen-edge-$1" "$built"
  rm -f "dist/qwen-edge_${version}"*"_$2.deb"
  "$cargo_deb" deb --quiet --no-build --no-strip --locked --target "$3" --output "dist/qwen-edge_${version}_$2.deb"
}

if [ "$what" = tarballs ]; then
  tarball x86_64
  tarball aarch64
  (cd dist && sha256sum qwen-edge-"$version"-linux-*.tar.gz >SHA256SUMS && cat SHA256SUMS)
else
  cargo_deb=$(command -v cargo-deb || echo target/tools/bin/cargo-deb)
  if [ ! -x "$cargo_deb" ]; then cargo install --quiet --locked --root target/tools cargo-deb@3.8.0; fi
  deb x86_64 amd64 x86_64-unknown-linux-gnu
  deb aarch64 arm64 aarch64-unknown-linux-musl
fi
