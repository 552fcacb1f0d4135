"""Train the demo model on two CPU cores. Restartable: `python train.py --dir RUN --end HH:MM`.

bf16 activations, float32 master weights; Muon for the matrices, AdamW for the rest; constant rate, then a decay to zero
over the last `--decay` minutes before `--end` (wall clock, so that pauses do not spoil the schedule). A file RUN/end with
another HH:MM moves the end while it runs; SIGTERM saves and leaves.
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
import torch.nn.functional as F

from data import Builder
from model import Config, Text, Vision, patchify, rope_table
from tokenizer import Tokenizer

BUCKETS = {128: 0.50, 256: 0.28, 512: 0.04, 1024: 0.15, 2048: 0.02, 4096: 0.01}
LATE = {128: 0.20, 256: 0.37, 512: 0.14, 1024: 0.16, 2048: 0.06, 4096: 0.05, 8192: 0.02}
MICRO = 4096


class Muon:
    """Momentum, orthogonalised by five Newton-Schulz steps, over matrices grouped by shape."""

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
            us = []
            for p in g:
                b = self.buf[p]
                b.lerp_(p.grad, 1 - self.momentum)
                u = p.grad.lerp(b, self.momentum)
                us.append(u if p.shape[0] <= p.shape[1] else u.T)
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
    y = text.trunk(x, rope, 64)
    sel = marks[:, 1:] > 0
    l1 = F.cross_entropy(text.logits(y[:, :-1][sel]), ids[:, 1:][sel], reduction="sum")
    l2 = torch.zeros(())
    if use_mtp:
        r = (rope[0][:, 1:], rope[1][:, 1:])
        z = text.mtp(x[:, 1:], y[:, :-1], r)
        sel2 = sel[:, 1:]
        l2 = F.cross_entropy(text.logits(z[:, :-1][sel2]), ids[:, 2:][sel2], reduction="sum")
    return l1, sel.sum(), l2


def image_batch(builder: Builder, rows: int, size: int, pad: int):
    """Rows that start with one image: ids, marks, pixels [rows, patches, 3, 16, 16], positions [3, rows, size]."""
    from images import GRID, draw, positions, talk

    ids, marks = torch.zeros(rows, size, dtype=torch.long), torch.zeros(rows, size)
    pics, shown, pos = [], [], torch.zeros(3, rows, size, dtype=torch.long)
    n = (GRID // 2) ** 2
    for i in range(rows):
        scenes = []
        while not scenes:  # a talk that belongs to the test side is replaced by text
            a, m, scenes = builder.row(size, talk(builder.r), n)
        ids[i, : len(a)] = torch.tensor(a)
        marks[i, : len(a)] = torch.tensor(m)
        pics.append(draw(scenes[0]))
        shown.append(scenes[0])
        pos[:, i] = positions(ids[i], pad)
    return ids, marks, patchify(torch.stack(pics)), pos, shown


def spell_ids(tok):
    """Token rows that spell the colors and kinds of the pictures; index 0 stands for nothing there."""
    from images import COLORS, KINDS

    one = lambda w: tok.encode(w)[0]
    color = torch.tensor([one(" white")] + [one(" " + c) for c in COLORS])
    kind = torch.tensor([one(".")] + [one(k if len(k) == 1 else " " + k) for k in KINDS])
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
    ap.add_argument("--mtp", type=float, default=0.0, help="weight of the MTP loss")
    ap.add_argument("--images", type=float, default=0.0, help="share of image batches")
    ap.add_argument("--tower", type=float, default=0.0, help="share of batches that train the vision tower alone")
    ap.add_argument("--late", action="store_true", help="the length mix with more long rows")
    ap.add_argument("--only", help="first phase: rows of 128 with these tasks alone, as name=weight,name=weight")
    ap.add_argument("--accum", type=int, default=1)
    ap.add_argument("--threads", type=int, default=2)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    (args.dir / "pid").write_text(str(os.getpid()))
    end = clock(args.end)
    tok = Tokenizer()
    c = Config(vocab=len(tok.tokens), image_pad=tok.ids["<|image_pad|>"])
    text, vision = Text(c), Vision(c)
    vision.patch1.requires_grad_(False)
    named = [("t." + n, p) for n, p in text.named_parameters()] + [("v." + n, p) for n, p in vision.named_parameters()]
    named = [(n, p) for n, p in named if p.requires_grad]
    muon = Muon([p for n, p in named if is_matrix(n, p)], args.lr)
    rest = [p for n, p in named if not is_matrix(n, p)]
    adam = torch.optim.AdamW(rest, lr=1.0, betas=(0.9, 0.99), eps=1e-9, weight_decay=0.0)
    step, seen, spent, seed = 0, 0, 0.0, 1000
    ck = args.dir / "checkpoint.pt"
    if ck.exists():
        s = torch.load(ck)
        text.load_state_dict(s["text"])
        vision.load_state_dict(s["vision"], strict=False)
        step, seen, spent, seed = s["step"], s["seen"], s["spent"], s["seed"] + 1
        byname = dict(named)
        for n, b in s["muon"].items():
            if n in byname and byname[n] in muon.buf:
                muon.buf[byname[n]].copy_(b)
        adam.load_state_dict(s["adam"])
    lr_adam = {p: 3e-3 for p in rest}
    only = {k: float(v) for k, v in (x.split("=") for x in args.only.split(","))} if args.only else None
    builder, r = Builder(tok, seed, only), random.Random(seed)
    spell = spell_ids(tok)
    mix = {128: 1.0} if only else LATE if args.late else BUCKETS

    def save():
        names = {p: n for n, p in named}
        s = {"text": text.state_dict(), "vision": vision.state_dict(), "step": step, "seen": seen, "spent": spent,
             "seed": seed, "muon": {names[p]: b for p, b in muon.buf.items()}, "adam": adam.state_dict(),
             "config": c.to_dict()}
        torch.save(s, ck.with_suffix(".tmp"))
        os.replace(ck.with_suffix(".tmp"), ck)

    saved = t0 = time.time()
    avg: dict = {}
    log = (args.dir / "log.jsonl").open("a")
    start = step
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    other = args.dir / "end"
    while time.time() < end and not stop:
        if other.exists() and other.read_text().strip():
            end = clock(other.read_text().strip())
        scale = min(1.0, (step - start + 1) / 12, max(0.0, (end - time.time()) / (args.decay * 60)))
        tokens = 0
        for _ in range(args.accum):
            extra = 0.0
            if args.tower and r.random() < args.tower:
                from images import draw, scene

                shown = [scene(builder.r) for _ in range(20)]
                e = vision(patchify(torch.stack([draw(s) for s in shown])).bfloat16(), 16, 16)
                loss = spelling_loss(text.embd, e, shown, spell)
                loss.backward()
                a = avg.setdefault("tower", [0.0, 0.0, 0.0, 0.0])
                a[0] += float(loss.detach())
                a[1] += 1
                continue
            if args.images and r.random() < args.images:
                size = "image"
                ids, marks, px, pos, shown = image_batch(builder, 16, 192, c.image_pad)
                x = F.embedding(ids, text.embd).bfloat16()
                e = vision(px.bfloat16(), 16, 16)
                extra = 0.3 * spelling_loss(text.embd, e, shown, spell)
                x = x.masked_scatter((ids == c.image_pad)[..., None], e)
            else:
                size = r.choices(list(mix), list(mix.values()))[0]
                ids, marks = batch(builder, size, max(1, MICRO // size))
                x = F.embedding(ids, text.embd).bfloat16()
                pos = torch.arange(size).expand(3, ids.shape[0], size)
            l1, n, l2 = losses(text, x, ids, marks, pos, args.mtp > 0 and r.random() < 0.5)
            w = 1 / (float(n) * 500) ** 0.5 / args.accum
            ((l1 + args.mtp * l2) * w + extra).backward()
            tokens += ids.numel()
            a = avg.setdefault(size, [0.0, 0.0, 0.0, 0.0])
            a[0] += float(l1.detach())
            a[1] += float(n)
            if l2.requires_grad:
                a[2] += float(l2.detach())
                a[3] += float(n)
        for p in (q for _, q in named):
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        norm = torch.nn.utils.clip_grad_norm_([q for q in rest], 1.0)
        if torch.isfinite(norm):
            muon.step(scale)
            for g in adam.param_groups:
                g["lr"] = 3e-3 * scale
            adam.step()
        for _, p in named:
            p.grad = None
        step += 1
        seen += tokens
        if step % 25 == 0:
            now = time.time()
            spent += now - t0
            rec = {"step": step, "tokens": seen, "seconds": round(spent), "tok_s": round(25 * tokens / (now - t0)),
                   "lr": round(scale, 3), "norm": round(float(norm), 2),
                   "loss": {str(k): round(v[0] / v[1], 4) for k, v in sorted(avg.items(), key=str)},
                   "mtp": {str(k): round(v[2] / v[3], 4) for k, v in sorted(avg.items(), key=str) if v[3]} if args.mtp else None}
            print(json.dumps(rec), flush=True)
            log.write(json.dumps(rec) + "\n")
            log.flush()
            avg, t0 = {}, now
        if time.time() - saved > 150:
            save()
            saved = time.time()
    save()
    if not stop:
        (args.dir / "done").write_text("done")


if __name__ == "__main__":
    main()
