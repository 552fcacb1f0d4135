"""How much faster `qwen-edge batch` answers eight prompts together than one by one, in turns.

    python3 scripts/bench_batch.py QWEN_EDGE MODEL.gguf [ROUNDS] [options of batch, such as --isa avx2]

Prompts of 32 tokens, answers of 64: with a model of random weights (make synth) none ends before. Prints the ratio of tokens a
second, the median of the rounds, and whether the answers were the same.
"""

import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROMPTS = 16


def run(program: str, model: str, prompts: Path, parallel: int, options: list[str]) -> tuple[float, str]:
    """Tokens a second, and the answers."""
    command = [program, "batch", model, str(prompts), "--raw", "--greedy", "-n", "64", "--ctx", "256",
               "--parallel", str(parallel), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    speed = re.search(r"([0-9.]+) tok/s", done.stderr)
    return float(speed[1]), done.stdout


def main():
    program, model, *rest = sys.argv[1:]
    rounds = int(rest.pop(0)) if rest and rest[0].isdigit() else 3
    with tempfile.TemporaryDirectory() as directory:
        prompts = Path(directory) / "prompts.jsonl"
        lines = [json.dumps({"prompt": f"{chr(65 + i)}" + " one two three four" * 7 + " and so five"}) for i in range(PROMPTS)]
        prompts.write_text("\n".join(lines) + "\n")
        ratios = []
        for _ in range(rounds):
            (one, alone), (eight, together) = (run(program, model, prompts, n, rest) for n in (1, 8))
            assert alone == together, "the answers differ"
            answers = [json.loads(line) for line in alone.splitlines()]
            assert {a["tokens"] for a in answers} == {64}, "an answer has ended before"
            lengths = {a["prompt_tokens"] for a in answers}
            ratios.append(eight / one)
            print(f"one by one {one:.1f} tok/s, eight together {eight:.1f} tok/s: {eight / one:.2f} x (prompts of {lengths} tokens)")
        print(f"median {statistics.median(ratios):.2f} x")


main()
