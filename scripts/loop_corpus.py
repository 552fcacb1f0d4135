#!/usr/bin/env python3
"""Gathers sections of ordinary text, for measuring false alarms of the guard against loops.

    scripts/loop_corpus.py N [SEED] > sections.jsonl   # {"text", "kind"}, one a line, about N of them
    qwen-edge loops MODEL --jsonl sections.jsonl | grep -vc '"fired":null'

The text is what this machine has: documentation, manual pages in their languages, message catalogues, Rust sources and the
Rust books, Python's library, word lists, tables; and countings and tables made here. A section has at least 512 tokens of
the published vocabulary in nearly all cases; what lies behind them does not matter.
"""
import glob, gzip, html, json, os, random, re, sys

N = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
LENGTH = 3000  # characters, of Latin text
chance = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 18)


def read(path):
    opened = gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")
    with opened as file:
        data = file.read(4 << 20)
    if b"\0" in data[:4096]:
        return ""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1") if data[:2000].isascii() else ""


def plain(path):
    text = read(path)
    if path.endswith((".html", ".htm")):
        text = re.sub(r"(?s)<(script|style|nav).*?</\1>", "", text)
        text = re.sub(r"\n\s*\n\s*", "\n\n", html.unescape(re.sub(r"<[^>]*>", "", text)))
    return text


def manual(path):
    text = re.sub(r"(?m)^[.'].*?$", lambda m: re.sub(r"^[.']\\?\S+ ?", "", m[0]), read(path))
    return re.sub(r"\\[f*(]\S?|\\&", "", text).replace("\\-", "-")


def sections(text, kind, most):
    wide = sum(c > "\u2e80" for c in text[:LENGTH]) > LENGTH // 5
    length = LENGTH // 3 if wide else LENGTH
    starts = list(range(0, len(text) - length + 1, length))
    for at in chance.sample(starts, min(most, len(starts))):
        yield {"text": text[at : at + length], "kind": kind}


def files(*patterns):
    for pattern in patterns:
        for path in glob.iglob(os.path.expanduser(pattern), recursive=True):
            if os.path.isfile(path) and 600 < os.path.getsize(path) < 8 << 20:
                yield path


SOURCES = [
    ("doc", plain, 14, ["/usr/share/doc/**/*"]),
    ("man", manual, 14, ["/usr/share/man/man*/*.gz"]),
    ("man in other languages", manual, 10, ["/usr/share/man/[a-z]*/man*/*.gz"]),
    ("info", plain, 2, ["/usr/share/info/*.gz"]),
    ("rust sources", plain, 14, ["~/.cargo/registry/src/*/*/**/*.rs"]),
    ("rust documents", plain, 6, ["~/.cargo/registry/src/*/*/**/*.md", "~/.cargo/registry/src/*/*/**/*.toml"]),
    ("rust books", plain, 10, ["~/.rustup/toolchains/*/share/doc/rust/html/**/*.html"]),
    ("pages as they are", read, 4, ["~/.rustup/toolchains/*/share/doc/rust/html/**/*.html"]),
    ("python", plain, 10, ["/usr/lib/python3*/**/*.py"]),
    ("headers", plain, 4, ["/usr/include/**/*.h"]),
    ("perl", plain, 4, ["/usr/share/perl/**/*.p[lm]"]),
    ("vim", plain, 4, ["/usr/share/vim/**/*.txt", "/usr/share/vim/**/*.vim"]),
    ("data", plain, 6, ["/usr/share/**/*.json", "/usr/share/**/*.csv", "/usr/share/**/*.xml", "/usr/share/i18n/**/*",
                        "/usr/share/**/*.txt", "/usr/share/**/*.svg", "/usr/share/X11/**/*", "/usr/share/unicode/**/*"]),
]


def gather(kind, reader, patterns, wanted):
    paths = sorted(files(*patterns))
    chance.shuffle(paths)
    found, per_file = 0, 1 + wanted // max(1, len(paths)) if len(paths) < wanted else 1
    for path in paths:
        try:
            text = reader(path)
        except (OSError, EOFError, gzip.BadGzipFile):
            continue
        for section in sections(text, kind, min(per_file * 2, 12)):
            yield section
            found += 1
            if found >= wanted:
                return


WORDS = "apple river stone cloud paper music garden window letter bridge silver market winter copper candle harbor".split()
NUMBERS = {
    "en": "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen".split(),
    "de": "eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn".split(),
    "fr": "un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze".split(),
    "zh": list("一二三四五六七八九十"),
}


def made():
    """Countings, tables and lists, as answers have them."""
    while True:
        start, step = chance.randrange(0, 200), chance.choice([1, 1, 1, 2, 3, 5, 7, 10, -1])
        count = range(start, start + 600 * step, step)
        form = chance.randrange(14)
        word = lambda: chance.choice(WORDS)
        number = lambda: chance.randrange(0, 1000)
        columns = chance.randrange(2, 7)
        yield [
            lambda: chance.choice([", ", " ", "\n", "; "]).join(map(str, count)),
            lambda: "\n".join(f"{i}. {word()} {word()} {word()}" for i in count),
            lambda: "\n".join(f"- {word()} {word()}" for i in count),
            lambda: "\n".join(f"{a} x {b} = {a * b}" for a in range(1, 40) for b in range(1, 13)),
            lambda: "\n".join(f"{i} squared is {i * i}." for i in count),
            lambda: "\n".join("| " + " | ".join(f"{word()}" if c == 0 else f"{number()}" for c in range(columns)) + " |" for _ in count),
            lambda: "\n".join(",".join(f"{chance.random():.3f}" for _ in range(columns)) for _ in count),
            lambda: "\n".join(f"2026-{1 + i // 28 % 12:02}-{1 + i % 28:02}  {number():5}  {word()}" for i, _ in enumerate(count)),
            lambda: "[" + ", ".join(f'{{"id": {i}, "name": "{word()} {word()}", "size": {number()}}}' for i in count) + "]",
            lambda: "\n".join(f"There are {i} bottles on the wall, {i} bottles; take one down, pass it around, and {i - 1} bottles are left." for i in count),
            lambda: " ".join(f"{a} {word()}," for _ in range(40) for a in NUMBERS[chance.choice(list(NUMBERS))]),
            lambda: "\n".join(f"{i:04x}: " + " ".join(f"{chance.randrange(256):02x}" for _ in range(16)) for i in range(0, 16 * 90, 16)),
            lambda: "\n".join(f"    case {i}: return \"{word()}_{word()}\";" for i in count),
            lambda: "\n".join(f"{word().title()} has {number()} {word()}s and gives {number() % 10} to {word().title()}." for _ in count),
        ][form]()[: LENGTH + 1000]


def main():
    total = sum(share for _, _, share, _ in SOURCES) + 6
    for kind, reader, share, patterns in SOURCES:
        for section in gather(kind, reader, patterns, N * share // total):
            print(json.dumps(section, ensure_ascii=False))
    countings = made()
    for _ in range(N * 6 // total):
        print(json.dumps({"text": next(countings), "kind": "made"}, ensure_ascii=False))


main()
