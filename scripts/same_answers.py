#!/usr/bin/env python3
"""Asks two builds of the program the demo model's held-out questions: same_answers.py PROGRAM OTHER... [--every N]

OTHER may be several words, such as an emulator and a program. Every answer is greedy, by the same kernels in both; the text
must be the same to the last character.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODEL, TOWER = "models/demo-q8_0.gguf", "models/mmproj-demo.gguf"


def run(command, arguments):
    done = subprocess.run([*command, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        sys.exit(f"{command} {arguments}: {done.returncode}\n{done.stderr.decode(errors='replace')}")
    return done.stdout.decode().replace("\r\n", "\n")


def texts(command, items, isa):
    """Answers to questions of text, by id: those with thinking, then those without, each in one run."""
    answers = {}
    for thinking in [True, False]:
        asked = [item for item in items if item["thinking"] == thinking and not item.get("image")]
        if not asked:
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl", dir=ROOT / "target") as prompts:
            for item in asked:
                prompts.write(json.dumps({"id": item["id"], "messages": item["messages"]}) + "\n")
            prompts.flush()
            name = Path(prompts.name).relative_to(ROOT).as_posix()
            think = "on" if thinking else "off"
            arguments = ["batch", MODEL, name, "--greedy", "-n", "160", "--think", think, "-q", "-t", "2", *isa]
            for line in run(command, [*arguments, "--ctx", "9216"]).splitlines():
                answer = json.loads(line)
                answers[answer["id"]] = answer.get("text", answer.get("error"))
    return answers


def pictures(command, items, isa):
    answers = {}
    for item in items:
        if image := item.get("image"):
            prompt = item["messages"][0]["content"]
            arguments = ["run", MODEL, "--mmproj", TOWER, "--image", f"models/demo/{image}", "-p", prompt, "--greedy"]
            answers[item["id"]] = run(command, [*arguments, "-n", "160", "-q", "-t", "2", "--ctx", "2048", *isa])
    return answers


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("other", nargs="+")
    parser.add_argument("--every", type=int, default=1, help="only each N-th question")
    parser.add_argument("--isa", help="a level that both have")
    args = parser.parse_args()
    isa = ["--isa", args.isa] if args.isa else []
    items = [json.loads(line) for line in open(ROOT / "models/demo/heldout.jsonl")][::args.every]
    both = [texts(command, items, isa) | pictures(command, items, isa) for command in ([args.program], args.other)]
    different = [id for id in both[0] if both[0][id] != both[1].get(id)]
    for id in different:
        print(f"{id}: {both[0][id]!r}, and the other {both[1].get(id)!r}")
    if different or not both[0] or len(both[0]) != len(items):
        sys.exit(f"{len(different)} of {len(both[0])} answers differ; {len(items)} were asked for")
    print(f"{len(items)} answers, all the same to the last character")


main()
