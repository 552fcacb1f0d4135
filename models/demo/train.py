"""Train the demo model on two CPU cores. Restartable: `python train.py --dir RUN --end HH:MM`.

bf16 activations, float32 master weights; Muon for the matrices, AdamW for the rest; constant rate, then a decay to zero
over the last `--decay` minutes before `--end` (wall clock, so that pauses do not spoil the schedule). A file RUN/end with
another HH:MM moves the end while it runs; SIGTERM saves and leaves.

`--helper` starts a second, nice process on what the machine has left. It computes gradients of its own batches on a
recent copy of the weights, which the trainer adds to its own whenever they are ready, and every few minutes it measures
how much of each task is answered exactly; what is known already then comes less often.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import signal
import time
from pathlib import Path

import torch
import torch.multiprocessing as mp
import torch.nn.functional as F

import data
import images
from data import Builder
from model import Config, Text, Vision, patchify, rope_table
from tokenizer import Tokenizer

# Shares of the row lengths (tokens) in the phases.
MIXES = {"short": {128: 0.45, 256: 0.4, 512: 0.15}, "middle": {128: 0.35, 256: 0.3, 512: 0.1, 1024: 0.25},
         "long": {128: 0.5, 256: 0.33, 512: 0.06, 1024: 0.07, 2048: 0.01, 4096: 0.02, 8192: 0.01}}
MICRO = 2048  # tokens of a batch: larger ones fall out of the cache


class Muon:
    """Momentum, orthogonalised by five Newton-Schulz steps, over matrices grouped by shape; those without gradient rest."""

    def __init__(self, params, lr=0.02, momentum=0.95, decay=0.01):
        self.lr, self.momentum, self.decay = lr, momentum, decay
        groups: dict = {}
        for p in params:
            groups.setdefault(tuple(sorted(p.shape)), []).append(p)
        self.groups = list(groups.values())
        self.buf = {p: torch.zeros_like(p) for g in self.groups for p in g}

    @torch.no_grad()
    def step(self, scale: float):
        for g in self.groups:
            g = [p for p in g if p.grad is not None]
            us = []
            for p in g:
                b = self.buf[p]
                b.lerp_(p.grad, 1 - self.momentum)
                u = p.grad.lerp(b, self.momentum)
                us.append(u if p.shape[0] <= p.shape[1] else u.T)
            if not g:
                continue
            x = torch.stack(us).bfloat16()
            x = x / (x.float().square().sum((1, 2), keepdim=True).sqrt() + 1e-7).bfloat16()
            for _ in range(5):
                a = x @ x.transpose(1, 2)
                b = -4.7750 * a + 2.0315 * (a @ a)
                x = 3.4445 * x + b @ x
            for p, u in zip(g, x):
                u = u if p.shape[0] <= p.shape[1] else u.T
                lr = self.lr * scale
                p.mul_(1 - lr * self.decay)
                p.add_(u.float(), alpha=-lr * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)


def is_matrix(name: str, p: torch.Tensor) -> bool:
    """Whether Muon takes this parameter."""
    if p.ndim != 2 or min(p.shape) < 32:
        return False
    return not any(s in name for s in ("embd", "conv", "pos"))


def batch(builder: Builder, size: int, rows: int):
    """Padded ids and marks [rows, size]."""
    ids, marks = torch.zeros(rows, size, dtype=torch.long), torch.zeros(rows, size)
    for i in range(rows):
        a, m, _ = builder.row(size)
        ids[i, : len(a)] = torch.tensor(a)
        marks[i, : len(a)] = torch.tensor(m)
    return ids, marks


def losses(text: Text, x, ids, marks, pos, use_mtp: bool):
    """(summed trunk loss, answer tokens, summed MTP loss) for input embeddings x [B, T, H]."""
    rope = rope_table(pos, text.c)
    sel = F.pad(marks[:, 1:] > 0, (0, 1))  # places whose next token is part of an answer
    y = text.trunk(x, rope, 64, None if use_mtp else sel)
    l1 = F.cross_entropy(text.logits(y[sel] if use_mtp else y), ids.roll(-1, 1)[sel], reduction="sum")
    l2 = torch.zeros(())
    if use_mtp:
        r = (rope[0][:, 1:], rope[1][:, 1:])
        sel2 = sel[:, 1:]
        z = text.mtp(x[:, 1:], y[:, :-1], r, sel2)
        l2 = F.cross_entropy(text.logits(z), ids[:, 1:].roll(-1, 1)[sel2], reduction="sum")
    return l1, sel.sum(), l2


def image_batch(builder: Builder, rows: int, size: int, pad: int):
    """Rows that start with one image: ids, marks, pixels [rows, patches, 3, 16, 16], positions [3, rows, size], scenes."""
    ids, marks = torch.zeros(rows, size, dtype=torch.long), torch.zeros(rows, size)
    pics, shown, pos = [], [], torch.zeros(3, rows, size, dtype=torch.long)
    n = (images.GRID // 2) ** 2
    for i in range(rows):
        scenes = []
        while not scenes:  # a talk that belongs to the test side is replaced by text
            a, m, scenes = builder.row(size, images.talk(builder.r), n)
        ids[i, : len(a)] = torch.tensor(a)
        marks[i, : len(a)] = torch.tensor(m)
        pics.append(images.draw(scenes[0]))
        shown.append(scenes[0])
        pos[:, i] = images.positions(ids[i], pad)
    return ids, marks, patchify(torch.stack(pics)), pos, shown


def spell_ids(tok):
    """Token rows that spell the colors and kinds of the pictures; index 0 stands for nothing there."""
    one = lambda w: tok.encode(w)[0]
    color = torch.tensor([one(" white")] + [one(" " + c) for c in images.COLORS])
    kind = torch.tensor([one(".")] + [one(k if len(k) == 1 else " " + k) for k in images.KINDS])
    return color, kind


def spelling_loss(embd, e, scenes, spell):
    """Each image token should point along the embeddings of the words for what lies at its place (cosine x 12).

    e [B, 64, H]; mean over places, empty ones counting a tenth. A dense signal that lets the tower learn from
    thousands instead of millions of pictures.
    """
    loss = 0.0
    e = F.normalize(e.float(), dim=-1)
    targets = [torch.tensor(x) for x in zip(*(s.labels() for s in scenes))]
    for ids, y in zip(spell, targets):
        logits = 12 * e @ F.normalize(embd[ids].detach(), dim=-1).T
        w = torch.full((len(ids),), 1.0)
        w[0] = 0.1
        loss = loss + F.cross_entropy(logits.flatten(0, 1), y.flatten(), weight=w)
    return loss


class Model:
    """Text model and tower, with the parameters that are trained by name."""

    def __init__(self, tok):
        c = Config(vocab=len(tok.tokens), image_pad=tok.ids["<|image_pad|>"])
        self.tok, self.c, self.text, self.vision = tok, c, Text(c), Vision(c)
        self.vision.patch1.requires_grad_(False)
        both = [("t." + n, p) for n, p in self.text.named_parameters()]
        both += [("v." + n, p) for n, p in self.vision.named_parameters()]
        self.named = {n: p for n, p in both if p.requires_grad}
        self.spell = spell_ids(tok)

    def embed(self, ids, px):
        """Embeddings [B, T, H] of rows with pictures in the places of their tokens, and the picture tokens."""
        x = F.embedding(ids, self.text.embd).bfloat16()
        e = self.vision(px.bfloat16(), images.GRID, images.GRID)
        return x.masked_scatter((ids == self.c.image_pad)[..., None], e), e


def gradient(m: Model, builder: Builder, r: random.Random, mix: dict, args) -> tuple:
    """Adds the gradient of one random batch; returns (kind of batch, trunk loss, answers, MTP loss, answers, tokens)."""
    k, extra = r.random(), 0.0
    if k < args.tower:
        shown = [r.choice([images.scene, images.letters, images.letters])(builder.r) for _ in range(8)]
        px = patchify(torch.stack([images.draw(s) for s in shown]))
        loss = spelling_loss(m.text.embd, m.vision(px.bfloat16(), images.GRID, images.GRID), shown, m.spell)
        loss.backward()
        return "tower", float(loss.detach()), 1, 0.0, 0, 0
    if k < args.tower + args.images:
        size = "image"
        ids, marks, px, pos, shown = image_batch(builder, 8, 192, m.c.image_pad)
        x, e = m.embed(ids, px)
        extra = 0.3 * spelling_loss(m.text.embd, e, shown, m.spell)
    else:
        size = r.choices(list(mix), list(mix.values()))[0]
        ids, marks = batch(builder, size, max(1, MICRO // size))
        x = F.embedding(ids, m.text.embd).bfloat16()
        pos = torch.arange(size).expand(3, ids.shape[0], size)
    l1, n, l2 = losses(m.text, x, ids, marks, pos, args.mtp > 0 and r.random() < args.mtp_share)
    n = float(n)
    ((l1 + args.mtp * l2) / (n * 500) ** 0.5 + extra).backward()
    return str(size), float(l1.detach()), n, float(l2.detach()), n if l2.requires_grad else 0, ids.numel()


PROBE_EVERY = 200  # seconds
# Rows of the probe: task, tokens a row, rows.
PROBES = [(t, 192, 42) for t in data.TASKS if t not in ("recall", "months")] + [
    ("recall", 256, 32), ("tools", 1024, 12), ("recall-1k", 1024, 6), ("recall-4k", 4096, 3), ("image", 192, 32)]


@torch.no_grad()
def probe(m: Model, seed: int) -> dict[str, float]:
    """Share of the answers of each task that come out exactly (teacher forced), on fresh training questions."""
    builder = Builder(m.tok, seed)
    r, out = builder.r, {}

    def talk(task, size):
        if task == "tools":
            return data.tools(r, size // 90)
        if task.startswith("recall"):
            return data.recall(r, int(size * 0.6 / 9) if "-" in task else r.randint(3, 14), 12 if "-" in task else 4)
        return sum((data.TASKS[task][0](r) for _ in range(3)), [])

    for task, size, rows in PROBES:
        ids, marks = torch.zeros(rows, size, dtype=torch.long), torch.zeros(rows, size)
        for i in range(0 if task == "image" else rows):
            turns = talk(task, size)
            while data.held_out(turns[0]):
                turns = talk(task, size)
            a, k, _ = builder.row(size, turns)
            ids[i, : len(a)], marks[i, : len(a)] = torch.tensor(a), torch.tensor(k)
        pos = torch.arange(size).expand(3, rows, size)
        if task == "image":
            ids, marks, px, pos, _ = image_batch(builder, rows, size, m.c.image_pad)
            x, _ = m.embed(ids, px)
        else:
            x = F.embedding(ids, m.text.embd).bfloat16()
        y = m.text.trunk(x, rope_table(pos, m.c), 64)
        sel = marks[:, 1:] > 0
        good = torch.ones_like(sel)
        good[sel] = m.text.logits(y[:, :-1][sel]).argmax(-1) == ids[:, 1:][sel]
        last = torch.zeros_like(sel)  # the first place after a run of answer tokens
        last[:, 1:] = sel[:, :-1] & ~sel[:, 1:]
        run = last.flatten().cumsum(0)[sel.flatten()]
        wrong = torch.zeros(int(run[-1]) + 1).index_add_(0, run, (~good[sel]).float())
        there = torch.zeros(int(run[-1]) + 1, dtype=torch.bool).index_fill_(0, run, True)
        out[task] = float((wrong[there] == 0).float().mean())
    return out


def phase(known: dict[str, float]) -> str:
    """The mix of row lengths for what is known: longer ones once looking up works in shorter ones."""
    if known.get("recall", 0) < 0.8:
        return "short"
    return "middle" if known.get("recall-1k", 0) < 0.8 else "long"


def needs(known: dict[str, float]) -> dict[str, float]:
    """Factors for the shares of the tasks from what is known."""
    if not known:
        return {}
    out = {t: 0.25 + 2 * (1 - p) ** 0.7 for t, p in known.items() if "-" not in t}
    out["recall"] = 0.4 + 0.6 * (1 - (known["recall"] + known["recall-1k"]) / 2)
    out["tools"] = min(1.0, 0.35 + 2 * (1 - known["tools"]))
    return out


def helper(shared: list, grads: list, given, ready, told, seed: int, known: dict, args):
    """The second process: gradients on a copy of the weights, and probes."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(args.helper)
    torch.set_num_threads(1)
    m = Model(Tokenizer())
    builder, r = Builder(m.tok, seed), random.Random(seed)
    builder.need = needs(known)
    probed = 0.0
    while os.getppid() != 1:
        with torch.no_grad():
            for p, s in zip(m.named.values(), shared):
                p.copy_(s)
                p.grad = None
        if time.time() - probed > PROBE_EVERY:
            known = probe(m, random.randrange(1 << 30))
            builder.need = needs(known)
            told.put(("probe", known))
            probed = time.time()
        told.put(("batch", gradient(m, builder, r, MIXES[args.mix or phase(known)], args)))
        while ready.value and os.getppid() != 1:
            time.sleep(0.005)
        for i, (p, g) in enumerate(zip(m.named.values(), grads)):
            given[i] = p.grad is not None
            if given[i]:
                g.copy_(p.grad)
        ready.value = 1


def clock(hhmm: str) -> float:
    """Today's HH:MM as a Unix time."""
    h, m = map(int, hhmm.split(":"))
    return datetime.datetime.now().replace(hour=h, minute=m, second=0).timestamp()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--dir", type=Path, required=True)
    ap.add_argument("--end", default="16:05")
    ap.add_argument("--decay", type=float, default=22, help="minutes of decay before the end")
    ap.add_argument("--lr", type=float, default=0.02)
    ap.add_argument("--mtp", type=float, default=0.3, help="weight of the MTP loss")
    ap.add_argument("--mtp-share", type=float, default=0.25, help="share of the batches that train the MTP block")
    ap.add_argument("--images", type=float, default=0.12, help="share of image batches")
    ap.add_argument("--tower", type=float, default=0.06, help="share of batches that train the vision tower alone")
    ap.add_argument("--mix", choices=MIXES, help="mix of row lengths (default: by what is known)")
    ap.add_argument("--accum", type=int, default=2, help="batches a step")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--helper", type=int, help="start a second process, this much nicer")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    (args.dir / "pid").write_text(str(os.getpid()))
    end = clock(args.end)
    m = Model(Tokenizer())
    named = m.named
    muon = Muon([p for n, p in named.items() if is_matrix(n, p)], args.lr)
    rest = [p for n, p in named.items() if not is_matrix(n, p)]
    adam = torch.optim.AdamW(rest, lr=1.0, betas=(0.9, 0.99), eps=1e-9, weight_decay=0.0)
    step, seen, spent, seed, known = 0, 0, 0.0, 1000, {}
    ck = args.dir / "checkpoint.pt"
    if ck.exists():
        s = torch.load(ck)
        m.text.load_state_dict(s["text"])
        m.vision.load_state_dict(s["vision"], strict=False)
        step, seen, spent, seed = s["step"], s["seen"], s["spent"], s["seed"] + 1
        known = s.get("known", {})
        for n, b in s["muon"].items():
            if n in named and named[n] in muon.buf:
                muon.buf[named[n]].copy_(b)
        adam.load_state_dict(s["adam"])
    builder, r = Builder(m.tok, seed), random.Random(seed)
    builder.need = needs(known)

    def save():
        names = {p: n for n, p in named.items()}
        s = {"text": m.text.state_dict(), "vision": m.vision.state_dict(), "step": step, "seen": seen, "spent": spent,
             "seed": seed, "known": known, "muon": {names[p]: b for p, b in muon.buf.items()}, "adam": adam.state_dict(),
             "config": m.c.to_dict()}
        torch.save(s, ck.with_suffix(".tmp"))
        os.replace(ck.with_suffix(".tmp"), ck)

    ctx = mp.get_context("spawn")
    ready, told, grads = ctx.Value("i", 0), ctx.Queue(), []
    if args.helper is not None:
        shared = [p.data.share_memory_() for p in named.values()]
        grads = [torch.zeros_like(p).share_memory_() for p in named.values()]
        given = torch.zeros(len(grads), dtype=torch.bool).share_memory_()
        ctx.Process(target=helper, args=(shared, grads, given, ready, told, seed + 500_000, known, args), daemon=True).start()
    saved = probed = t0 = time.time()
    avg: dict = {}
    helped = tokens = 0
    log = (args.dir / "log.jsonl").open("a")

    def note(rec: dict):
        print(json.dumps(rec), flush=True)
        log.write(json.dumps(rec) + "\n")
        log.flush()

    def learn(got: dict):
        nonlocal known
        known = got
        builder.need = needs(known)
        note({"step": step, "tokens": seen, "time": time.strftime("%H:%M"),
              "known": {k: round(v, 3) for k, v in known.items()}})

    def count(got: tuple):
        nonlocal tokens
        a = avg.setdefault(got[0], [0.0] * 4)
        for i in range(4):
            a[i] += got[i + 1]
        tokens += got[5]

    start = step
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    other = args.dir / "end"
    while time.time() < end and not stop:
        if other.exists() and other.read_text().strip():
            end = clock(other.read_text().strip())
        scale = min(1.0, (step - start + 1) / 12, max(0.0, (end - time.time()) / (args.decay * 60)))
        for _ in range(args.accum):
            count(gradient(m, builder, r, MIXES[args.mix or phase(known)], args))
        take = ready.value
        if take:
            for p, g, new in zip(named.values(), grads, given):
                if new:
                    p.grad = g.clone() if p.grad is None else p.grad.add_(g)
            ready.value = 0
        helped += take
        while not told.empty():
            kind, got = told.get()
            if kind == "probe":
                learn(got)
            else:
                count(got)
        if args.helper is None and time.time() - probed > PROBE_EVERY:
            learn(probe(m, random.randrange(1 << 30)))
            probed = time.time()
        norm = torch.nn.utils.clip_grad_norm_([p for p in rest if p.grad is not None], 1.0)
        if torch.isfinite(norm):
            muon.step(scale)
            for g in adam.param_groups:
                g["lr"] = 0.15 * args.lr * scale
            adam.step()
        for p in named.values():
            p.grad = None
        step += 1
        if step % 50 == 0:
            now = time.time()
            spent += now - t0
            seen += tokens
            note({"step": step, "tokens": seen, "seconds": round(spent), "tok_s": round(tokens / (now - t0)),
                  "helped": helped, "lr": round(scale, 3), "norm": round(float(norm), 2),
                  "loss": {k: round(v[0] / v[1], 4) for k, v in sorted(avg.items())},
                  "mtp": {k: round(v[2] / v[3], 4) for k, v in sorted(avg.items()) if v[3]}})
            avg, t0, helped, tokens = {}, now, 0, 0
        if time.time() - saved > 150:
            save()
            saved = time.time()
    save()
    if not stop:
        (args.dir / "done").write_text("done")


if __name__ == "__main__":
    main()
