"""The Qwen3.5 text model, its MTP block and its vision tower in torch, with weights in GGUF conventions.

Weights are kept as the GGUF file stores them: RMS norm weights include the +1, ``ssm_a`` is ``-exp(A_log)`` at use,
value heads are tiled (value head p reads key head ``p % Hk``), the convolution is ``[channels, 4]``.
So exporting is renaming, and loading an exported file is the float reference.

Shapes are given slowest dimension first. B sequences, T tokens, H hidden size.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6


@dataclass
class Config:
    """Sizes of the text model and of the vision tower."""

    vocab: int = 3072
    hidden: int = 256
    layers: int = 4
    ff: int = 768
    heads: int = 2
    kv_heads: int = 1
    head_dim: int = 256
    rotary: int = 64
    sections: tuple[int, ...] = (11, 11, 10)
    rope_base: float = 1e7
    interval: int = 4
    key_heads: int = 1
    value_heads: int = 2
    linear_dim: int = 128
    conv: int = 4
    v_hidden: int = 128
    v_layers: int = 3
    v_heads: int = 2
    v_ff: int = 512
    v_grid: int = 16
    patch: int = 16
    merge: int = 2
    image_pad: int = 0

    def is_full(self, i: int) -> bool:
        """Whether layer i is gated full attention (the others are Gated DeltaNet)."""
        return (i + 1) % self.interval == 0

    def to_dict(self) -> dict:
        """Plain values for a checkpoint."""
        return asdict(self)


class Rms(torch.autograd.Function):
    """RMS norm with few passes over memory; statistics in float32, products in the type of x."""

    @staticmethod
    def forward(ctx, x, w):
        n = x.shape[-1]
        inv = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inv = (inv.square_().div_(n).add_(EPS)).rsqrt_().to(x.dtype)
        h = x * inv
        wd = w.to(x.dtype)
        ctx.save_for_backward(h, inv, wd)
        return h * wd

    @staticmethod
    def backward(ctx, g):
        h, inv, w = ctx.saved_tensors
        gh = g * h
        dw = gh.reshape(-1, gh.shape[-1]).sum(0, dtype=torch.float32)
        m = (gh @ w / gh.shape[-1])[..., None]
        return (g * w).addcmul_(h, m, value=-1).mul_(inv), dw


def rms(x: Tensor, w: Tensor) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * w over the last dimension, statistics in float32; result in the type of x."""
    return Rms.apply(x, w)


def l2(x: Tensor) -> Tensor:
    """x / sqrt(sum(x^2) + eps), float32."""
    y = x.float()
    return y * torch.rsqrt(y.square().sum(-1, keepdim=True) + EPS)


def linear(x: Tensor, w: Tensor) -> Tensor:
    """x @ w.T in the type of x (float32 master weights are cast)."""
    return F.linear(x, w.to(x.dtype))


def blocks(x: Tensor, s: int) -> Tensor:
    """The diagonal s x s blocks of x [M, n, n] as [M, n/s, s, s]."""
    m, n, _ = x.shape
    return x.reshape(m, n // s, s, n // s, s).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)


class UnitLowerInverse(torch.autograd.Function):
    """(I + A)^-1 for strictly lower triangular A [..., n, n], n a power of two >= 8.

    Diagonal 8 x 8 blocks by (I-A)(I+A^2)(I+A^4), then pairs of blocks: the lower left of an inverse is
    -T22 A21 T11. (Doubling over the whole block is the same in exact arithmetic, but its powers reach binomial
    size and cancel: in float32 it overflowed within a hundred training steps.)
    """

    @staticmethod
    def forward(ctx, a: Tensor) -> Tensor:
        n = a.shape[-1]
        x = a.reshape(-1, n, n)
        d = blocks(x, 8)
        eye = torch.eye(8, dtype=a.dtype)
        d2 = d @ d
        t = (eye - d) @ (eye + d2) @ (eye + d2 @ d2)
        s = 8
        while s < n:
            t11, t22 = t[:, 0::2], t[:, 1::2]
            out = t.new_zeros(x.shape[0], n // (2 * s), 2 * s, 2 * s)
            out[..., :s, :s], out[..., s:, s:] = t11, t22
            out[..., s:, :s] = -(t22 @ blocks(x, 2 * s)[..., s:, :s] @ t11)
            t, s = out, 2 * s
        t = t.reshape(a.shape)
        ctx.save_for_backward(t)
        return t

    @staticmethod
    def backward(ctx, g: Tensor):
        (t,) = ctx.saved_tensors
        tt = t.transpose(-1, -2)
        return -(tt @ g @ tt).tril(-1)


class Scan(torch.autograd.Function):
    """The sequential part of the chunked delta rule.

    For chunks c: U_c = W_c - Y_c S_c, S_{c+1} = e_c S_c + K_c^T U_c.
    w, y, k: [N, M, n, d]; e: [N, M] float32; s0: [M, d, d] float32 (no gradient).
    Returns U [N, M, n, d], the states before each chunk [N, M, d, d] and the last state.
    """

    @staticmethod
    def forward(ctx, w, y, k, e, s0):
        n = w.shape[0]
        s = s0
        us = torch.empty_like(w)
        ss = torch.empty((n, *s0.shape), dtype=w.dtype)
        for c in range(n):
            ss[c] = s
            torch.baddbmm(w[c], y[c], ss[c], alpha=-1, out=us[c])
            s = s * e[c][:, None, None] + torch.bmm(k[c].transpose(1, 2), us[c]).float()
        ctx.save_for_backward(y, k, e, us, ss)
        return us, ss, s

    @staticmethod
    def backward(ctx, gu, gs, _):
        y, k, e, us, ss = ctx.saved_tensors
        n = y.shape[0]
        ds = torch.zeros(ss.shape[1:], dtype=torch.float32)
        dall = torch.empty_like(ss)
        du = torch.empty_like(us)
        de = torch.empty_like(e)
        for c in range(n - 1, -1, -1):
            dall[c] = ds
            torch.baddbmm(gu[c], k[c], dall[c], out=du[c])
            if c:
                de[c] = (ss[c].float() * ds).sum((1, 2))
                ds = ds * e[c][:, None, None] + torch.baddbmm(gs[c], y[c].transpose(1, 2), du[c], alpha=-1).float()
            else:
                de[c] = 0
        dk = us @ dall.transpose(-1, -2)
        dy = -(du @ ss.transpose(-1, -2))
        return du, dy, dk, de, None


def chunk_prepare(q, k, v, beta, g, n: int):
    """State-independent quantities of every chunk of length n.

    q, k [B, T, Hk, d] float32 normalised (q scaled), v [B, T, Hv, d], beta, g [B, T, Hv] float32.
    Returns W, Y, K', Q', P [N, B*Hv, n, .] in the type of v and e [N, B*Hv] float32.
    """
    b, t, hk, d = q.shape
    hv = v.shape[2]
    r = hv // hk
    m = t // n
    dt = v.dtype

    def split(x):  # [B, T, h, d] -> [N, B, h, n, d]
        return x.reshape(b, m, n, x.shape[2], -1).permute(1, 0, 3, 2, 4)

    q, k, v = split(q), split(k), split(v)
    beta, g = split(beta[..., None]), split(g[..., None])
    gc = g.cumsum(-2)  # [N, B, Hv, n, 1]
    low = torch.ones(n, n, dtype=torch.bool).tril()
    dec = (gc - gc.transpose(-1, -2)).masked_fill(~low, -math.inf).exp()
    qb, kb = q.to(dt), k.to(dt)
    kk = (kb @ kb.transpose(-1, -2)).float().repeat(1, 1, r, 1, 1)
    qk = (qb @ kb.transpose(-1, -2)).float().repeat(1, 1, r, 1, 1)
    a = (kk * dec * beta).tril(-1)
    p = (qk * dec).to(dt)
    inv = UnitLowerInverse.apply(a).to(dt)
    kr, qr = k.repeat(1, 1, r, 1, 1), q.repeat(1, 1, r, 1, 1)
    eg = gc.exp()
    w = inv @ (v.float() * beta).to(dt)
    y = inv @ (kr * (beta * eg)).to(dt)
    last = gc[..., -1:, :]
    kd = (kr * (last - gc).exp()).to(dt)
    qg = (qr * eg).to(dt)
    flat = lambda x: x.reshape(m, b * hv, *x.shape[3:])
    return flat(w), flat(y), flat(kd), flat(qg), flat(p), last.exp().reshape(m, b * hv)


def delta_chunked(q, k, v, beta, g, s0, n: int):
    """Gated delta rule over T tokens (T a multiple of n) from state s0 [B*Hv, d, d]; returns o [B, T, Hv, d], state."""
    b, t, hv, d = v.shape
    w, y, kd, qg, p, e = chunk_prepare(q, k, v, beta, g, n)
    u, s, last = Scan.apply(w, y, kd, e, s0)
    o = qg @ s + p @ u
    return o.reshape(t // n, b, hv, n, d).permute(1, 0, 3, 2, 4).reshape(b, t, hv, d), last


def delta_recurrent(q, k, v, beta, g, s):
    """The same, one token at a time, in the order decay, read, write, output (float reference of the step)."""
    b, t, hk, d = q.shape
    hv = v.shape[2]
    s = s.reshape(b, hv, d, d)
    r = hv // hk
    out = []
    for i in range(t):
        ki, qi = k[:, i].repeat(1, r, 1), q[:, i].repeat(1, r, 1)
        s = s * g[:, i].exp()[..., None, None]
        u = beta[:, i][..., None] * (v[:, i] - torch.einsum("bhkv,bhk->bhv", s, ki))
        s = s + ki[..., None] * u[..., None, :]
        out.append(torch.einsum("bhkv,bhk->bhv", s, qi))
    return torch.stack(out, 1), s.reshape(b * hv, d, d)


class Ffn(nn.Module):
    """SwiGLU: W_down(silu(W_gate x) * W_up x)."""

    def __init__(self, c: Config):
        super().__init__()
        self.gate = mat(c.ff, c.hidden)
        self.up = mat(c.ff, c.hidden)
        self.down = mat(c.hidden, c.ff, zero=True)

    def forward(self, x):
        return linear(F.silu(linear(x, self.gate)) * linear(x, self.up), self.down)


def mat(rows: int, cols: int, zero: bool = False) -> nn.Parameter:
    """A matrix parameter [rows, cols]; outputs to the residual stream start at zero."""
    return nn.Parameter(torch.zeros(rows, cols) if zero else torch.randn(rows, cols) * cols**-0.5)


class DeltaNet(nn.Module):
    """A Gated DeltaNet mixer."""

    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        d, hk, hv = c.linear_dim, c.key_heads, c.value_heads
        self.channels = (2 * hk + hv) * d
        self.qkv = mat(self.channels, c.hidden)
        self.z = mat(hv * d, c.hidden)
        self.alpha = mat(hv, c.hidden)
        self.beta = mat(hv, c.hidden)
        self.a_log = nn.Parameter(torch.linspace(0.5, 8, hv).log())
        dt = torch.exp(torch.linspace(math.log(0.002), math.log(0.05), hv))
        self.dt = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        w = torch.randn(self.channels, c.conv) * 0.2
        w[:, -1] += 0.7
        self.conv = nn.Parameter(w)
        self.norm = nn.Parameter(torch.ones(d))
        self.out = mat(c.hidden, hv * d, zero=True)

    def project(self, x, hist):
        """Projections, convolution and gates; hist [B, conv-1, C] are the raw vectors before x (or None)."""
        c = self.c
        b, t, _ = x.shape
        d, hk, hv = c.linear_dim, c.key_heads, c.value_heads
        m = linear(x, self.qkv)
        full = F.pad(m, (0, 0, c.conv - 1, 0)) if hist is None else torch.cat([hist, m], 1)
        taps = self.conv.to(x.dtype).unbind(1)
        acc = full[:, :t] * taps[0]
        for j in range(1, c.conv):
            acc = torch.addcmul(acc, full[:, j : j + t], taps[j])
        y = F.silu(acc)
        q = l2(y[..., : hk * d].reshape(b, t, hk, d)) * d**-0.5
        k = l2(y[..., hk * d : 2 * hk * d].reshape(b, t, hk, d))
        v = y[..., 2 * hk * d :].reshape(b, t, hv, d).to(x.dtype)
        beta = torch.sigmoid(linear(x, self.beta).float())
        g = -self.a_log.exp() * F.softplus(linear(x, self.alpha).float() + self.dt)
        return q, k, v, beta, g, linear(x, self.z), full[:, -(c.conv - 1) :]

    def finish(self, o, z):
        """RMS over each head, times silu(z), and the output projection."""
        b, t = z.shape[:2]
        o = rms(o, self.norm) * F.silu(z.reshape(o.shape))
        return linear(o.reshape(b, t, -1), self.out)

    def forward(self, x, n: int):
        q, k, v, beta, g, z, _ = self.project(x, None)
        b, _, hv, d = v.shape
        o, _ = delta_chunked(q, k, v, beta, g, torch.zeros(b * hv, d, d), n)
        return self.finish(o, z)


class Attention(nn.Module):
    """Gated full attention with partial rotary embedding."""

    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        self.q = mat(c.heads * 2 * c.head_dim, c.hidden)
        self.k = mat(c.kv_heads * c.head_dim, c.hidden)
        self.v = mat(c.kv_heads * c.head_dim, c.hidden)
        self.o = mat(c.hidden, c.heads * c.head_dim, zero=True)
        self.q_norm = nn.Parameter(torch.ones(c.head_dim))
        self.k_norm = nn.Parameter(torch.ones(c.head_dim))

    def forward(self, x, rope, past=None, pad=None):
        """past = (k, v) [B, nkv, S, d] to attend to as well; returns the output and the extended (k, v).

        pad [B]: so many leading positions of each row are padding and are not attended to (but by themselves).
        """
        c = self.c
        b, t, _ = x.shape
        q, gate = linear(x, self.q).reshape(b, t, c.heads, 2 * c.head_dim).split(c.head_dim, -1)
        k = linear(x, self.k).reshape(b, t, c.kv_heads, c.head_dim)
        v = linear(x, self.v).reshape(b, t, c.kv_heads, c.head_dim).transpose(1, 2)
        q = rotate(rms(q, self.q_norm), rope, c.rotary).transpose(1, 2)
        k = rotate(rms(k, self.k_norm), rope, c.rotary).transpose(1, 2)
        mask = None
        if past is not None:
            s = past[0].shape[2]
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
            mask = torch.arange(s + t)[None] <= torch.arange(s, s + t)[:, None]
        if pad is not None:
            s = k.shape[2] - t
            i, j = torch.arange(s, s + t)[:, None], torch.arange(s + t)[None]
            mask = ((j <= i) & (j >= pad[:, None, None]) | (i == j))[:, None]
        r = c.heads // c.kv_heads
        kr, vr = (u.repeat_interleave(r, 1) for u in (k, v))
        o = causal(q, kr, vr, mask)
        o = o.transpose(1, 2) * torch.sigmoid(gate)
        return linear(o.reshape(b, t, -1), self.o), (k, v)


def causal(q, k, v, mask):
    """Softmax attention, causal if mask is None; short sequences by plain products (faster here)."""
    t, scale = q.shape[2], q.shape[3] ** -0.5
    if mask is not None or t > 768:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale)
    s = (q @ k.transpose(-1, -2)).float() * scale
    s = s.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), -math.inf)
    return s.softmax(-1).to(v.dtype) @ v


def rope_table(pos: Tensor, c: Config) -> tuple[Tensor, Tensor]:
    """cos, sin [B, T, 1, rotary/2] for positions [3, B, T]: pair j uses axis j % 3 (interleaved M-RoPE)."""
    half = c.rotary // 2
    inv = c.rope_base ** (-torch.arange(half, dtype=torch.float64) / half)
    axis = torch.arange(half) % 3
    for ax in (1, 2):
        axis[(axis == ax) & (torch.arange(half) >= 3 * c.sections[ax])] = 0
    ang = (pos.double()[axis].permute(1, 2, 0) * inv).float()[:, :, None]
    return ang.cos(), ang.sin()


def rotate(x, rope, rotary: int):
    """Rotate pairs (j, j + rotary/2) of the first `rotary` dims of x [B, T, h, d]."""
    cos, sin = rope
    h = rotary // 2
    a, b, rest = x[..., :h].float(), x[..., h:rotary].float(), x[..., rotary:]
    return torch.cat([(a * cos - b * sin).to(x.dtype), (b * cos + a * sin).to(x.dtype), rest], -1)


class Block(nn.Module):
    """Pre-norm decoder block with either mixer."""

    def __init__(self, c: Config, full: bool):
        super().__init__()
        self.attn_norm = nn.Parameter(torch.ones(c.hidden))
        self.post_norm = nn.Parameter(torch.ones(c.hidden))
        self.mix = Attention(c) if full else DeltaNet(c)
        self.ffn = Ffn(c)
        self.full = full

    def forward(self, x, rope, n: int, at=None):
        """The block over whole rows x [B, T, H]; with a mask `at` [B, T] only those places are finished [places, H]."""
        h = rms(x, self.attn_norm)
        x = x + (self.mix(h, rope)[0] if self.full else self.mix(h, n))
        if at is not None:
            x = x[at]
        return x + self.ffn(rms(x, self.post_norm))

    def step(self, x, rope, cache, pad=None):
        """The block over new tokens with its cache ((k, v) or (conv history, state)); returns x and the new cache."""
        h = rms(x, self.attn_norm)
        if self.full:
            y, cache = self.mix(h, rope, cache, pad)
        else:
            hist, s = cache if cache is not None else (None, None)
            q, k, v, beta, g, z, hist = self.mix.project(h, hist)
            b, t, hv, d = v.shape
            s = torch.zeros(b * hv, d, d) if s is None else s
            if t == 1:
                o, s = delta_recurrent(q, k, v, beta, g, s)
            else:
                pad = -t % 64
                z4, z3 = (0, 0, 0, 0, 0, pad), (0, 0, 0, pad)
                o, s = delta_chunked(F.pad(q, z4), F.pad(k, z4), F.pad(v, z4), F.pad(beta, z3), F.pad(g, z3), s, 64)
                o = o[:, :t]
            y, cache = self.mix.finish(o, z), (hist, s)
        x = x + y
        return x + self.ffn(rms(x, self.post_norm)), cache


class Mtp(nn.Module):
    """The multi-token-prediction block: [RMS(emb) ; RMS(hidden)] -> projection -> full-attention block."""

    def __init__(self, c: Config):
        super().__init__()
        self.eh = mat(c.hidden, 2 * c.hidden)
        self.enorm = nn.Parameter(torch.ones(c.hidden))
        self.hnorm = nn.Parameter(torch.ones(c.hidden))
        self.head_norm = nn.Parameter(torch.ones(c.hidden))
        self.block = Block(c, True)

    def join(self, emb, hidden):
        """The input of the block, embedding half first."""
        return linear(torch.cat([rms(emb, self.enorm), rms(hidden, self.hnorm)], -1), self.eh)

    def forward(self, emb, hidden, rope, at=None):
        return rms(self.block(self.join(emb, hidden), rope, 0, at), self.head_norm)


class Text(nn.Module):
    """Trunk, tied head and MTP block."""

    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        self.embd = nn.Parameter(torch.randn(c.vocab, c.hidden) * 0.05)
        self.blocks = nn.ModuleList(Block(c, c.is_full(i)) for i in range(c.layers))
        self.norm = nn.Parameter(torch.ones(c.hidden))
        self.mtp = Mtp(c)

    def trunk(self, x, rope, n: int = 64, at=None):
        """Hidden states after the final norm for input embeddings x [B, T, H], T a multiple of n.

        With a mask `at` [B, T] only of those places, [places, H].
        """
        for b in self.blocks[:-1]:
            x = b(x, rope, n)
        return rms(self.blocks[-1](x, rope, n, at), self.norm)

    def logits(self, y):
        """Tied head, float32 out."""
        return linear(y, self.embd).float()

    def extend(self, x, rope, cache, pad=None):
        """Incremental form over new embeddings x; cache is a list (or None). Returns hidden (normed) and cache.

        Rows of different lengths are padded on the left with zero vectors, `pad` [B] of them: DeltaNet layers have
        no biases, so zeros leave their states at zero, and attention masks them.
        """
        cache = cache or [None] * self.c.layers
        out = []
        for b, k in zip(self.blocks, cache):
            x, k = b.step(x, rope, k, pad)
            out.append(k)
        return rms(x, self.norm), out


class VisionBlock(nn.Module):
    """Pre-norm transformer block of the tower with 2-D rotary embedding."""

    def __init__(self, c: Config):
        super().__init__()
        self.heads = c.v_heads
        h = c.v_hidden
        self.ln1, self.ln2 = nn.LayerNorm(h, EPS), nn.LayerNorm(h, EPS)
        self.qkv, self.proj = nn.Linear(h, 3 * h), nn.Linear(h, h)
        self.fc1, self.fc2 = nn.Linear(h, c.v_ff), nn.Linear(c.v_ff, h)
        for m in (self.qkv, self.proj, self.fc1, self.fc2):
            nn.init.zeros_(m.bias)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.fc2.weight)

    def forward(self, x, rope):
        b, n, h = x.shape
        q, k, v = lin(self.ln_(self.ln1, x), self.qkv).reshape(b, n, 3, self.heads, -1).unbind(2)
        d = q.shape[-1]
        q, k = rotate(q, rope, d).transpose(1, 2), rotate(k, rope, d).transpose(1, 2)
        o = F.scaled_dot_product_attention(q, k, v.transpose(1, 2), scale=d**-0.5)
        x = x + lin(o.transpose(1, 2).reshape(b, n, h), self.proj)
        return x + lin(F.gelu(lin(self.ln_(self.ln2, x), self.fc1), approximate="tanh"), self.fc2)

    @staticmethod
    def ln_(m, x):
        return F.layer_norm(x.float(), m.normalized_shape, m.weight, m.bias, EPS).to(x.dtype)


def lin(x, m: nn.Linear):
    """nn.Linear with float32 weights cast to the type of x."""
    return F.linear(x, m.weight.to(x.dtype), m.bias.to(x.dtype))


class Vision(nn.Module):
    """The vision tower for still images: patches -> blocks -> merger."""

    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        h = c.v_hidden
        self.patch = nn.Parameter(torch.randn(h, 3, c.patch, c.patch) * (3 * c.patch**2) ** -0.5)
        self.patch1 = nn.Parameter(torch.zeros(h, 3, c.patch, c.patch))
        self.patch_bias = nn.Parameter(torch.zeros(h))
        self.pos = nn.Parameter(torch.randn(c.v_grid**2, h) * 0.02)
        self.blocks = nn.ModuleList(VisionBlock(c) for _ in range(c.v_layers))
        self.post = nn.LayerNorm(h, EPS)
        self.fc1, self.fc2 = nn.Linear(4 * h, 4 * h), nn.Linear(4 * h, c.hidden)

    def forward(self, px, gh: int, gw: int):
        """px [B, gh*gw, 3, 16, 16] in block order of 2x2 -> [B, gh*gw/4, H]."""
        c = self.c
        b, n = px.shape[:2]
        rc = grid_coords(gh, gw)
        w = (self.patch + self.patch1).reshape(c.v_hidden, -1).to(px.dtype)
        x = F.linear(px.reshape(b, n, -1), w, self.patch_bias.to(px.dtype)) + self.positions(rc, gh, gw).to(px.dtype)
        d = c.v_hidden // c.v_heads
        inv = 10000.0 ** (-torch.arange(d // 4) * 2 / (d / 2))
        ang = torch.cat([rc[:, :1] * inv, rc[:, 1:] * inv], 1)[None, :, None]
        rope = (ang.cos(), ang.sin())
        for blk in self.blocks:
            x = blk(x, rope)
        x = VisionBlock.ln_(self.post, x).reshape(b, n // 4, -1)
        return lin(F.gelu(lin(x, self.fc1)), self.fc2)

    def positions(self, rc, gh, gw):
        """Learned position table resampled bilinearly (corners aligned) at patch coordinates rc [N, 2]."""
        s = self.c.v_grid
        ax = []
        for i, n in ((0, gh), (1, gw)):
            u = rc[:, i].double() * ((s - 1) / (n - 1) if n > 1 else 0.0)
            lo = u.floor().long()
            ax.append((lo, (lo + 1).clamp(max=s - 1), (u - lo).float()))
        (r0, r1, fr), (c0, c1, fc) = ax
        p = lambda r, q, w: self.pos[r * s + q] * w[:, None]
        return p(r0, c0, (1 - fr) * (1 - fc)) + p(r0, c1, (1 - fr) * fc) + p(r1, c0, fr * (1 - fc)) + p(r1, c1, fr * fc)


def grid_coords(gh: int, gw: int) -> Tensor:
    """(row, col) of each patch in the order of 2x2 blocks, [gh*gw, 2] float32."""
    r = torch.arange(gh).reshape(gh // 2, 1, 2, 1).expand(gh // 2, gw // 2, 2, 2)
    q = torch.arange(gw).reshape(1, gw // 2, 1, 2).expand(gh // 2, gw // 2, 2, 2)
    return torch.stack([r.reshape(-1), q.reshape(-1)], 1).float()


def patchify(img: Tensor) -> Tensor:
    """Bytes [B, Hp, Wp, 3] (multiples of 32) -> normalised patches [B, gh*gw, 3, 16, 16] in block order."""
    b, hp, wp, _ = img.shape
    x = img.float() / 127.5 - 1
    x = x.reshape(b, hp // 32, 2, 16, wp // 32, 2, 16, 3).permute(0, 1, 4, 2, 5, 7, 3, 6)
    return x.reshape(b, -1, 3, 16, 16)
