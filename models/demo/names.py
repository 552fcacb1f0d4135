"""Names of the torch parameters in the GGUF files."""

from __future__ import annotations

import torch

from model import Config, Text, Vision


def text_names(c: Config) -> dict[str, str]:
    """Torch parameter name -> GGUF tensor name, text file."""
    out = {"embd": "token_embd.weight", "norm": "output_norm.weight"}

    def block(src: str, i: int, full: bool):
        p = f"blk.{i}."
        out[f"{src}attn_norm"] = p + "attn_norm.weight"
        out[f"{src}post_norm"] = p + "post_attention_norm.weight"
        for n in ("gate", "up", "down"):
            out[f"{src}ffn.{n}"] = f"{p}ffn_{n}.weight"
        if full:
            m = {"q": "attn_q.weight", "k": "attn_k.weight", "v": "attn_v.weight", "o": "attn_output.weight",
                 "q_norm": "attn_q_norm.weight", "k_norm": "attn_k_norm.weight"}
        else:
            m = {"qkv": "attn_qkv.weight", "z": "attn_gate.weight", "alpha": "ssm_alpha.weight",
                 "beta": "ssm_beta.weight", "a_log": "ssm_a", "dt": "ssm_dt.bias", "conv": "ssm_conv1d.weight",
                 "norm": "ssm_norm.weight", "out": "ssm_out.weight"}
        for s, g in m.items():
            out[f"{src}mix.{s}"] = p + g

    for i in range(c.layers):
        block(f"blocks.{i}.", i, c.is_full(i))
    block("mtp.block.", c.layers, True)
    p = f"blk.{c.layers}.nextn."
    out |= {"mtp.eh": p + "eh_proj.weight", "mtp.enorm": p + "enorm.weight", "mtp.hnorm": p + "hnorm.weight",
            "mtp.head_norm": p + "shared_head_norm.weight"}
    return out


def vision_names(c: Config) -> dict[str, str]:
    """Torch parameter name -> GGUF tensor name, mmproj file."""
    out = {"patch": "v.patch_embd.weight", "patch1": "v.patch_embd.weight.1", "patch_bias": "v.patch_embd.bias",
           "pos": "v.position_embd.weight"}
    parts = {"post": "v.post_ln", "fc1": "mm.0", "fc2": "mm.2"}
    for i in range(c.v_layers):
        parts |= {f"blocks.{i}.{s}": f"v.blk.{i}.{g}" for s, g in
                  (("ln1", "ln1"), ("ln2", "ln2"), ("qkv", "attn_qkv"), ("proj", "attn_out"), ("fc1", "ffn_up"),
                   ("fc2", "ffn_down"))}
    for s, g in parts.items():
        for e in ("weight", "bias"):
            out[f"{s}.{e}"] = f"{g}.{e}"
    return out


def read_gguf(path: str) -> tuple[dict, dict[str, torch.Tensor]]:
    """Metadata and dequantised float32 tensors of a GGUF file (through the gguf package)."""
    from gguf import GGUFReader, dequantize

    r = GGUFReader(path)
    meta = {k: f.contents() for k, f in r.fields.items() if not k.startswith("GGUF.")}
    t = {}
    for x in r.tensors:
        a = torch.from_numpy(dequantize(x.data, x.tensor_type).copy())
        t[x.name] = a.reshape([int(n) for n in reversed(x.shape)]).float()
    return meta, t


def load_text(path: str) -> tuple[Text, dict]:
    """The float model with the dequantised weights of a text GGUF, and its metadata."""
    meta, t = read_gguf(path)
    g = lambda k: meta["qwen35." + k]
    c = Config(
        vocab=t["token_embd.weight"].shape[0], hidden=g("embedding_length"), ff=g("feed_forward_length"),
        layers=g("block_count") - meta.get("qwen35.nextn_predict_layers", 0), heads=g("attention.head_count"),
        kv_heads=g("attention.head_count_kv"), head_dim=g("attention.key_length"), rotary=g("rope.dimension_count"),
        sections=tuple(g("rope.dimension_sections")[:3]), rope_base=g("rope.freq_base"),
        interval=g("full_attention_interval"), key_heads=g("ssm.group_count"), value_heads=g("ssm.time_step_rank"),
        linear_dim=g("ssm.state_size"), conv=g("ssm.conv_kernel"),
    )
    toks = meta.get("tokenizer.ggml.tokens", [])
    c.image_pad = toks.index("<|image_pad|>") if "<|image_pad|>" in toks else 0
    m = Text(c)
    sd = {}
    for s, n in text_names(c).items():
        sd[s] = (-t[n]).log() if n.endswith("ssm_a") else t[n]
    m.load_state_dict(sd)
    return m.eval(), meta


def load_vision(path: str) -> Vision:
    """The vision tower of an mmproj GGUF."""
    meta, t = read_gguf(path)
    g = lambda k: meta["clip.vision." + k]
    c = Config(hidden=g("projection_dim"), v_hidden=g("embedding_length"), v_layers=g("block_count"),
               v_heads=g("attention.head_count"), v_ff=g("feed_forward_length"), v_grid=g("image_size") // 16)
    v = Vision(c)
    v.load_state_dict({s: t[n] for s, n in vision_names(c).items()})
    return v.eval()
