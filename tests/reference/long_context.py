"""Reference values for positions a short test never reaches: up to 262,143, and to 1,010,000 with YaRN.

Writes, beside itself:
  long_context.gguf   a random model of four layers (three of Gated DeltaNet, one of attention) and 64 tokens, F32
  long_context.json   logits at chosen positions of one fixed token sequence, and YaRN frequencies

The arithmetic is float64 numpy, straight from the papers' formulas; only what the program stores in half precision (keys
and values) and the rotary angles (float32, as the published model computes them) are rounded. The attention layer is
the last one, so that its output is needed at the chosen positions alone; a run takes about two minutes.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python long_context.py
"""

import json
import math
import pathlib
import struct

import numpy as np

HERE = pathlib.Path(__file__).parent
LAYERS, EMBD, FF, VOCAB = 4, 32, 64, 64
HEADS, KV_HEADS, HEAD = 2, 1, 32
ROT, BASE, SECTIONS = 16, 1e7, [3, 3, 2, 0]
K_HEADS, V_HEADS, STATE, TAPS = 1, 2, 32, 4
EPS = 1e-6
TRAINED = 262_144
KEY_DIM, VALUE_DIM = K_HEADS * STATE, V_HEADS * STATE
CHANNELS = 2 * KEY_DIM + VALUE_DIM


# --- weights -------------------------------------------------------------------------------------------------------
def make_weights():
    """Tensors in row-major order, slowest dimension first, as float32."""
    rng = np.random.default_rng(20_262_143)

    def matrix(rows, cols, gain=1.0):
        return (rng.standard_normal((rows, cols)) * gain / math.sqrt(cols)).astype(np.float32)

    def near_one(n):
        return (1 + 0.1 * rng.standard_normal(n)).astype(np.float32)

    w = {"token_embd.weight": matrix(VOCAB, EMBD, math.sqrt(EMBD)), "output_norm.weight": near_one(EMBD)}
    w["output.weight"] = matrix(VOCAB, EMBD, 2.0)
    for i in range(LAYERS):
        b = f"blk.{i}."
        w[b + "attn_norm.weight"] = near_one(EMBD)
        w[b + "post_attention_norm.weight"] = near_one(EMBD)
        w[b + "ffn_gate.weight"] = matrix(FF, EMBD)
        w[b + "ffn_up.weight"] = matrix(FF, EMBD)
        w[b + "ffn_down.weight"] = matrix(EMBD, FF)
        if i < LAYERS - 1:
            w[b + "attn_qkv.weight"] = matrix(CHANNELS, EMBD)
            w[b + "attn_gate.weight"] = matrix(VALUE_DIM, EMBD)
            w[b + "ssm_alpha.weight"] = matrix(V_HEADS, EMBD)
            w[b + "ssm_beta.weight"] = matrix(V_HEADS, EMBD)
            # One head forgets within a few tokens, the other keeps thousands of them.
            w[b + "ssm_a"] = np.array([-0.5, -0.0004], np.float32)
            w[b + "ssm_dt.bias"] = rng.standard_normal(V_HEADS).astype(np.float32)
            w[b + "ssm_conv1d.weight"] = (rng.standard_normal((CHANNELS, TAPS)) * 0.7).astype(np.float32)
            w[b + "ssm_norm.weight"] = near_one(STATE)
            w[b + "ssm_out.weight"] = matrix(EMBD, VALUE_DIM)
        else:
            w[b + "attn_q.weight"] = matrix(2 * HEADS * HEAD, EMBD)
            w[b + "attn_k.weight"] = matrix(KV_HEADS * HEAD, EMBD)
            w[b + "attn_v.weight"] = matrix(KV_HEADS * HEAD, EMBD)
            # Long queries and keys: the softmax picks a few of the many positions, so each of them matters.
            w[b + "attn_q_norm.weight"] = 2 * near_one(HEAD)
            w[b + "attn_k_norm.weight"] = 2 * near_one(HEAD)
            w[b + "attn_output.weight"] = matrix(EMBD, HEADS * HEAD, 2.0)
    return w


def write_gguf(path, tensors):
    """A version 3 file with the keys of the architecture; no vocabulary."""
    uint32, int32, float32, string, array = 4, 5, 6, 8, 9

    def text(s):
        return struct.pack("<Q", len(s)) + s.encode()

    def uint(v):
        return struct.pack("<II", uint32, v)

    def real(v):
        return struct.pack("<If", float32, v)

    keys = {
        "general.architecture": struct.pack("<I", string) + text("qwen35"),
        "general.name": struct.pack("<I", string) + text("random weights for a test of long contexts"),
        "qwen35.block_count": uint(LAYERS),
        "qwen35.context_length": uint(TRAINED),
        "qwen35.embedding_length": uint(EMBD),
        "qwen35.feed_forward_length": uint(FF),
        "qwen35.attention.head_count": uint(HEADS),
        "qwen35.attention.head_count_kv": uint(KV_HEADS),
        "qwen35.attention.key_length": uint(HEAD),
        "qwen35.attention.value_length": uint(HEAD),
        "qwen35.attention.layer_norm_rms_epsilon": real(EPS),
        "qwen35.full_attention_interval": uint(LAYERS),
        "qwen35.rope.dimension_count": uint(ROT),
        "qwen35.rope.freq_base": real(BASE),
        "qwen35.rope.dimension_sections": struct.pack("<IIQ4i", array, int32, 4, *SECTIONS),
        "qwen35.ssm.conv_kernel": uint(TAPS),
        "qwen35.ssm.state_size": uint(STATE),
        "qwen35.ssm.group_count": uint(K_HEADS),
        "qwen35.ssm.time_step_rank": uint(V_HEADS),
        "qwen35.ssm.inner_size": uint(VALUE_DIM),
    }
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(text(k) + v for k, v in keys.items())
    offset, data = 0, b""
    for name, t in tensors.items():
        head += text(name) + struct.pack("<I", t.ndim) + struct.pack(f"<{t.ndim}Q", *reversed(t.shape))
        head += struct.pack("<IQ", 0, offset)
        padded = t.tobytes() + b"\0" * (-t.nbytes % 32)
        data += padded
        offset += len(padded)
    path.write_bytes(head + b"\0" * (-len(head) % 32) + data)


# --- the model -----------------------------------------------------------------------------------------------------
def token_ids(n):
    """A fixed sequence that tests can make too: the high bits of a linear congruence."""
    ids, x = np.empty(n, np.int64), 1
    for i in range(n):
        x = (x * 1_103_515_245 + 12_345) & 0x7FFF_FFFF
        ids[i] = (x >> 16) % VOCAB
    return ids


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def rms(x, w):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * w


def l2(x):
    return x / np.sqrt((x * x).sum(-1, keepdims=True) + EPS)


def deltanet(h, w):
    """Token by token over `h [T, EMBD]`, in the order the paper gives; value head p reads key head p mod K_HEADS."""
    n = len(h)
    mixed = h @ w["attn_qkv.weight"].T
    padded = np.vstack([np.zeros((TAPS - 1, CHANNELS)), mixed])
    conv = silu(sum(padded[j : j + n] * w["ssm_conv1d.weight"][:, j] for j in range(TAPS)))
    q = l2(conv[:, :KEY_DIM].reshape(n, K_HEADS, STATE)) / math.sqrt(STATE)
    k = l2(conv[:, KEY_DIM : 2 * KEY_DIM].reshape(n, K_HEADS, STATE))
    v = conv[:, 2 * KEY_DIM :].reshape(n, V_HEADS, STATE)
    q, k = (x[:, np.arange(V_HEADS) % K_HEADS] for x in (q, k))
    beta = sigmoid(h @ w["ssm_beta.weight"].T)
    decay = np.exp(w["ssm_a"] * np.logaddexp(0, h @ w["ssm_alpha.weight"].T + w["ssm_dt.bias"]))

    state = np.zeros((V_HEADS, STATE, STATE))  # key index, then value index
    out = np.empty((n, V_HEADS, STATE))
    for t in range(n):
        state *= decay[t, :, None, None]
        read = np.matmul(k[t, :, None, :], state)[:, 0]
        update = beta[t, :, None] * (v[t] - read)
        state += k[t, :, :, None] * update[:, None, :]
        out[t] = np.matmul(q[t, :, None, :], state)[:, 0]
    z = (h @ w["attn_gate.weight"].T).reshape(n, V_HEADS, STATE)
    out = rms(out, w["ssm_norm.weight"]) * silu(z)
    return out.reshape(n, VALUE_DIM) @ w["ssm_out.weight"].T


def yarn_frequencies(rot, base, factor, trained, beta_fast=32.0, beta_slow=1.0):
    """Frequencies and magnitude: a blend of the ladder itself and the ladder slowed down by `factor`."""
    ladder = 1 / base ** (np.arange(0, rot, 2) / rot)
    if factor == 1:
        return ladder, 1.0

    # The index at which the ladder makes so many turns, as a real number.
    def index(n_turns):
        return rot / 2 * math.log(trained / (2 * math.pi * n_turns)) / math.log(base)

    first = max(math.floor(index(beta_fast)), 0)
    last = min(math.ceil(index(beta_slow)), rot - 1)
    slow = np.clip((np.arange(rot // 2) - first) / max(last - first, 0.001), 0, 1)
    return ladder * (1 - slow) + ladder / factor * slow, 1 + 0.1 * math.log(factor)


def rotate(x, positions, frequencies, magnitude):
    """Pairs (j, j + ROT/2) of the first ROT values of `x [T, heads, HEAD]`."""
    angle = (positions[:, None].astype(np.float32) * frequencies.astype(np.float32)).astype(np.float64)
    cos, sin = (f(angle)[:, None, :] * magnitude for f in (np.cos, np.sin))
    a, b, rest = x[..., : ROT // 2], x[..., ROT // 2 : ROT], x[..., ROT:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], -1)


def attention(h, w, start, chosen, factor):
    """Output at the `chosen` rows of `h [T, EMBD]`, whose first row is at position `start`."""
    n = len(h)
    frequencies, magnitude = yarn_frequencies(ROT, BASE, factor, TRAINED)
    positions = np.arange(start, start + n)
    k = rms((h @ w["attn_k.weight"].T).reshape(n, KV_HEADS, HEAD), w["attn_k_norm.weight"])
    k = rotate(k, positions, frequencies, magnitude)
    v = (h @ w["attn_v.weight"].T).reshape(n, KV_HEADS, HEAD)
    k, v = (x.astype(np.float32).astype(np.float16).astype(np.float64) for x in (k, v))
    query_gate = (h[chosen] @ w["attn_q.weight"].T).reshape(-1, HEADS, 2 * HEAD)
    q = rms(query_gate[..., :HEAD], w["attn_q_norm.weight"])
    q = rotate(q, positions[chosen], frequencies, magnitude)
    out = np.empty((len(chosen), HEADS, HEAD))
    for row, t in enumerate(chosen):
        for head in range(HEADS):
            kv_head = head // (HEADS // KV_HEADS)
            score = k[: t + 1, kv_head] @ q[row, head] / math.sqrt(HEAD)
            weight = np.exp(score - score.max())
            out[row, head] = weight @ v[: t + 1, kv_head] / weight.sum()
    out *= sigmoid(query_gate[..., HEAD:])
    return out.reshape(len(chosen), HEADS * HEAD) @ w["attn_output.weight"].T


def logits(x, weights, start, chosen, factor):
    """From the input `x [T, EMBD]` of the last layer to the logits at `chosen`."""
    w = block(weights, LAYERS - 1)
    y = x[chosen] + attention(rms(x, w["attn_norm.weight"]), w, start, chosen, factor)
    y += feed_forward(rms(y, w["post_attention_norm.weight"]), w)
    return rms(y, weights["output_norm.weight"]) @ weights["output.weight"].T


def feed_forward(h, w):
    return (silu(h @ w["ffn_gate.weight"].T) * (h @ w["ffn_up.weight"].T)) @ w["ffn_down.weight"].T


def block(weights, i):
    prefix = f"blk.{i}."
    return {name[len(prefix) :]: t for name, t in weights.items() if name.startswith(prefix)}


def main():
    stored = make_weights()
    write_gguf(HERE / "long_context.gguf", stored)
    weights = {name: t.astype(np.float64) for name, t in stored.items()}

    x = weights["token_embd.weight"][token_ids(TRAINED)]
    for i in range(LAYERS - 1):
        w = block(weights, i)
        x = x + deltanet(rms(x, w["attn_norm.weight"]), w)
        x = x + feed_forward(rms(x, w["post_attention_norm.weight"]), w)

    cases = []
    short = [0, 1, 62, 63, 64, 65, 511, 512, 513, 2047]
    long = [4095, 4096, 8191, 65_535, 131_072, 200_003, 262_142, 262_143]
    for name, start, n, chosen, factor in [
        ("from the start", 0, TRAINED, short + long, 1),
        ("at the end of the trained context", TRAINED - 2048, 2048, short, 1),
        ("YaRN 4 from the start", 0, TRAINED, short + long, 4),
        ("YaRN 4 at the end of its context", 1_010_000 - 2048, 2048, short, 4),
    ]:
        rows = logits(x[:n], weights, start, chosen, factor)
        cases.append({
            "name": name, "start": start, "yarn": factor, "at": chosen,
            "logits": [[float(f"{v:.6f}") for v in row] for row in rows],
        })

    ladders = []
    for factor in (2, 4):
        frequencies, magnitude = yarn_frequencies(64, 1e7, factor, TRAINED)
        ladders.append({"factor": factor, "magnitude": magnitude, "inv_freq": frequencies.tolist()})
    with open(HERE / "long_context.json", "w") as f:
        f.write('{"cases": [\n' + ",\n".join(json.dumps(c) for c in cases) + '\n],\n"ladders": [\n')
        f.write(",\n".join(json.dumps(l) for l in ladders) + "\n]}\n")


if __name__ == "__main__":
    main()
