"""What `run --cache` costs short prompts, and saves long ones: with and without it in turn.

    python3 scripts/bench_cache.py QWEN_EDGE MODEL.gguf [ROUNDS] [options of run, such as --isa avx2]

The folder holds sixteen prompts of some 500 tokens, and what is asked has been asked before. Prints for prompts of 1 to 4,096
tokens the medians over the rounds: of the ratios of whole runs (one token written), with the cache to without, of the time to
the first token, and of the differences in milliseconds. Behind these the bytes that the folder has.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LENGTHS = [1, 8, 16, 32, 64, 256, 1024, 4096]


def run(program: str, model: str, prompt: Path, options: list[str]) -> tuple[float, float, dict]:
    """Seconds of the run, seconds to the first token, and the result."""
    command = [program, "run", model, "--raw", "-f", str(prompt), "--greedy", "-n", "1", "--ctx", "8192", "--json",
               "--quiet", "--draft", "off", *options]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    result = json.loads(done.stdout)
    return time.perf_counter() - start, result["prefill_seconds"], result


def main():
    program, model, *rest = sys.argv[1:]
    rounds = int(rest.pop(0)) if rest and rest[0].isdigit() else 5
    with tempfile.TemporaryDirectory() as directory:
        prompt, cache = Path(directory) / "prompt.txt", Path(directory) / "cache"
        kept = [*rest, "--cache", str(cache)]
        for i in range(16):
            prompt.write_text(f"{i}" + " two three four five six" * 100)
            run(program, model, prompt, kept)
        print("| tokens | reused | whole run | first token | whole run, ms | first token, ms |\n|---|---|---|---|---|---|")
        for length in LENGTHS:
            prompt.write_text("A" + " one" * (length - 1))
            run(program, model, prompt, kept)
            ratios, differences = [], []
            for i in range(rounds):
                both = [run(program, model, prompt, options) for options in ([rest, kept] if i % 2 else [kept, rest])]
                without, with_cache = both if i % 2 else both[::-1]
                assert without[2]["ids"] == with_cache[2]["ids"], "the answers differ"
                ratios.append([with_cache[i] / without[i] for i in (0, 1)])
                differences.append([1e3 * (with_cache[i] - without[i]) for i in (0, 1)])
            whole, first = (statistics.median(column) for column in zip(*ratios))
            whole_ms, first_ms = (statistics.median(column) for column in zip(*differences))
            result = with_cache[2]
            print(f"| {result['prompt_tokens']} | {result['reused_tokens']} | {whole:.2f} | {first:.2f} | {whole_ms:+.1f} | {first_ms:+.1f} |",
                  flush=True)
        print(f"\n{sum(file.stat().st_size for file in cache.iterdir()) / 1e6:.0f} MB in the folder")


main()
