"""Check the float reference against recorded outputs of another implementation.

    python check.py MODEL-F32.gguf GOLDEN.safetensors

GOLDEN holds `prompt_ids [T]`, `logits [T, V]` and `mtp_logits [T-1, V]` of the same weights. The chunked, the
token-at-a-time and the MTP form must agree with it; the chunked form must agree with the step by step one.
"""

from __future__ import annotations

import sys

import torch
from safetensors.torch import load_file

from model import rope_table
from names import load_text


def main(model: str, golden: str):
    torch.set_grad_enabled(False)
    m, _ = load_text(model)
    g = load_file(golden)
    ids = g["prompt_ids"].long()
    n = len(ids)
    x, rope = m.embd[ids][None], rope_table(torch.arange(n).expand(3, 1, n), m.c)
    cut = lambda a, b: (rope[0][:, a:b], rope[1][:, a:b])
    y = m.trunk(x, rope, 32)
    h, cache = m.extend(x[:, : n // 2], cut(0, n // 2), None)
    parts = [h]
    for i in range(n // 2, n):
        h, cache = m.extend(x[:, i : i + 1], cut(i, i + 1), cache)
        parts.append(h)
    worst = 0.0
    for name, got, want in (("chunked", m.logits(y)[0], g["logits"]), ("stepwise", m.logits(torch.cat(parts, 1))[0], g["logits"]),
                            ("mtp", m.logits(m.mtp(x[:, 1:], y[:, :-1], cut(1, n)))[0], g["mtp_logits"])):
        d = float((got - want).abs().max())
        worst = max(worst, d)
        print(f"{name}: largest difference {d:.1e} of logits up to {float(want.abs().max()):.1f}")
    sys.exit(worst > 1e-3)


if __name__ == "__main__":
    main(*sys.argv[1:])
