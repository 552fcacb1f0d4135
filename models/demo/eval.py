"""The held-out set, and its scores.

    python eval.py make                         write heldout.jsonl and images/ (other seed, held-out queries only)
    python eval.py reference FILE.gguf          greedy answers, MTP acceptance, perplexity by the float reference
    python eval.py program QWEN_EDGE FILE.gguf  the same questions through the program

The float reference is model.py in float32 with the dequantised weights of the file, one token at a time.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
SEED = 977
SIZES = {"arithmetic": 40, "arithmetic-hard": 30, "counting": 30, "copying": 30, "reversing": 30, "sorting": 30,
         "dates": 30, "recall": 30, "json": 30, "tools": 30, "chat": 30, "image": 40, "recall-4k": 10, "recall-8k": 4}


def make():
    """Draw the held-out items."""
    import data
    import images
    from tokenizer import Tokenizer

    r = random.Random(SEED)
    tok = Tokenizer()
    draw = {
        "arithmetic": data.arithmetic, "arithmetic-hard": data.arithmetic, "counting": data.counting, "copying": data.copying, "reversing": data.reversing,
        "sorting": data.sorting, "dates": data.dates, "json": data.extraction, "chat": data.chat, "recall": data.recall,
        "tools": data.tools, "image": lambda q: images.talk(q, 1),
        "recall-4k": lambda q: data.recall(q, q.randint(330, 420)), "recall-8k": lambda q: data.recall(q, q.randint(680, 820)),
    }
    (HERE / "images").mkdir(exist_ok=True)
    out, seen = [], set()
    for task, n in SIZES.items():
        k = 0
        while k < n:
            t = draw[task](r)[0]
            if not data.held_out(t) or t.key() in seen or (task == "tools" and not t.calls):
                continue
            if task.startswith("arithmetic") and t.task != task:
                continue
            if task.startswith("recall-"):
                size = len(tok.encode(t.query))
                if not (3600 <= size <= 4090 if task == "recall-4k" else 7000 <= size <= 8100):
                    continue
            seen.add(t.key())
            item = {"id": f"{task}-{k:02}", "task": task, "thinking": t.think is not None,
                    "messages": [{"role": "user", "content": t.query}], "expected": t.answer}
            if t.calls:
                item["expected"] = [{"name": a, "arguments": b} for a, b in t.calls]
                item["tools"] = t.tools
            if t.image is not None:
                item["image"] = f"images/{k:02}.png"
                images.picture(t.image).quantize(64).save(HERE / item["image"], optimize=True)
            if task == "recall" and t.think is None and k % 8 == 7:
                item["thinking"] = True
            out.append(item)
            k += 1
    with (HERE / "heldout.jsonl").open("w") as f:
        for x in out:
            f.write(json.dumps(x, ensure_ascii=False) + "\n")
    print(len(out), "items")


def items(only: str | None) -> list[dict]:
    """The held-out items (of the tasks named, separated by commas)."""
    xs = [json.loads(s) for s in (HERE / "heldout.jsonl").open()]
    return [x for x in xs if not only or x["task"] in only.split(",")]


def parse_calls(text: str) -> list[dict]:
    """Calls in the published XML form, arguments as strings."""
    out = []
    for m in re.finditer(r"<tool_call>\n<function=([^>\n]+)>\n(.*?)</function>\n</tool_call>", text, re.S):
        args = dict(re.findall(r"<parameter=([^>\n]+)>\n(.*?)\n</parameter>\n", m[2], re.S))
        out.append({"name": m[1], "arguments": args})
    return out


def right(item: dict, text: str, calls: list[dict] | None = None) -> bool:
    """Whether an answer (text after any thinking, or parsed calls) is the expected one."""
    want = item["expected"]
    if item["task"] == "tools":
        got = calls if calls is not None else parse_calls(text)
        flat = lambda cs: [(c["name"], {k: str(v) for k, v in c["arguments"].items()}) for c in cs]
        return flat(got) == flat(want)
    text = text.split("</think>")[-1].strip()
    if item["task"] == "json":
        try:
            return list(json.loads(text).items()) == list(json.loads(want).items())
        except (ValueError, AttributeError):
            return False
    return text == want.strip()


def report(score: dict):
    """One line per task."""
    for t, v in score.items():
        print(f"{t:16} {sum(v):3}/{len(v):3}  {100 * sum(v) / len(v):5.1f} %")
    n = sum(map(len, score.values()))
    print(f"{'all':16} {sum(map(sum, score.values())):3}/{n:3}  {100 * sum(map(sum, score.values())) / n:5.1f} %", flush=True)


class Reference:
    """Greedy decoding, MTP drafts and likelihoods in float32."""

    def __init__(self, path: str, mmproj: str | None):
        import jinja2
        import torch
        from names import load_text, load_vision
        from tokenizer import Tokenizer

        self.torch = torch
        self.m, meta = load_text(path)
        self.vision = load_vision(mmproj) if mmproj else None
        self.tok = Tokenizer()
        assert meta["tokenizer.ggml.tokens"] == self.tok.tokens
        env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        env.filters["tojson"] = lambda x, **_: json.dumps(x, ensure_ascii=False)
        self.template = env.from_string(meta["tokenizer.chat_template"])
        self.stop = {self.tok.ids["<|im_end|>"], self.tok.ids["<|endoftext|>"]}

    def prompt(self, item: dict):
        """Ids, embeddings [1, T, H] and positions [3, T] of a rendered item."""
        import images
        import numpy as np
        from model import patchify
        from PIL import Image

        torch = self.torch
        msgs = item["messages"]
        if "image" in item:
            msgs = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": msgs[0]["content"]}]}]
        text = self.template.render(messages=msgs, tools=item.get("tools"), add_generation_prompt=True,
                                    enable_thinking=item["thinking"])
        ids = self.tok.encode(text)
        pad = self.tok.ids["<|image_pad|>"]
        if "image" in item:
            ids = [y for x in ids for y in ([pad] * 64 if x == pad else [x])]
        ids = torch.tensor(ids)
        x = self.m.embd[ids]
        if "image" in item:
            px = torch.from_numpy(np.array(Image.open(HERE / item["image"]).convert("RGB")))[None]
            x = x.clone()
            x[ids == pad] = self.vision(patchify(px), 16, 16)[0]
        return ids, x[None], images.positions(ids, pad)

    def padded(self, xs, ps):
        """Rows of embeddings [1, T, H] and positions [3, T] padded on the left to one length."""
        torch = self.torch
        top = max(x.shape[1] for x in xs)
        pad = torch.tensor([top - x.shape[1] for x in xs])
        fill = torch.nn.functional.pad
        x = torch.cat([fill(x, (0, 0, int(p), 0)) for x, p in zip(xs, pad)])
        pos = torch.stack([fill(q, (int(p), 0)) for q, p in zip(ps, pad)], 1)
        return x, pos, pad

    def answers(self, items: list[dict], limit: int = 160):
        """Greedy decoding of several items at once.

        Yields (item, answer ids, embeddings, hidden states and positions of all tokens, prompt length).
        """
        from model import rope_table

        torch, m = self.torch, self.m
        got = [self.prompt(x) for x in items]
        x, pos, pad = self.padded([g[1] for g in got], [g[2] for g in got])
        nxt = pos.amax((0, 2)) + 1
        outs, done = [[] for _ in items], [False] * len(items)
        cache, hs, xs, ps = None, [], [x], [pos]
        while True:
            h, cache = m.extend(x, rope_table(pos, m.c), cache, pad)
            hs.append(h)
            t = m.logits(h[:, -1]).argmax(-1)
            for i, v in enumerate(t.tolist()):
                if not done[i]:
                    outs[i].append(v)
                    done[i] = v in self.stop or len(outs[i]) >= limit
            if all(done):
                break
            x = m.embd[t][:, None]
            pos = nxt[None, :, None].expand(3, -1, 1)
            nxt = nxt + 1
            xs.append(x)
            ps.append(pos)
        x, h, p = torch.cat(xs, 1), torch.cat(hs, 1), torch.cat(ps, 2)
        for i, it in enumerate(items):
            a, n = int(pad[i]), len(got[i][0])
            b = a + n + len(outs[i]) - 1
            yield it, outs[i], x[i : i + 1, a:b], h[i : i + 1, a:b], p[:, i, a:b], n

    def drafts(self, out, x, h, pos, n, depth: int = 3) -> list[int]:
        """For every decoding step with room for `depth` drafts: how many leading drafts greedy verification accepts."""
        from model import rms, rope_table

        torch, m = self.torch, self.m
        mt, b = m.mtp, m.mtp.block
        kv = None
        rope = rope_table(pos[:, None, 1:], m.c)
        z = mt.join(x[:, 1:], h[:, :-1])
        y, kv = b.step(z, rope, None)
        got = []
        for i in range(len(out) - depth):
            # out[0..i] are known; slot s pairs hidden n-1+i with token out[i]
            s = n - 1 + i
            if s >= z.shape[1]:
                break
            hid, past = rms(y[:, s : s + 1], mt.head_norm), (kv[0][:, :, : s + 1], kv[1][:, :, : s + 1])
            k = 0
            while k < depth:
                t = int(m.logits(hid).argmax())
                if t != out[i + 1 + k]:
                    break
                k += 1
                if k == depth:
                    break
                p = rope_table(pos[:, None, s + 1 : s + 2] + k, m.c)
                yy, past = b.step(mt.join(m.embd[t][None, None], hid), p, past)
                hid = rms(yy, mt.head_norm)
            got.append(k)
        return got

    def nll(self, items: list[dict]) -> tuple[float, int]:
        """Summed negative log likelihood of the expected answers and their number of tokens."""
        import data
        from model import rope_table

        torch, m = self.torch, self.m
        xs, ps, answers = [], [], []
        for item in items:
            ids, x, pos = self.prompt(item)
            want = item["expected"]
            if item["task"] == "tools":
                want = data.call_text([(c["name"], c["arguments"]) for c in want])
            ans = torch.tensor(self.tok.encode(want + "<|im_end|>"))
            answers.append(ans)
            xs.append(torch.cat([x, m.embd[ans][None]], 1))
            ps.append(torch.cat([pos, int(pos.max()) + 1 + torch.arange(len(ans)).expand(3, -1)], 1))
        x, pos, pad = self.padded(xs, ps)
        h, _ = m.extend(x, rope_table(pos, m.c), None, pad)
        total = 0.0
        for row, ans in zip(h, answers):
            lp = m.logits(row[-len(ans) - 1 : -1]).log_softmax(-1)
            total -= float(lp.gather(1, ans[:, None]).sum())
        return total, sum(map(len, answers))


def reference(args):
    """Scores, MTP acceptance and perplexity of a file."""
    import torch

    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    xs = items(args.tasks)
    ref = Reference(args.model, args.mmproj)
    if not args.mmproj:
        xs = [x for x in xs if "image" not in x]
    score, acc, lp, t0 = defaultdict(list), [], {}, time.time()
    answers = {}
    groups = defaultdict(list)
    for x in xs:
        groups[x["task"]].append(x)
    for task, group in groups.items():
        size = 1 if task.startswith("recall-") else 20
        if not args.ppl:
            for i in range(0, len(group), size):
                for k, (x, out, e, h, pos, n) in enumerate(ref.answers(group[i : i + size])):
                    text = ref.tok.decode([t for t in out if t not in ref.stop])
                    score[task].append(right(x, text))
                    answers[x["id"]] = text
                    if args.verbose and not score[task][-1]:
                        print(x["id"], repr(x["messages"][0]["content"][-120:]), "want", x["expected"], "got", repr(text))
                    if n < 1500 and k % args.every == 0:
                        acc += ref.drafts(out, e, h, pos, n)
        plain = [x for x in group if not x["thinking"]]
        if plain and size > 1:
            parts = [ref.nll(plain[i : i + size]) for i in range(0, len(plain), size)]
            lp[task] = tuple(map(sum, zip(*parts)))
    if not args.ppl:
        report(score)
        for d in (1, 2, 3):
            tried = sum(k >= d - 1 for k in acc)
            ok = sum(k >= d for k in acc)
            print(f"MTP depth {d}: {ok}/{tried} of the drafts at this depth accepted ({100 * ok / max(1, tried):.1f} %), "
                  f"{100 * ok / max(1, len(acc)):.1f} % of all steps reach it")
        print(f"mean accepted of 3: {sum(acc) / max(1, len(acc)):.2f}")
    for t, (s, n) in lp.items():
        print(f"{t:16} nll per token {s / n:.4f}")
    s, n = map(sum, zip(*lp.values()))
    print(f"perplexity of the expected answers: {math.exp(s / n):.4f} ({n} tokens)")
    print(f"{time.time() - t0:.0f} s")
    if args.save:
        Path(args.save).write_text(json.dumps(answers, ensure_ascii=False, indent=0))


def program(args):
    """Scores of the same items through the program, one process an item."""
    import data

    xs = items(args.tasks)
    score, t0 = defaultdict(list), time.time()
    usage = subprocess.run([args.binary, "run", "--help"], capture_output=True, text=True).stdout
    if args.mmproj and "--image" not in usage:
        print("this program takes no --image: the picture questions are left out", file=sys.stderr)
        args.mmproj = None
    theirs = json.loads(Path(args.against).read_text()) if args.against else {}
    same = 0
    for x in xs:
        if "image" in x and not args.mmproj:
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
            f.write(x["messages"][0]["content"])
            f.flush()
            cmd = [args.binary, "run", args.model, "--json", "--quiet", "--greedy", "-n", "160", "--ctx", "8448",
                   "--think", "on" if x["thinking"] else "off", "-f", f.name]
            if "tools" in x:
                # The template writes the same block for a system message with this text as for tools.
                block = data.head(data.Turn("tools", "", "", tools=x["tools"]))
                cmd += ["--system", block.removeprefix("<|im_start|>system\n").removesuffix("<|im_end|>\n")]
            if "image" in x:
                cmd += ["--mmproj", args.mmproj, "--image", str(HERE / x["image"])]
            p = subprocess.run(cmd + args.arg, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if p.returncode:
            sys.exit(f"{x['id']}: exit {p.returncode}: {p.stderr.strip()}")
        out = json.loads(p.stdout)
        text = out["text"]
        score[x["task"]].append(right(x, text, out.get("tool_calls")))
        if x["id"] in theirs:
            same += theirs[x["id"]].split("</think>")[-1].strip() == text.strip()
        if args.verbose and not score[x["task"]][-1]:
            print(x["id"], repr(x["messages"][0]["content"][-120:]), "want", x["expected"], "got", repr(text))
    report(score)
    if theirs:
        print(f"the same answer as the float reference: {same}/{len(theirs)}")
    print(f"{time.time() - t0:.0f} s")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(dest="mode", required=True)
    sub.add_parser("make")
    p = sub.add_parser("reference")
    p.add_argument("model")
    p.add_argument("--mmproj")
    p.add_argument("--tasks")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--every", type=int, default=4, help="measure MTP drafts on every n-th item of a batch")
    p.add_argument("--ppl", action="store_true", help="perplexity only")
    p.add_argument("--verbose", action="store_true", help="print wrong answers")
    p.add_argument("--save", help="write the answers to this JSON file")
    p = sub.add_parser("program")
    p.add_argument("binary")
    p.add_argument("model")
    p.add_argument("--mmproj")
    p.add_argument("--tasks")
    p.add_argument("--verbose", action="store_true")
    p.add_argument("--against", help="answers saved by the float reference, to count equal ones")
    p.add_argument("--arg", action="append", default=[], help="a further argument for the program")
    args = ap.parse_args()
    if args.mode == "make":
        make()
    elif args.mode == "reference":
        reference(args)
    else:
        program(args)


if __name__ == "__main__":
    main()
