#!/usr/bin/env python3
"""Makes hard.jsonl: random texts that are hard to tokenize, with the ids that huggingface/tokenizers gives them.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tokenizers==0.23.3
    /tmp/venv/bin/python tests/tokenizer/make_cases.py VOCABULARY.gguf > tests/tokenizer/hard.jsonl

VOCABULARY.gguf is any file with the published vocabulary; only its metadata is read. `qwen-edge synth` writes one.
published.jsonl, beside it, is not made here: see README.md.
"""

import json
import random
import struct
import sys

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def read_metadata(path):
    """The keys and values of a GGUF file."""
    with open(path, "rb") as file:

        def scalar(kind):
            code = "<" + SCALARS[kind]
            return struct.unpack(code, file.read(struct.calcsize(code)))[0]

        def value(kind):
            if kind == 8:
                return file.read(scalar(10)).decode()
            if kind == 9:
                inner, count = scalar(4), scalar(10)
                return [value(inner) for _ in range(count)]
            return scalar(kind)

        assert file.read(4) == b"GGUF" and scalar(4) in (2, 3)
        scalar(10)
        return {value(8): value(scalar(4)) for _ in range(scalar(10))}


def load(path):
    """The tokenizer, and the map from its ids of added tokens to those of the file."""
    metadata = read_metadata(path)
    texts, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    merges = [tuple(line.split(" ")) for line in metadata["tokenizer.ggml.merges"]]
    vocab = {text: i for i, (text, kind) in enumerate(zip(texts, types)) if kind == 1}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    added = {}
    for i, (text, kind) in enumerate(zip(texts, types)):
        if kind in (3, 4):
            tokenizer.add_tokens([AddedToken(text, special=kind == 3, normalized=False)])
            added[tokenizer.token_to_id(text)] = i
    return tokenizer, added, [text for text, kind in zip(texts, types) if kind in (3, 4)]


def random_text(rng, special):
    """A few dozen characters from a few alphabets, so that neighbours interact."""
    alphabets = [
        lambda: rng.choice("abcstemlvdrSTEMLVDR'ſKı"),
        lambda: rng.choice(" \t\n\r\x0b\x0c\x1c\x85\xa0\u2003\u2028\u3000\u200b"),
        lambda: rng.choice("'’!?.,;:()[]{}<>|/\\_-+=*&^%$#@~`\""),
        lambda: rng.choice("0123456789½Ⅷ²੩𝟙"),
        lambda: chr(rng.choice([*range(0x300, 0x36F), *range(0x591, 0x5BD), *range(0x8CA, 0x900), 0xC3C, 0x1DF6, 0x1E130])),
        lambda: chr(rng.choice([*range(0x1100, 0x1113), *range(0x1161, 0x1176), *range(0x11A8, 0x11C3)])),
        lambda: chr(rng.choice([*range(0x900, 0xE80), *range(0xC0, 0x250), *range(0x370, 0x530)])),
        lambda: chr(rng.choice([*range(0x4E00, 0x4E80), *range(0xAC00, 0xAC80), *range(0x3040, 0x3100)])),
        lambda: chr(rng.choice([*range(0x1F300, 0x1F680), *range(0x113B0, 0x113D1), *range(0x16D60, 0x16D6B), 0x10FFFF])),
        lambda: rng.choice([" the", "ing", "function", "  ", "\n\n", "\r\n", "人力资源", "don't", "हिन्दी", "\t\t"]),
        lambda: rng.choice(special),
    ]
    chosen = rng.sample(alphabets, rng.randint(2, 5))
    return "".join(rng.choice(chosen)() for _ in range(rng.randint(2, 40)))


def main():
    tokenizer, added, special = load(sys.argv[1])
    special += [text[:-1] for text in special[:4]] + ["<|", "|>", "<think", "[PAD248077]"]
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 35)
    for _ in range(int(sys.argv[3]) if len(sys.argv) > 3 else 600):
        text = random_text(rng, special)
        ids = [added.get(i, i) for i in tokenizer.encode(text).ids]
        print(json.dumps({"text": text, "ids": ids}, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()
