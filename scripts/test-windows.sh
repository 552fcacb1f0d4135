#!/usr/bin/env bash
# Runs the tests as Windows programs under wine.
#
#   test-windows.sh full     every test of the workspace, at every level that this CPU has, but for those of LEFT_OUT
#   test-windows.sh short    conformance of the kernels, the library's unit tests (each function of Windows with real values
#                            among them), golden values, behaviour, and one answer: the same text as on Linux
#
# Wine finds Linux's files of facts where a program of Windows should find none: what is built must not hold their names.
set -euo pipefail
cd "$(dirname "$0")/.."

form=${1:-full}
case $form in
  full) what=(--workspace --lib --tests) modules=() ;;
  short)
    what=(--workspace --lib --test all)
    modules=(golden:: manners:: windows:: tokenizer::)
    ;;
  *) echo "usage: $0 full|short" >&2; exit 2 ;;
esac

# What cannot be asked of an emulator on this machine, and why. (Tests of what Linux alone has are not compiled in: signals,
# /proc, pipes with names, rights of files.)
LEFT_OUT=(
  library:: # two tests: build with cargo, which is no Windows program here
  # Made of symbolic links, which wine 8 does not make, and few users of Windows may; or of their paths as Unix writes them:
  pull::a_model_comes_with_what_belongs_to_it_and_lies_where_the_hubs_client_looks
  pull::a_new_commit_keeps_what_is_the_same_in_it
  pull::what_was_begun_is_listed_and_goes_on_or_is_removed
  pull::what_was_fetched_is_removed_and_nothing_else
  pull::whatever_ends_it_no_block_that_was_whole_is_fetched_again
)

# Servers are asked to end by Ctrl-Break, which wine 8 does not have. It has Ctrl-C, which is for every program of a console:
# these are run one by one, in one of their own.
ASKED_TO_END=(
  serve::a_signal_ends_streams_with_their_last_event_and_the_server_with_0
  serve::a_log_of_json_has_an_object_a_line_and_no_content
  serve_dialects::a_server_that_ends_ends_every_stream_with_its_dialects_last_event
  serve_reuse::a_server_that_is_started_anew_goes_on_where_it_was_and_answers_the_same
  serve_reuse::whatever_becomes_of_the_folder_the_answer_is_right_and_the_log_says_why_it_was_late
  serve_reuse::neither_memory_nor_folder_get_more_than_they_may
)

scripts/windows-toolchain.sh --with-wine
. target/windows/env

cargo test --locked --target "$WINDOWS_TARGET" "${what[@]}" --no-run
echo "==> the program"
python3 scripts/check-exe.py "${CARGO_TARGET_DIR:-target}/$WINDOWS_TARGET/debug/qwen-edge.exe" --timed
skipped=()
for name in "${LEFT_OUT[@]}" "${ASKED_TO_END[@]}"; do skipped+=(--skip "$name"); done
echo "==> windows"
if [ "$form" = short ]; then
  cargo test --locked --target "$WINDOWS_TARGET" --workspace --lib -- --quiet
  cargo test --locked --target "$WINDOWS_TARGET" --test all -- --quiet "${skipped[@]}" "${modules[@]}"
else
  cargo test --locked --target "$WINDOWS_TARGET" "${what[@]}" -- --quiet "${skipped[@]}"
fi
exe=${CARGO_TARGET_DIR:-target}/$WINDOWS_TARGET/debug/qwen-edge.exe
echo "==> in a console"
tests=$(ls -t "${CARGO_TARGET_DIR:-target}/$WINDOWS_TARGET"/debug/deps/all-*.exe | head -n 1)
in_a_console() { # in_a_console ARGUMENT...: runs tests one by one, in a console that is theirs alone
  script --quiet --return --command "target/windows/run '$tests' --test-threads 1 $*" /dev/null </dev/null
}
in_a_console --ignored windows::
if [ "$form" = full ]; then QWEN_EDGE_TEST_CTRL_C=1 in_a_console --exact "${ASKED_TO_END[@]}"; fi
scripts/chat_in_console.py target/windows/run "$exe"
if [ "$form" = short ]; then
  echo "==> an answer, as on Linux"
  cargo build --locked
  scripts/same_answers.py "${CARGO_TARGET_DIR:-target}/debug/qwen-edge" target/windows/run "$exe" --every 200
fi
echo "windows: passed"
