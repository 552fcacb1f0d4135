#!/usr/bin/env bash
# Measures the memory budgets: models of random weights with the published dimensions, one run each, and the most memory
# that was resident at once. The whole context is touched (--touch), so the peak is that of a full one.
#
#   budgets.sh [SIZE...]       sizes from 0.8b 2b 4b 9b; all of them unless named
# Settings: PROGRAM=target/release/qwen-edge; DIR=models for the files (the largest is 18 GB), KEEP=1 to keep those that were not there before.
set -euo pipefail
cd "$(dirname "$0")/.."

program=${PROGRAM:-target/release/qwen-edge}
dir=${DIR:-models}
sizes=("$@")
[ $# -gt 0 ] || sizes=(0.8b 2b 4b 9b)

# The weights of the 4B model alone are 8.41 GB: within its 8 GB some of them are streamed.
declare -A budget=([0.8b]=1.6G [2b]=4G [4b]=8G [9b]=18G)
failed=0

number() { sed -n "s/.*\"$1\": *\([0-9][0-9]*\).*/\1/p" | head -n 1; }
gb() { awk -v n="$1" 'BEGIN {printf "%.2f", n / 1e9}'; }

measure() { # measure FILE SIZE QUANT CTX BUDGET-OR-DASH ARGUMENT...
  local result planned peak limit streamed verdict
  result=$("$program" run "$1" --raw --greedy -p "One two three" -n 2 --ctx "$4" "${@:6}" --touch --json --quiet </dev/null)
  planned=$(number planned_bytes <<<"$result")
  peak=$(number peak_bytes <<<"$result")
  streamed=$(number streamed_bytes <<<"$result")
  limit=$(awk -v n="${5%G}" 'BEGIN {printf "%.0f", n * 1e9}')
  verdict=ok
  if [ "$peak" -gt "$planned" ]; then verdict="more than planned"; fi
  if [ "$5" != - ] && [ "$peak" -gt "$limit" ]; then verdict="more than its budget"; fi
  if [ "$verdict" != ok ]; then failed=1; fi
  printf '| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n' "$2" "$3" "$4" \
    "$(sed -n 's/.*"kv":"\([a-z0-9_]*\)".*/\1/p' <<<"$result")" "$(number batch <<<"$result")" \
    "$(gb "$streamed")" "$(gb "$planned")" "$(gb "$peak")" "$5" "$verdict"
}

with_model() { # with_model SIZE QUANT COMMAND...: the model is written if need be, and removed again
  local file=$dir/synth-qwen35-$1-$2.gguf written=0
  if [ ! -e "$file" ]; then
    "$program" synth --size "$1" --quant "$2" -o "$file" 2>/dev/null
    written=1
  fi
  "${@:3}" "$file" "$1" "$2"
  if [ $written = 1 ] && [ "${KEEP:-0}" != 1 ]; then rm "$file"; fi
}
# The budget is the ceiling: keys and values, and the batch, are what the plan makes of it.
short_context() { measure "$1" "$2" "$3" 4096 "${budget[$2]}" --mem "${budget[$2]}"; }
long_contexts() {
  measure "$1" "$2" "$3" 32768 - --kv q8_0
  measure "$1" "$2" "$3" 262144 - --kv q8_0
}

echo "| size | weights | context | KV | batch | streamed GB | planned GB | peak resident GB | --mem | |"
echo "|---|---|---|---|---|---|---|---|---|---|"
for size in "${sizes[@]}"; do with_model "$size" bf16 short_context; done
for size in "${sizes[@]}"; do with_model "$size" q4_k_m long_contexts; done
exit $failed
