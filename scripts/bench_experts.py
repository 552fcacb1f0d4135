#!/usr/bin/env python3
"""Tokens a second of a sparse model against the memory that it is given, in a control group of that size.

For each size the file is taken out of the page cache and a text is written, by a program that knows nothing of the model; then
another text, by one that remembers which experts the first used most. The table has the share of the experts that are kept,
the share of their uses that those serve, what a token was expected to read, the tokens a second that were expected, and those
that came. The rate at which the disk is read from start to end stands beside it.

    bench_experts.py target/release/qwen-edge model.gguf [--memory 4,8,12,16] [--tokens 64] [--prompt-tokens 64]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# What the runs begin with, word by word.
PROMPTS = {"first": "one two three four ", "remembering": "Fische schwimmen im Wasser "}

GROUPS = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]


def forget(path):
    """Takes a file out of the page cache."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sequential_rate(path, size=2 << 30):
    """Bytes of a second that the disk is read with, by one reader from start to end."""
    forget(path)
    buffer = bytearray(4 << 20)
    done, start = 0, time.monotonic()
    with open(path, "rb", buffering=0) as file:
        while done < size and (n := file.readinto(buffer)):
            done += n
    rate = done / (time.monotonic() - start)
    forget(path)
    return rate


class Group:
    """A control group with a limit on memory."""

    def __init__(self, limit):
        self.path = None
        for base, file in GROUPS:
            path = Path(base) / f"qwen-edge-bench-{os.getpid()}"
            if not (Path(base) / "cgroup.procs").exists():
                continue
            try:
                path.mkdir()
                (path / file).write_text(str(limit))
                self.path = path
                return
            except OSError:
                if path.exists():
                    path.rmdir()

    def enter(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self):
        for _ in range(50):
            try:
                return self.path.rmdir()
            except OSError:
                time.sleep(0.1)


def run(args, limit, name, cache):
    group = Group(limit)
    command = [args.program, "run", args.model, "--raw", "--greedy", "--json", "--ctx", "1024", "-n", str(args.tokens)]
    command += ["-p", PROMPTS[name] * (args.prompt_tokens // 4), "--cache", cache]
    command += [] if group.path else ["--mem", str(limit)]
    forget(args.model)
    try:
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=group.enter if group.path else None)
    finally:
        if group.path:
            group.remove()
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout), group.path is not None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--memory", default="4,8,12,16", help="sizes of the group in GiB")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    args = parser.parse_args()
    size = os.path.getsize(args.model)
    rate = sequential_rate(args.model) / 1e9
    print(f"{Path(args.model).name}, {size / 1e9:.1f} GB; disk read from start to end at {rate:.2f} GB/s")
    print("| memory | limited by | experts kept | run | served by kept | expected to read a token | expected | written | prompt |")
    print("|---|---|---|---|---|---|---|---|---|")
    for gib in map(float, args.memory.split(",")):
        with tempfile.TemporaryDirectory() as cache:
            for name in PROMPTS:
                result, grouped = run(args, int(gib * (1 << 30)), name, cache)
                experts = result["memory"].get("experts")
                row = [f"{gib:g} GiB", "control group" if grouped else "--mem"]
                if experts is None:
                    row += ["all", name, "all", "0", "-"]
                else:
                    expected, speed = experts["expected_read_bytes_per_token"], experts["expected_tok_s"]
                    row += [f"{100 * experts['kept_share']:.0f} %", name, f"{100 * experts['hit_rate']:.0f} %"]
                    row += [f"{expected / 1e6:.0f} MB", f"{speed:.1f} tok/s" if speed else "-"]
                row += [f"{result['decode_tok_s']:.1f} tok/s", f"{result['prefill_tok_s']:.1f} tok/s"]
                print("| " + " | ".join(row) + " |", flush=True)


main()
