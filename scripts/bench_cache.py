"""What keeping prompts costs short ones, and saves long ones: with and without, in turn.

    python3 scripts/bench_cache.py QWEN_EDGE MODEL.gguf [ROUNDS] [--lengths 1,2,4,8,16,32,64] [--only run|serve] [options of
    run and serve, such as --isa avx2]

`run`: with --cache and without it; the folder holds sixteen prompts of some 500 tokens, and what is asked has been asked before.
`serve`: a prompt of random tokens that nobody has asked, and the same again. Prints for prompts of these lengths the medians over
the rounds, with their quartiles: of the ratios of whole runs or requests (one token written), known to unknown, of the times to
the first token, and the medians of the differences in milliseconds; for `run` also the bytes that the folder has.
"""

import argparse
import http.client
import json
import random
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

HEAD = """| {} | tokens | known | whole | first token | whole, ms | first token, ms |
|---|---|---|---|---|---|---|"""


def run(program, model, prompt, options):
    """Seconds of the run, seconds to the first token, and the result."""
    command = [program, "run", model, "--raw", "-f", str(prompt), "--greedy", "-n", "1", "--ctx", "8192", "--json",
               "--quiet", "--draft", "off", *options]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    seconds, result = time.perf_counter() - start, json.loads(done.stdout)
    return (seconds, result["prefill_seconds"]), result


def row(name, n_prompt, n_known, pairs):
    """A row of the table; a pair is what was measured with the prompt known, and without."""
    cells = []
    for i in (0, 1):
        ratios = [known[i] / unknown[i] for known, unknown in pairs]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        cells.append(f"{middle:.3f} [{low:.3f}, {high:.3f}]")
    cells += [f"{statistics.median(1e3 * (known[i] - unknown[i]) for known, unknown in pairs):+.2f}" for i in (0, 1)]
    print(f"| {name} | {n_prompt} | {n_known} | {' | '.join(cells)} |", flush=True)


def bench_run(args):
    print(HEAD.format("run"))
    with tempfile.TemporaryDirectory() as directory:
        prompt, cache = Path(directory) / "prompt.txt", Path(directory) / "cache"
        kept = [*args.options, "--cache", str(cache)]
        for i in range(16):
            prompt.write_text(f"{i}" + " two three four five six" * 100)
            run(args.program, args.model, prompt, kept)
        for length in args.lengths:
            prompt.write_text("A" + " one" * (length - 1))
            run(args.program, args.model, prompt, kept)
            pairs = []
            for i in range(args.rounds):
                both = [run(args.program, args.model, prompt, options)
                        for options in ([args.options, kept] if i % 2 else [kept, args.options])]
                (known, result), (unknown, other) = both[::-1] if i % 2 else both
                assert result["ids"] == other["ids"], "the answers differ"
                pairs.append((known, unknown))
            row("run", result["prompt_tokens"], result["reused_tokens"], pairs)
        print(f"\n{sum(file.stat().st_size for file in cache.iterdir()) / 1e6:.0f} MB in the folder\n")


def bench_serve(args):
    command = [args.program, "serve", args.model, "--port", "0", "--ctx", "8192", "--draft", "off", *args.options]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        port = next(match[1] for line in server.stderr if (match := re.search(r"http://127.0.0.1:(\d+)", line)))
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=600)
        numbers = random.Random(1)

        def ask(ids):
            body = json.dumps({"prompt": ids, "max_tokens": 1, "temperature": 0})
            while True:
                start = time.perf_counter()
                connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
                response = connection.getresponse()
                answer = json.loads(response.read())
                if response.status != 503:
                    break
                time.sleep(0.1)
            assert response.status == 200, answer
            seconds = time.perf_counter() - start
            return (seconds, answer["timings"]["prompt_ms"] / 1e3), answer["timings"]["cache_n"], answer["choices"][0]["text"]

        print(HEAD.format("serve"))
        for length in args.lengths:
            pairs = []
            for i in range(args.rounds + 1):
                ids = [numbers.randrange(1000, 2000) for _ in range(length)]
                unknown, n_new, text = ask(ids)
                known, n_known, again = ask(ids)
                assert n_new < 16 and text == again, "the answers differ"
                pairs += [(known, unknown)] if i else []
            row("serve", length, n_known, pairs)
    finally:
        server.terminate()
        server.wait(30)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("--lengths", default="1,2,4,8,16,32,64,256,1024,4096")
    parser.add_argument("--only", choices=["run", "serve"])
    args, args.options = parser.parse_known_args()
    args.lengths = [int(length) for length in args.lengths.split(",")]
    for name, bench in (("run", bench_run), ("serve", bench_serve)):
        if args.only in (None, name):
            bench(args)


main()
