"""The cut tokenizer: the first base ranks of the published vocabulary and its 33 added tokens, renumbered.

`vocab.json` beside this file holds the kept tokens, types and merges (made by `python tokenizer.py PUBLISHED.gguf`
from any GGUF file with the published vocabulary).
"""

from __future__ import annotations

import json
import sys
import unicodedata
from pathlib import Path

import regex

SIZE = 4096
ADDED = 33
PUBLISHED_BASE = 248044
PIECE = regex.compile(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_alphabet() -> dict[int, str]:
    """The GPT-2 byte -> character table."""
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {b: chr(b) for b in keep}
    for i, b in enumerate(b for b in range(256) if b not in table):
        table[b] = chr(256 + i)
    return table


class Tokenizer:
    """Byte-level BPE with added tokens."""

    def __init__(self, path: Path | None = None):
        v = json.loads((path or Path(__file__).with_name("vocab.json")).read_text())
        self.tokens, self.types, self.merges = v["tokens"], v["types"], v["merges"]
        self.template = v["template"]
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        self.rank = {tuple(m.split(" ")): i for i, m in enumerate(self.merges)}
        self.added = {t: i for i, t in enumerate(self.tokens) if self.types[i] in (3, 4)}
        self.split = regex.compile("(" + "|".join(map(regex.escape, sorted(self.added, key=len, reverse=True))) + ")")
        self.bytes = byte_alphabet()
        self.unbyte = {c: b for b, c in self.bytes.items()}
        self.cache: dict[str, list[int]] = {}

    def _bpe(self, piece: str) -> list[int]:
        got = self.cache.get(piece)
        if got is not None:
            return got
        w = [self.bytes[b] for b in piece.encode()]
        while len(w) > 1:
            best = min(range(len(w) - 1), key=lambda i: self.rank.get((w[i], w[i + 1]), 1 << 30))
            if (w[best], w[best + 1]) not in self.rank:
                break
            w[best : best + 2] = [w[best] + w[best + 1]]
        out = [self.ids[x] for x in w]
        if len(self.cache) < 200_000:
            self.cache[piece] = out
        return out

    def encode(self, text: str) -> list[int]:
        """Ids of a text in which added tokens are recognised."""
        out: list[int] = []
        for part in self.split.split(text):
            if part in self.added:
                out.append(self.added[part])
            elif part:
                for p in PIECE.findall(unicodedata.normalize("NFC", part)):
                    out += self._bpe(p)
        return out

    def decode(self, ids) -> str:
        """Text of ids."""
        b = bytearray()
        for i in ids:
            t = self.tokens[int(i)]
            b += t.encode() if t in self.added else bytes(self.unbyte[c] for c in t if c in self.unbyte)
        return b.decode(errors="replace")


def cut(path: str) -> None:
    """Write vocab.json from a GGUF with the published vocabulary."""
    from gguf import GGUFReader

    f = GGUFReader(path).fields
    tok, typ, mrg, tpl = (f["tokenizer." + k].contents() for k in
                          ("ggml.tokens", "ggml.token_type", "ggml.merges", "chat_template"))
    n = SIZE - ADDED
    keep = set(tok[:n])
    merges = [m for m in mrg if m.replace(" ", "", 1) in keep]
    b = PUBLISHED_BASE
    out = {"tokens": tok[:n] + tok[b : b + ADDED], "types": typ[:n] + typ[b : b + ADDED], "merges": merges,
           "template": tpl}
    Path(__file__).with_name("vocab.json").write_text(json.dumps(out, ensure_ascii=False))
    print(len(out["tokens"]), "tokens", len(merges), "merges")


if __name__ == "__main__":
    cut(sys.argv[1])
