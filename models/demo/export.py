"""Write the GGUF files from a checkpoint: `python export.py CHECKPOINT OUTDIR [--f32]`."""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import numpy as np
import torch

import quants
from model import Config, Text, Vision
from names import text_names, vision_names
from tokenizer import Tokenizer

Q = gguf.GGMLQuantizationType
PACK = {Q.Q8_0: quants.q8_0, Q.Q4_K: quants.q4_k, Q.Q6_K: quants.q6_k}
FILE_TYPE = {"f32": 0, "f16": 1, "q8_0": 7, "q4_k_m": 15}
ABOUT = (
    "A very small model of the Qwen3.5 architecture, trained from scratch on synthetic tasks (sums, counting, copying, "
    "reversing, sorting, dates and units, recall, tool calls, JSON, simple pictures, greetings) so that a fresh clone "
    "of qwen-edge has something to run. Not derived from any published weights; knows nothing about the world."
)
# The last step of the published template as the 0.8B and 2B have it: no thinking unless asked for.
THINK_4B = "{%- if enable_thinking is defined and enable_thinking is false %}\n        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- else %}\n        {{- '<think>\\n' }}\n    {%- endif %}"
THINK_2B = "{%- if enable_thinking is defined and enable_thinking is true %}\n        {{- '<think>\\n' }}\n    {%- else %}\n        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}"


def about(w: gguf.GGUFWriter, kind: str, params: int, version: str):
    """Common metadata."""
    w.add_string("general.type", "mmproj" if w.arch == "clip" else "model")
    w.add_string("general.name", "qwen-edge demo" + (" vision tower" if w.arch == "clip" else ""))
    w.add_string("general.basename", "qwen-edge-demo")
    w.add_string("general.version", version)
    w.add_string("general.author", "the qwen-edge authors")
    w.add_string("general.description", ABOUT)
    w.add_string("general.license", "MIT OR Apache-2.0")
    if w.arch != "clip":
        w.add_float32("general.sampling.temp", 0.0)  # its answers are right or wrong, not varied
    w.add_array("general.tags", ["demo", "synthetic", "tiny", "text-generation"])
    w.add_array("general.languages", ["en", "de", "fr", "es", "it"])
    w.add_array("general.datasets", ["synthetic (models/demo/data.py)"])
    w.add_string("general.size_label", f"{params / 1e6:.1f}M")
    w.add_uint32("general.file_type", FILE_TYPE[kind])
    w.add_uint32("general.quantization_version", 2)


def choose(name: str, shape, kind: str, c: Config):
    """Tensor type in a text file: vectors and the convolution stay float; Q4_K_M follows the usual mix."""
    if len(shape) < 2 or "ssm_conv1d" in name or kind == "f32":
        return Q.F32
    if kind == "q8_0":
        return Q.Q8_0
    if "ssm_alpha" in name or "ssm_beta" in name:
        return Q.Q8_0
    if "token_embd" in name:
        return Q.Q6_K
    i, n = int(name.split(".")[1]), c.layers + 1
    more = i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2
    if more and any(s in name for s in ("ffn_down", "attn_v.", "attn_qkv")):
        return Q.Q6_K
    return Q.Q4_K


def add(w: gguf.GGUFWriter, name: str, a: np.ndarray, t):
    """One tensor in type t."""
    if t == Q.F32:
        w.add_tensor(name, np.ascontiguousarray(a, dtype=np.float32))
    elif t == Q.F16:
        w.add_tensor(name, np.ascontiguousarray(a, dtype=np.float16))
    else:
        w.add_tensor(name, PACK[t](a), raw_dtype=t)


def finish(w: gguf.GGUFWriter):
    """Header, metadata and tensors to disk."""
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def write_text(path: Path, m: Text, tok: Tokenizer, kind: str, version: str):
    """The text file."""
    c = m.c
    w = gguf.GGUFWriter(str(path), "qwen35")
    about(w, kind, sum(p.numel() for p in m.parameters()), version)
    u = lambda k, v: w.add_uint32("qwen35." + k, v)
    u("block_count", c.layers + 1)
    u("nextn_predict_layers", 1)
    u("context_length", 8192)  # the longest rows of the training
    u("embedding_length", c.hidden)
    u("feed_forward_length", c.ff)
    u("attention.head_count", c.heads)
    u("attention.head_count_kv", c.kv_heads)
    u("attention.key_length", c.head_dim)
    u("attention.value_length", c.head_dim)
    w.add_float32("qwen35.attention.layer_norm_rms_epsilon", 1e-6)
    w.add_float32("qwen35.rope.freq_base", c.rope_base)
    u("rope.dimension_count", c.rotary)
    w.add_array("qwen35.rope.dimension_sections", [*c.sections, 0])
    u("ssm.conv_kernel", c.conv)
    u("ssm.state_size", c.linear_dim)
    u("ssm.group_count", c.key_heads)
    u("ssm.time_step_rank", c.value_heads)
    u("ssm.inner_size", c.value_heads * c.linear_dim)
    u("full_attention_interval", c.interval)
    w.add_string("tokenizer.ggml.model", "gpt2")
    w.add_string("tokenizer.ggml.pre", "qwen35")
    w.add_array("tokenizer.ggml.tokens", tok.tokens)
    w.add_array("tokenizer.ggml.token_type", tok.types)
    w.add_array("tokenizer.ggml.merges", tok.merges)
    w.add_uint32("tokenizer.ggml.eos_token_id", tok.ids["<|im_end|>"])
    w.add_uint32("tokenizer.ggml.padding_token_id", tok.ids["<|endoftext|>"])
    w.add_bool("tokenizer.ggml.add_bos_token", False)
    assert THINK_4B in tok.template
    w.add_string("tokenizer.chat_template", tok.template.replace(THINK_4B, THINK_2B))
    sd = m.state_dict()
    for s, n in text_names(c).items():
        a = sd[s].float()
        a = (-a.exp() if n.endswith("ssm_a") else a).numpy()
        add(w, n, a, choose(n, a.shape, kind, c))
    finish(w)


def write_vision(path: Path, v: Vision, version: str):
    """The mmproj file in F16. A still image fills both temporal slots, so each slot gets half of the patch kernel."""
    c = v.c
    w = gguf.GGUFWriter(str(path), "clip")
    about(w, "f16", sum(p.numel() for p in v.parameters()), version)
    w.add_bool("clip.has_vision_encoder", True)
    w.add_string("clip.projector_type", "qwen3vl_merger")
    w.add_bool("clip.use_gelu", True)
    u = lambda k, x: w.add_uint32("clip.vision." + k, x)
    u("projection_dim", c.hidden)
    u("image_size", c.v_grid * c.patch)
    u("patch_size", c.patch)
    u("embedding_length", c.v_hidden)
    u("feed_forward_length", c.v_ff)
    u("block_count", c.v_layers)
    u("attention.head_count", c.v_heads)
    w.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    w.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    w.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    u("spatial_merge_size", c.merge)
    w.add_array("clip.vision.is_deepstack_layers", [False] * c.v_layers)
    sd = {k: t.float() for k, t in v.state_dict().items()}
    both = (sd["patch"] + sd["patch1"]) / 2
    sd["patch"], sd["patch1"] = both, both
    for s, n in vision_names(c).items():
        a = sd[s].numpy()
        add(w, n, a, Q.F16 if a.ndim > 1 and "position" not in n else Q.F32)
    finish(w)


def load_checkpoint(path: Path) -> tuple[Text, Vision, str]:
    """Both models of a training checkpoint, and how far the training was."""
    s = torch.load(path)
    c = Config(**s["config"])
    text, vision = Text(c), Vision(c)
    text.load_state_dict(s["text"])
    vision.load_state_dict(s["vision"])
    return text.eval(), vision.eval(), f"{s['step']} steps, {s['seen'] / 1e6:.1f}M tokens"


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("checkpoint", type=Path)
    ap.add_argument("out", type=Path)
    ap.add_argument("--f32", action="store_true", help="write demo-f32.gguf as well")
    args = ap.parse_args()
    text, vision, version = load_checkpoint(args.checkpoint)
    tok = Tokenizer()
    for kind in ["q8_0", "q4_k_m"] + ["f32"] * args.f32:
        write_text(args.out / f"demo-{kind}.gguf", text, tok, kind, version)
    write_vision(args.out / "mmproj-demo.gguf", vision, version)
    for p in sorted(args.out.glob("*demo*.gguf")):
        print(p.name, p.stat().st_size)


if __name__ == "__main__":
    main()
