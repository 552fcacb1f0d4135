#!/usr/bin/env python3
"""Speed of qwen-edge and of llama.cpp on the same GGUF file, in turn, on the same machine.

    scripts/bench_peer.py MODEL.gguf [-t 2] [-p 512] [-n 32] [-r 5] [--depth 0] [--kv f16|q8_0] [--isa LEVEL]

Each round runs llama.cpp, then qwen-edge; the table gives medians over the rounds and the median of the rounds' ratios, so
that a machine whose speed drifts still compares the two fairly. llama.cpp comes as the llama-cpp-python package
(scripts/bench_peer.sh builds it for this machine); it is driven through its C interface, as its own benchmark is.
"""

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import time

import llama_cpp as lib

Q8_0 = 8  # ggml_type
BATCH = 512


class LlamaCpp:
    """One model and one context of llama.cpp."""

    def __init__(self, path, threads, n_ctx, kv):
        self.silence = lib.llama_log_callback(lambda level, text, data: None)
        lib.llama_log_set(self.silence, ctypes.c_void_p(0))
        lib.llama_backend_init()
        self.model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        if not self.model:
            sys.exit(f"llama.cpp cannot load {path}")
        params = lib.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = params.n_ubatch = BATCH
        params.n_threads = params.n_threads_batch = threads
        if kv == "q8_0":
            params.type_k = params.type_v = Q8_0
            params.flash_attn_type = 1
        self.context = lib.llama_init_from_model(self.model, params)
        self.n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))

    def feed(self, ids):
        """Computes a list of tokens in batches, and waits until that is done."""
        for start in range(0, len(ids), BATCH):
            part = ids[start : start + BATCH]
            array = (lib.llama_token * len(part))(*part)
            if lib.llama_decode(self.context, lib.llama_batch_get_one(array, len(part))) != 0:
                sys.exit("llama.cpp failed to compute a batch")
        lib.llama_synchronize(self.context)

    def measure(self, n_prompt, n_write, depth):
        """Tokens a second of reading a prompt behind `depth` tokens, and of writing."""
        ids = [(i * 7919 + 13) % self.n_vocab for i in range(depth + n_prompt)]
        lib.llama_memory_clear(lib.llama_get_memory(self.context), True)
        self.feed(ids[:depth])
        start = time.perf_counter()
        self.feed(ids[depth:])
        read = n_prompt / (time.perf_counter() - start)
        start = time.perf_counter()
        for i in range(n_write):
            self.feed([ids[i % len(ids)]])
        return {"prefill": read, "decode": n_write / (time.perf_counter() - start)}


def qwen_edge(args):
    """The same of qwen-edge, and its share of the bandwidth it measured."""
    command = [args.bin, "bench", args.model, "-p", args.p, "-n", args.n, "-t", args.t, "--depth", args.depth]
    command += ["-r", 1, "--kv", args.kv, "--json"] + (["--isa", args.isa] if args.isa else [])
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"qwen-edge: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    return {"prefill": result["prefill_tok_s"], "decode": result["decode_tok_s"], "share": result["bandwidth_share"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--bin", default="target/release/qwen-edge", help="the qwen-edge binary")
    parser.add_argument("-t", type=int, default=2, help="threads of both")
    parser.add_argument("-p", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("-n", type=int, default=32, help="tokens to write")
    parser.add_argument("-r", type=int, default=5, help="rounds")
    parser.add_argument("--depth", type=int, default=0, help="tokens in the context before")
    parser.add_argument("--kv", default="f16", choices=["f16", "q8_0"], help="storage of keys and values")
    parser.add_argument("--isa", help="level of qwen-edge; llama.cpp is limited when it is built")
    args = parser.parse_args()

    # The first to read a file decides on the pages it has in memory: let it be the one that asks for large ones.
    qwen_edge(argparse.Namespace(**{**vars(args), "p": 0, "n": 1, "depth": 0}))
    peer = LlamaCpp(args.model, args.t, args.depth + args.p + args.n + 64, args.kv)
    peer.measure(64, 2, 0)
    rounds = [(peer.measure(args.p, args.n, args.depth), qwen_edge(args)) for _ in range(args.r)]
    print(f"{args.model}: prompt {args.p}, depth {args.depth}, {args.t} threads, {args.kv} cache, {args.r} rounds")
    for what in ("prefill", "decode"):
        theirs, ours = ([r[i][what] for r in rounds] for i in (0, 1))
        ratio = statistics.median(b / a for a, b in zip(theirs, ours))
        print(
            f"  {what:8} llama.cpp {statistics.median(theirs):8.1f} tok/s   qwen-edge {statistics.median(ours):8.1f} tok/s"
            f"   ratio {ratio:.2f}"
        )
    print(f"  share of the read bandwidth in decode: {statistics.median(r[1]['share'] for r in rounds):.0%}")


if __name__ == "__main__":
    main()
