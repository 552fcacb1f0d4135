#!/usr/bin/env bash
# Answers one prompt greedily, up to 40 tokens, with the static binaries at every instruction-set level there is, the
# aarch64 one under emulation as three classes of CPU, and compares: the text must be the same everywhere.
#
#   answers.sh MODEL.gguf [PROMPT]
set -euo pipefail
cd "$(dirname "$0")/.."

model=${1:?usage: answers.sh MODEL.gguf [PROMPT]}
prompt=${2:-Count up from 82 to 91.} # of what the demo model can, the longest answer
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
first=

answer() { # answer NAME "COMMAND" [ARGUMENT...]
  local name=$1 command=$2 text; shift 2
  # shellcheck disable=SC2086
  if ! text=$($command run "$model" -p "$prompt" --greedy -n 40 --ctx 512 "$@" </dev/null 2>"$errors"); then
    if grep -q "this CPU has no" "$errors"; then echo "$name: skipped, this CPU lacks it"; return 0; fi
    cat "$errors" >&2
    exit 1
  fi
  printf '%-20s %s\n' "$name" "$(sha256sum <<<"$text" | cut -c1-16)"
  if [ -z "$first" ]; then first=$text; echo "  $text"; fi
  [ "$text" = "$first" ] || { echo "  differs: $text" >&2; exit 1; }
}

x86=dist/qwen-edge-x86_64
for isa in scalar avx2 avxvnni avx512vnni amx; do answer "x86-64 $isa" $x86 --isa $isa; done
if command -v qemu-x86_64 >/dev/null; then answer "x86-64 Nehalem" "qemu-x86_64 -cpu Nehalem $x86"; fi
for cpu in cortex-a72 cortex-a76 max; do answer "aarch64 $cpu" "qemu-aarch64 -cpu $cpu dist/qwen-edge-aarch64"; done
