#!/usr/bin/env bash
# Builds the static binaries of the last commit in two directories of different names and compares the bytes.
set -euo pipefail
cd "$(dirname "$0")/.."

base=$(mktemp -d)
trap 'rm -rf "$base"' EXIT
for dir in "$base/one" "$base/another/one"; do
  git clone -q . "$dir"
  make -s -C "$dir" static static-arm
done
for file in qwen-edge-x86_64 qwen-edge-aarch64; do
  cmp "$base/one/dist/$file" "$base/another/one/dist/$file"
  echo "$file: the same bytes from both"
done
