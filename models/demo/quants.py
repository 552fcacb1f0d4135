"""Quantisers for Q8_0, Q4_K and Q6_K in numpy. Layouts are those of the GGUF format; rows are multiples of 256."""

from __future__ import annotations

import numpy as np


def q8_0(x: np.ndarray) -> np.ndarray:
    """Rows [.., n] -> bytes [.., n/32*34]: d = max|x|/127 (f16), 32 signed bytes."""
    b = x.reshape(-1, 32).astype(np.float32)
    d = np.abs(b).max(1, keepdims=True) / 127
    q = np.rint(np.divide(b, d, out=np.zeros_like(b), where=d > 0)).astype(np.int8)
    out = np.concatenate([d.astype(np.float16).view(np.uint8), q.view(np.uint8)], 1)
    return out.reshape(*x.shape[:-1], -1)


def q6_k(x: np.ndarray) -> np.ndarray:
    """Rows [.., n] -> bytes [.., n/256*210]; 16 signed scales per block, each found by trying 19 step sizes."""
    b = x.reshape(-1, 16, 16).astype(np.float32)
    best, scale = np.full(b.shape[:2], -1.0, np.float32), np.zeros(b.shape[:2], np.float32)
    peak = np.take_along_axis(b, np.abs(b).argmax(2, keepdims=True), 2)[..., 0]
    safe = np.where(peak == 0, 1, peak)
    for i in range(-9, 10):
        q = np.clip(np.rint(b * (-(32 + 0.1 * i) / safe)[..., None]), -32, 31)
        w = b * b
        num, den = (w * b * q).sum(2), (w * q * q).sum(2)
        gain = np.where(den > 0, num * num / np.maximum(den, 1e-30), 0)
        take = gain > best
        best = np.where(take, gain, best)
        scale = np.where(take, num / np.maximum(den, 1e-30), scale)
    scale = np.where(peak == 0, 0, scale)
    top = np.take_along_axis(scale, np.abs(scale).argmax(1, keepdims=True), 1)
    d = (-top / 128).astype(np.float16)
    df = d.astype(np.float32)
    sc = np.clip(np.rint(np.divide(scale, df, out=np.zeros_like(scale), where=df != 0)), -128, 127)
    step = (df * sc)[..., None]
    q = np.clip(np.rint(np.divide(b, step, out=np.zeros_like(b), where=step != 0)), -32, 31).astype(np.int32) + 32
    q = q.reshape(-1, 2, 4, 32)  # n, r, l
    lo, hi = q & 15, q >> 4
    ql = np.stack([lo[:, :, 0] | lo[:, :, 2] << 4, lo[:, :, 1] | lo[:, :, 3] << 4], 2).reshape(-1, 128)
    qh = (hi[:, :, 0] | hi[:, :, 1] << 2 | hi[:, :, 2] << 4 | hi[:, :, 3] << 6).reshape(-1, 64)
    out = np.concatenate([ql.astype(np.uint8), qh.astype(np.uint8), sc.astype(np.int8).view(np.uint8),
                          d.view(np.uint8)], 1)
    return out.reshape(*x.shape[:-1], -1)


def q4_k(x: np.ndarray) -> np.ndarray:
    """Rows [.., n] -> bytes [.., n/256*144]; 8 scales and minima of 6 bits per block, found by least squares."""
    b = x.reshape(-1, 8, 32).astype(np.float32)
    w = np.sqrt((b * b).mean(2, keepdims=True)) + np.abs(b)
    lo, hi = np.minimum(b.min(2), 0), b.max(2)
    best = np.full(b.shape[:2], np.inf, np.float32)
    scale, low = np.zeros(b.shape[:2], np.float32), np.zeros(b.shape[:2], np.float32)
    span = np.where(hi > lo, hi - lo, 1)
    for i in range(-1, 21):
        s = (15 - 1 + 0.1 * i) / span
        q = np.clip(np.rint((b - lo[..., None]) * s[..., None]), 0, 15)
        sw, sq, sqq = w.sum(2), (w * q).sum(2), (w * q * q).sum(2)
        sx, sxq = (w * b).sum(2), (w * b * q).sum(2)
        det = sw * sqq - sq * sq
        ok = det > 0
        det = np.where(ok, det, 1)
        a, m = (sw * sxq - sx * sq) / det, (sqq * sx - sq * sxq) / det
        pos = m > 0
        a = np.where(pos, sxq / np.maximum(sqq, 1e-30), a)
        m = np.where(pos, 0, m)
        err = (w * (a[..., None] * q + m[..., None] - b) ** 2).sum(2)
        take = ok & (err < best) & (a > 0)
        best, scale, low = np.where(take, err, best), np.where(take, a, scale), np.where(take, m, low)
    mins = -low
    d, dm = (scale.max(1, keepdims=True) / 63).astype(np.float16), (mins.max(1, keepdims=True) / 63).astype(np.float16)
    div = lambda u, v: np.divide(u, v, out=np.zeros_like(u), where=v != 0)
    sc = np.clip(np.rint(div(scale, d.astype(np.float32))), 0, 63).astype(np.int32)
    mn = np.clip(np.rint(div(mins, dm.astype(np.float32))), 0, 63).astype(np.int32)
    step, off = d.astype(np.float32) * sc, dm.astype(np.float32) * mn
    q = np.clip(np.rint(div(b + off[..., None], np.broadcast_to(step[..., None], b.shape))), 0, 15).astype(np.int32)
    s = np.zeros((len(b), 12), np.int32)
    s[:, 0:4], s[:, 4:8] = sc[:, :4] | (sc[:, 4:] >> 4) << 6, mn[:, :4] | (mn[:, 4:] >> 4) << 6
    s[:, 8:12] = (sc[:, 4:] & 15) | (mn[:, 4:] & 15) << 4
    q = q.reshape(-1, 4, 2, 32)
    qs = (q[:, :, 0] | q[:, :, 1] << 4).reshape(-1, 128)
    out = np.concatenate([d.view(np.uint8), dm.view(np.uint8), s.astype(np.uint8), qs.astype(np.uint8)], 1)
    return out.reshape(*x.shape[:-1], -1)
