#!/usr/bin/env python3
"""Gathers sections of ordinary text, for measuring false alarms of the guard against loops.

    scripts/loop_corpus.py N [SEED] > sections.jsonl   # {"text", "kind"}, one a line, about N of them
    qwen-edge loops MODEL --jsonl sections.jsonl > fired.jsonl
    scripts/loop_corpus.py --count sections.jsonl fired.jsonl   # alarms within the first 512 tokens

The text is what this machine has: documentation, manual pages in their languages, message catalogues, sources of
packages in several languages, lists of packages and files, tables, programs as assembler and base64; and countings, tables,
lists, logs, songs and litanies made here. Nearly all sections have at least 512 tokens of the published vocabulary.
"""
import base64, glob, gzip, html, json, os, random, re, shutil, subprocess, sys

LENGTH = 3000  # characters, of Latin text
SECTION = 512  # tokens


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


def output(*command):
    done = subprocess.run(command, capture_output=True, timeout=60) if shutil.which(command[0]) else None
    return done.stdout[: 1 << 20].decode(errors="replace") if done else ""


def catalogue(path):
    return output("msgunfmt", path)


def assembler(path):
    return output("objdump", "-d", path)


def letters(path):
    with open(path, "rb") as file:
        file.seek(os.path.getsize(path) // 2)
        return base64.encodebytes(file.read(1 << 15)).decode()


def listing(path):
    rows = (os.stat(entry.path, follow_symlinks=False) for entry in os.scandir(os.path.dirname(path)))
    names = (entry.name for entry in os.scandir(os.path.dirname(path)))
    return "\n".join(f"{row.st_mode:o} {row.st_nlink} root root {row.st_size:9} {int(row.st_mtime)} {name}" for row, name in zip(rows, names))


def sections(text, most, chance):
    wide = sum(c > "\u2e80" for c in text[:LENGTH]) > LENGTH // 5
    length = LENGTH // 3 if wide else LENGTH
    starts = list(range(0, len(text) - length + 1, length))
    for at in chance.sample(starts, min(most, len(starts))):
        yield text[at : at + length]


def files(*patterns):
    for pattern in patterns:
        for path in glob.iglob(os.path.expanduser(pattern), recursive=True):
            if os.path.isfile(path) and 600 < os.path.getsize(path) < 8 << 20:
                yield path


# Kind, reader, share, files.
SOURCES = [
    ("doc", plain, 14, ["/usr/share/doc/**/*"]),
    ("man", manual, 12, ["/usr/share/man/man*/*.gz"]),
    ("man in other languages", manual, 10, ["/usr/share/man/[a-z]*/man*/*.gz"]),
    ("info", plain, 2, ["/usr/share/info/*.gz"]),
    ("messages", catalogue, 4, ["/usr/share/locale/*/LC_MESSAGES/*.mo"]),
    ("rust sources", plain, 14, ["~/.cargo/registry/src/*/*/**/*.rs"]),
    ("rust documents", plain, 6, ["~/.cargo/registry/src/*/*/**/*.md", "~/.cargo/registry/src/*/*/**/*.toml"]),
    ("rust books", plain, 10, ["~/.rustup/toolchains/*/share/doc/rust/html/**/*.html"]),
    ("pages as they are", read, 4, ["~/.rustup/toolchains/*/share/doc/rust/html/**/*.html"]),
    ("python", plain, 10, ["/usr/lib/python3*/**/*.py", "/usr/local/lib/python3*/**/*.py"]),
    ("headers", plain, 4, ["/usr/include/**/*.h", "/usr/lib/gcc/**/*.h"]),
    ("perl", plain, 4, ["/usr/share/perl/**/*.p[lm]"]),
    ("scripts", plain, 3, ["/etc/**/*", "/usr/share/bash-completion/**/*", "/usr/bin/*", "/var/lib/dpkg/info/*.p*"]),
    ("vim", plain, 4, ["/usr/share/vim/**/*.txt", "/usr/share/vim/**/*.vim"]),
    ("packages", plain, 3, ["/var/lib/dpkg/status", "/var/lib/dpkg/info/*.list", "/var/lib/dpkg/info/*.md5sums", "/var/lib/dpkg/info/*.symbols", "/var/log/**/*"]),
    ("listings", listing, 1, ["/usr/lib/*/*.so*", "/usr/share/*/*", "/usr/lib/python3*/*/*.py"]),
    ("assembler", assembler, 2, ["/usr/bin/*"]),
    ("base64", letters, 1, ["/usr/share/man/man*/*.gz", "/usr/share/doc/**/*.gz"]),
    ("data", plain, 6, ["/usr/share/**/*.json", "/usr/share/**/*.csv", "/usr/share/**/*.xml", "/usr/share/i18n/**/*",
                        "/usr/share/**/*.txt", "/usr/share/**/*.svg", "/usr/share/X11/**/*", "/usr/share/unicode/**/*"]),
]
MADE = 10  # the share of what is made here


def gather(reader, patterns, wanted, chance):
    paths = sorted(files(*patterns))
    chance.shuffle(paths)
    found, per_file = 0, 1 + wanted // max(1, len(paths)) if len(paths) < wanted else 1
    for path in paths:
        try:
            text = reader(path)
        except (OSError, EOFError, gzip.BadGzipFile, subprocess.TimeoutExpired):
            continue
        for section in sections(text, min(per_file * 2, 12), chance):
            yield section
            found += 1
            if found >= wanted:
                return


WORDS = """apple river stone cloud paper music garden window letter bridge silver market winter copper candle harbor
mountain teacher bottle castle doctor engine forest ladder mirror needle orange pocket rabbit saddle tunnel valley""".split()
DOES = "opens closes finds keeps sells paints carries breaks cleans follows watches counts".split()
NUMBERS = {
    "en": "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen".split(),
    "de": "eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn".split(),
    "fr": "un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze".split(),
    "zh": list("一二三四五六七八九十"),
}
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
NAMES = "Mary Joseph Peter Paul Andrew James John Thomas Philip Simon Luke Mark Stephen Martin Agnes Cecilia Lucy Clare".split()


def spelled(n):
    """A number below 100 in English."""
    teens = NUMBERS["en"] + "sixteen seventeen eighteen nineteen".split()
    return teens[n - 1] if 0 < n < 20 else "zero" if n == 0 else TENS[n // 10 - 2] + ("-" + teens[n % 10 - 1] if n % 10 else "")


def made(chance):
    """A counting, table, list, log or song, as answers have them."""
    start, step = chance.randrange(0, 200), chance.choice([1, 1, 1, 2, 3, 5, 7, 10, -1])
    count = range(start, start + 600 * step, step)
    word = lambda: chance.choice(WORDS)
    number = lambda: chance.randrange(0, 1000)
    columns = chance.randrange(2, 7)
    line = lambda: f"The {word()} {chance.choice(DOES)} the {word()} of the {word()}"
    gifts = [f"{spelled(i)} {word()}s" for i in range(12, 1, -1)] + ["a " + word()]
    refrain = "\n".join(f"{line()}," for _ in range(chance.randrange(2, 6)))
    lead, reply = chance.choice([("Saint ", ", pray for us."), ("From the ", ", deliver us."), ("Praise to the ", ", for ever.")])
    time = lambda i: f"2026-{1 + i // 28 % 12:02}-{1 + i % 28:02}"
    clock = lambda i: f"{i // 3600 % 24:02}:{i // 60 % 60:02}:{i % 60:02}"
    forms = [
        lambda: chance.choice([", ", " ", "\n", "; "]).join(map(str, count)),
        lambda: chance.choice([", ", " ", "\n"]).join(map(spelled, range(100))),
        lambda: "\n".join(f"{i}. {word()} {word()} {word()}" for i in count),
        lambda: "\n".join(f"- {word()} {word()}" for i in count),
        lambda: "\n".join(f"{a} x {b} = {a * b}" for a in range(1, 40) for b in range(1, 13)),
        lambda: "\n".join(f"{a} times {b} is {a * b}." for b in range(1, 40) for a in range(1, 13)),
        lambda: "\n".join("\t".join(str(a * b) for b in range(1, 13)) for a in range(start + 1, start + 60)),
        lambda: "\n".join(f"{i} squared is {i * i}." for i in count),
        lambda: "\n".join("| " + " | ".join(f"{word()}" if c == 0 else f"{number()}" for c in range(columns)) + " |" for _ in count),
        lambda: "\n".join(",".join(f"{chance.random():.3f}" for _ in range(columns)) for _ in count),
        lambda: "\n".join(f"{time(i)}  {number():5}  {word()}" for i, _ in enumerate(count)),
        lambda: "[" + ", ".join(f'{{"id": {i}, "name": "{word()} {word()}", "size": {number()}}}' for i in count) + "]",
        lambda: json.dumps([{"id": i, "tags": [word(), word()], "ok": chance.random() < 0.5, "next": None} for i in count[:80]], indent=2),
        lambda: "\n".join(f"There are {i} bottles on the wall, {i} bottles; take one down, pass it around, and {i - 1} bottles are left." for i in count),
        lambda: " ".join(f"{a} {word()}," for _ in range(40) for a in NUMBERS[chance.choice(list(NUMBERS))]),
        lambda: "\n".join(f"{i:04x}: " + " ".join(f"{chance.randrange(256):02x}" for _ in range(16)) for i in range(0, 16 * 90, 16)),
        lambda: "\n".join(f"    case {i}: return \"{word()}_{word()}\";" for i in count),
        lambda: "\n".join(f"{word().title()} has {number()} {word()}s and gives {number() % 10} to {word().title()}." for _ in count),
        lambda: "\n".join(f"{time(start)}T{clock(i * 7 + number() % 7)}Z {chance.choice(['INFO', 'WARN', 'DEBUG'])} {word()}: request {number()} took {number()} ms" for i in range(200)),
        lambda: "\n\n".join("\n".join(f"{line()}," for _ in range(4)) + "\n" + refrain for _ in range(40)),
        lambda: "\n".join(f"{lead}{chance.choice(NAMES + WORDS).title()} of the {word()}{reply}" for _ in range(200)),
        lambda: "\n\n".join(f"On day {spelled(i)} my {word()} sent to me\n" + ",\n".join(gifts[-i:]) + "." for i in range(1, 13)),
        lambda: "\n\n".join(f"This is the {word()}\n" + "\n".join(f"that {chance.choice(DOES)} the {w}" for w in WORDS[i::-1]) for i in range(1, 16)),
        lambda: "\n".join(f"INSERT INTO {WORDS[start % 32]} (id, name, price) VALUES ({i}, '{word()}', {number() / 100});" for i in count),
        lambda: "\n".join(f"  <li><a href=\"/{w}/{number()}.html\">{w} {word()}</a></li>" for w in (word() for _ in count)),
        lambda: "\n\n".join(f"Q: {line()}?\nA: {line()}." for _ in range(60)),
        lambda: "\n\n".join(f"def {w}_{word()}(x):\n    \"\"\"{line()}.\"\"\"\n    return x + {number()}" for w in (word() for _ in range(60))),
    ]
    return chance.choice(forms)()[: LENGTH + 1000]


def main(n, seed):
    chance = random.Random(seed)
    total = sum(share for _, _, share, _ in SOURCES) + MADE
    for kind, reader, share, patterns in SOURCES:
        for section in gather(reader, patterns, n * share // total, chance):
            print(json.dumps({"text": section, "kind": kind}, ensure_ascii=False))
    for _ in range(n * MADE // total):
        print(json.dumps({"text": made(chance), "kind": "made"}, ensure_ascii=False))


def count(sections, fired):
    found = [(json.loads(line), json.loads(result)) for line, result in zip(open(sections), open(fired))]
    alarms = [(section, at) for section, result in found if (at := result["fired"]) is not None and at < SECTION]
    for section, at in alarms:
        print(f"{section['kind']}, token {at}: {section['text'][:200]!r} ...", file=sys.stderr)
    print(f"{len(alarms)} false alarms in {len(found)} sections")


if sys.argv[1:2] == ["--count"]:
    count(sys.argv[2], sys.argv[3])
else:
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10000, int(sys.argv[2]) if len(sys.argv) > 2 else 18)
