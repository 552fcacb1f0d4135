#!/usr/bin/env python3
"""Time of looking at a picture, of qwen-edge and of llama.cpp's mtmd, on the same files, in turn, on the same machine.

    scripts/bench_vision.py MODEL.gguf MMPROJ.gguf [IMAGE] [-t 2] [-r 5] [--isa LEVEL]

Without IMAGE a picture of 1024 x 768 is drawn: 768 tokens, a size both programs read as it is. Each round runs llama.cpp,
then qwen-edge, a process of its own. The table gives medians over the rounds of each part's time and of the rounds'
ratios. The parts: decode (file to pixels), resize (to normalised patches), tower (patches to rows), prefill (those rows and
the text around them through the text model). The last line says how far the two towers' rows are apart; llama.cpp's
merger has the tanh form of GELU where the reference has the exact one.
"""

import argparse
import ctypes
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib

import llama_cpp as lib
import llama_cpp.mtmd_cpp as mtmd
import numpy as np
from bench_peer import BATCH, LlamaCpp

PARTS = ("decode", "resize", "tower", "prefill")
TEXT = "What is it?"


def draw(path, width=1024, height=768):
    """Writes a PNG of waves and grain, which compresses about as a photograph does."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / 37 + y / 91), np.cos(y / 23), np.sin(x * y / 9973)], -1)
    pixels = (127 + 100 * waves + rng.normal(0, 8, waves.shape)).clip(0, 255).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header))
        file.write(chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


class Mtmd(LlamaCpp):
    """A text model and a vision file of llama.cpp."""

    def __init__(self, model, mmproj, threads):
        super().__init__(model, threads, 4096, "f16")
        mtmd.mtmd_log_set(self.silence, ctypes.c_void_p(0))
        mtmd.mtmd_helper_log_set(self.silence, ctypes.c_void_p(0))
        params = mtmd.mtmd_context_params_default()
        params.use_gpu = False
        params.n_threads = threads
        params.print_timings = False
        self.vision = mtmd.mtmd_init_from_file(mmproj.encode(), self.model, params)
        if not self.vision:
            sys.exit(f"llama.cpp cannot load {mmproj}")

    def look(self, image):
        """Times of one picture, and its rows."""
        clock = [time.perf_counter()]
        times = dict.fromkeys(PARTS, 0.0)

        def lap(part):
            clock.append(time.perf_counter())
            times[part] += clock[-1] - clock[-2]

        bitmap = mtmd.mtmd_helper_bitmap_init_from_file(self.vision, image.encode(), False)
        if not bitmap:
            sys.exit(f"llama.cpp cannot read {image}")
        lap("decode")
        marked = (mtmd.mtmd_default_marker().decode() + TEXT).encode()
        text = mtmd.mtmd_input_text(marked, len(marked), False, True)
        chunks = mtmd.mtmd_input_chunks_init()
        bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
        if mtmd.mtmd_tokenize(self.vision, chunks, ctypes.byref(text), bitmaps, 1) != 0:
            sys.exit("llama.cpp cannot prepare the picture")
        lap("resize")
        lib.llama_memory_clear(lib.llama_get_memory(self.context), True)
        n_past = lib.llama_pos(0)
        rows = None
        for i in range(mtmd.mtmd_input_chunks_size(chunks)):
            chunk = mtmd.mtmd_input_chunks_get(chunks, i)
            common = (n_past.value, 0, BATCH)
            if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
                failed = mtmd.mtmd_helper_eval_chunk_single(
                    self.vision, self.context, chunk, *common, True, ctypes.byref(n_past)
                )
            else:
                failed = mtmd.mtmd_encode_chunk(self.vision, chunk)
                lap("tower")
                embeddings = mtmd.mtmd_get_output_embd(self.vision)
                shape = (mtmd.mtmd_input_chunk_get_n_tokens(chunk), lib.llama_model_n_embd(self.model))
                rows = np.ctypeslib.as_array(embeddings, shape).copy()
                clock.append(time.perf_counter())
                failed = failed or mtmd.mtmd_helper_decode_image_chunk(
                    self.vision,
                    self.context,
                    chunk,
                    embeddings,
                    *common,
                    ctypes.byref(n_past),
                    mtmd.mtmd_helper_post_decode_callback(0),
                    None,
                )
            lib.llama_synchronize(self.context)
            if failed:
                sys.exit("llama.cpp failed to compute the picture")
            lap("prefill")
        mtmd.mtmd_input_chunks_free(chunks)
        mtmd.mtmd_bitmap_free(bitmap)
        return times, rows


def qwen_edge(args, words):
    """Runs a command of qwen-edge that prints JSON."""
    command = [args.bin, *words, "--json", "-t", args.t] + (["--isa", args.isa] if args.isa else [])
    command = [str(word) for word in command]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"qwen-edge: {done.stderr.strip()}")
    return json.loads(done.stdout)


def our_times(args, image):
    """The same of qwen-edge."""
    words = ["run", args.model, "--mmproj", args.mmproj, "--image", image, "--image-tokens", 16384]
    result = qwen_edge(args, [*words, "-p", TEXT, "--think", "off", "-n", 1, "--ctx", 4096])
    seen = result["vision"][0]
    return {**{part: seen[f"{part}_seconds"] for part in PARTS[:3]}, "prefill": result["prefill_seconds"]}


def our_rows(args, image, directory):
    """The rows of qwen-edge, from the safetensors file it writes."""
    path = os.path.join(directory, "rows.safetensors")
    qwen_edge(args, ["vision", args.mmproj, image, "-o", path])
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    entry = header["embeddings"]
    return np.frombuffer(data[slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("mmproj")
    parser.add_argument("image", nargs="?")
    parser.add_argument("--bin", default="target/release/qwen-edge", help="the qwen-edge binary")
    parser.add_argument("-t", type=int, default=2, help="threads of both")
    parser.add_argument("-r", type=int, default=5, help="rounds")
    parser.add_argument("--isa", help="level of qwen-edge; llama.cpp is limited when it is built")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as directory:
        image = args.image or os.path.join(directory, "picture.png")
        if not args.image:
            draw(image)
        peer = Mtmd(args.model, args.mmproj, args.t)
        _, theirs = peer.look(image)
        ours = our_rows(args, image, directory)
        rounds = [(peer.look(image)[0], our_times(args, image)) for _ in range(args.r)]
    level = args.isa or "best level"
    print(f"{args.mmproj}, {len(ours)} tokens, {args.t} threads, {level}, {args.r} rounds, ms")
    for times in rounds:
        for side in times:
            side["all"] = sum(side[part] for part in PARTS)
    for part in (*PARTS, "all"):
        a, b = ([1e3 * r[i][part] for r in rounds] for i in (0, 1))
        ratio = statistics.median(x / y for x, y in zip(a, b))
        print(f"  {part:8} llama.cpp {statistics.median(a):8.1f}   qwen-edge {statistics.median(b):8.1f}   ratio {ratio:.2f}")
    if ours.shape == theirs.shape:
        apart = np.sqrt(((ours - theirs) ** 2).mean() / (theirs**2).mean())
        print(f"  rows are {apart:.2%} apart (root of mean squares)")


if __name__ == "__main__":
    main()
