#!/usr/bin/env python3
"""Holds the documentation to what there is: check_docs.py [PROGRAM] [--root DIR] | --prove

Every file of Markdown that Git knows is looked through for
  - relative links and anchors that lead nowhere,
  - `make TARGET` without such a target in the Makefile,
  - files of the repository that are named and not there,
  - commands and options of the program that its help does not have (with PROGRAM),
  - questions of the README (`$ qwen-edge ...`) that get another answer than the one below them (greedily,
    with PROGRAM),
and the sources for imports that docs/architecture.md does not allow: a room uses those above it in the table.

--prove breaks a small repository of its own in each of these ways, and sees that each is found.
Needs nothing but Python.
"""

import argparse
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

# Code that begins with one of these is another program's: its options are not ours.
FOREIGN = re.compile(
    r"\$?\s*(sudo |apt|apt-get|cargo|pip|pipx|npm|npx|brew|scoop|winget|pkg|podman|docker|python|curl|git|jq|tar|"
    r"lintian|umoci|skopeo|systemctl|sha256sum|codex|claude|llvm-mca|objdump|scripts/)\b|\$?\s*make |.*\bscripts/\w+\.py"
)
FILES = re.compile(r"(?:\.\./)?(?:src|tests|scripts|docs|kernels|models|examples|fuzz|packaging)/[\w./-]+\.\w+")
MADE = re.compile(r"models/(synth|model)|/NAME\.")
FENCE = re.compile(r"^\s*(```|~~~)")


def tracked(root, *patterns):
    """The files that Git knows or would add, else all that match."""
    try:
        command = ["git", "ls-files", "-co", "--exclude-standard", "-z", *patterns]
        out = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode()
        names = [name for name in out.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = [str(p.relative_to(root)) for pattern in patterns for p in root.rglob(pattern)]
    return sorted(root / name for name in set(names) if (root / name).is_file())


def anchor(heading):
    """What a forge makes of a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"\s", "-", re.sub(r"[^\w\- ]", "", text))


def anchors(path):
    """All anchors of a file; a heading that comes again gets a number."""
    seen, found = {}, set()
    fenced = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if FENCE.match(line):
            fenced = not fenced
        match = re.match(r"#{1,6} +(.*?)\s*#*$", line)
        if match and not fenced:
            name = anchor(match[1])
            number = seen.get(name, 0)
            seen[name] = number + 1
            found.add(f"{name}-{number}" if number else name)
    return found


def parts(text):
    """The prose and the code of a text: code is a list of (line number, span or line of a block)."""
    prose, code, fenced, blank = [], [], False, True
    for number, line in enumerate(text.splitlines(), 1):
        if FENCE.match(line):
            fenced = not fenced
            continue
        if fenced or (line.startswith("    ") and (blank or (code and code[-1][0] == number - 1 and code[-1][2]))):
            code.append((number, line.strip(), True))
            blank = False
            continue
        blank = not line.strip()
        prose.append((number, line))
    # Spans may go on in the next line; they end with their paragraph.
    text = "\n".join(f"{line}\x00{number}" for number, line in prose)
    for match in re.finditer(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", text, re.S):
        inner = match[2]
        if "\n\x00" in inner:
            continue
        number = int(re.search(r"\x00(\d+)", text[match.start() :])[1])
        code.append((number, re.sub(r"\s+", " ", re.sub(r"\x00\d+\n", " ", inner)).strip(), False))
    without = re.sub(
        r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)",
        lambda m: "`" + "".join(re.findall(r"\x00\d+\n", m[2])) + "`",
        text,
        flags=re.S,
    )
    return without, [(number, span) for number, span, _ in code]


def links(without):
    """(line number, target) of every link and picture."""
    for match in re.finditer(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)", without):
        yield int(re.search(r"\x00(\d+)", without[match.start() :] + "\x000")[1]), match[1]


def helps(program):
    """The program's commands, and every option that its help names."""

    def ask(*words):
        run = subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=True)
        return run.stdout

    def below(text):
        block = re.search(r"^Commands:\n((?:  .*\n|\n(?=  ))+)", text, re.M)
        return re.findall(r"^  ([a-z][\w-]*) ", block[1], re.M) if block else []

    top = ask()
    commands, options = set(below(top)), set(re.findall(r"--[a-z][\w-]*", top))
    # A tool for developers that the list leaves out.
    commands.add("loops")
    for command in sorted(commands - {"help"}):
        text = ask(command)
        options |= set(re.findall(r"--[a-z][\w-]*", text))
        for sub in below(text):
            if sub != "help":
                options |= set(re.findall(r"--[a-z][\w-]*", ask(command, sub)))
    return commands, options


def check_text(root, path, targets, program):
    """The faults of one file, as (line, sentence)."""
    faults = []
    without, code = parts(path.read_text(encoding="utf-8"))
    for line, target in links(without):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, fragment = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists():
            faults.append((line, f"the link {target} leads nowhere"))
        elif fragment and file.suffix == ".md" and fragment not in anchors(file):
            faults.append((line, f"the link {target}: {file.name} has no such heading"))
    for line, span in code:
        for target in re.findall(
            r"(?:^|[\s;&|(])make ((?:-\w+ )*[a-z][a-z0-9-]*(?: [a-z][a-z0-9-]+)*)(?=$|[\s;&|)\[,:])", span
        ):
            for word in target.split():
                if not word.startswith("-") and word not in targets:
                    faults.append((line, f"make {word}: the Makefile has no such target"))
        if FILES.fullmatch(span) and not MADE.search(span):
            if not any((base / span).exists() for base in (root, path.parent, path.parent / "..", root / "kernels")):
                faults.append((line, f"the file {span} is not there"))
        if program and (path.parent in (root, root / "docs")):
            commands, options = program
            ours = re.sub(r"\s#.*$|\s{2,}.*$", "", span)
            if not FOREIGN.match(span):
                # What stands before a pipe into our program, or behind ours, may be foreign as well.
                for piece in re.split(r"\s[|;]\s|\s&&\s", ours):
                    if FOREIGN.match(piece):
                        continue
                    for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", piece):
                        if option not in options:
                            faults.append((line, f"{option}: the program's help has no such option (in `{span}`)"))
            for command in (
                [] if FOREIGN.match(span) else re.findall(r"(?:^|[\s/])qwen-edge ([a-z][\w-]*)(?![\w./:-])", ours)
            ):
                if command not in commands:
                    faults.append((line, f"qwen-edge {command}: the program has no such command"))
    return faults


def check_answers(root, program):
    """Asks the questions of the README."""
    path = root / "README.md"
    question, expected = None, []
    for number, line in enumerate([*path.read_text(encoding="utf-8").splitlines(), ""], 1):
        text = line.strip() if line.startswith("    ") else None
        if question and (text is None or text.startswith("$ ")):
            words = [program, *shlex.split(question)[1:], "--greedy"]
            run = subprocess.run(words, cwd=root, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            if run.stdout.strip() != "\n".join(expected):
                yield path, number - 1, f"`{question}` answers {run.stdout.strip()!r}"
            question = None
        if text and text.startswith("$ qwen-edge "):
            question, expected = text[2:], []
        elif question:
            expected.append(text)


def check_rooms(root):
    """Imports that the table of docs/architecture.md does not allow."""
    page = root / "docs/architecture.md"
    if not page.exists():
        return
    text = page.read_text(encoding="utf-8")
    section = text.partition("## The rooms")[2].partition("\n## ")[0]
    rooms = re.findall(r"^\| \[?`(\w+)`", section, re.M)
    allowed = set(re.findall(r"`(src/[\w/]+\.rs)` uses `(\w+)`", section))
    rank = {room: number for number, room in enumerate(rooms)}
    there = {p.name for p in (root / "src").iterdir() if p.is_dir()}
    for room in sorted(there ^ (set(rooms) - {"kernels"})):
        yield page, 0, f"the room {room} is in src/ or in the table, and not in both"
    used = set()
    for path in sorted((root / "src").glob("*/**/*.rs")):
        room = path.relative_to(root / "src").parts[0]
        if room not in rank:
            continue
        # Tests may use whatever they like.
        source = re.split(r"#\[cfg\((?:all\()?test\b[^\]]*\]\s*(?:pub )?mod \w+ \{", path.read_text(encoding="utf-8"))[
            0
        ]
        for number, line in enumerate(source.splitlines(), 1):
            if line.lstrip().startswith("//"):
                continue
            for match in re.findall(r"\b(?:crate|qwen_edge)::(\{[^}]*\}|\w+)", line):
                for name in re.findall(r"(?:^|[{,]\s*)(\w+)", match):
                    if rank.get(name, -1) <= rank[room]:
                        continue
                    key = (str(path.relative_to(root)), name)
                    used.add(key)
                    if key not in allowed:
                        yield path, number, f"the room {room} uses {name}, which is below it in docs/architecture.md"
    for file, name in sorted(allowed - used):
        yield page, 0, f"{file} does not use {name}: the exception is not needed"


def check(root, program):
    """All faults, as (path, line, sentence), and the number of files that were read."""
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):(?!=)", makefile, re.M))
    files = tracked(root, "*.md")
    known = helps(program) if program else None
    faults = [(path, line, what) for path in files for line, what in check_text(root, path, targets, known)]
    answers = check_answers(root, program) if program else []
    return [*faults, *answers, *check_rooms(root)], len(files)


def prove():
    """Sees that every kind of fault is found, and that a sound text has none."""
    good = {
        "Makefile": "build: ## b\n\ncheck-docs: ## c\n",
        "README.md": "# A\n\nSee [b](docs/b.md#two-words) and `src/x/a.rs`.\n\n    make build\n"
        "    prog run m.gguf --json\n\nText\n\n    $ qwen-edge run m.gguf\n    Hi\n",
        "docs/b.md": "# B\n\n## Two `words`\n\n[up](../README.md#a), `make build check-docs`, `cargo x --strange`\n",
        "docs/architecture.md": "# M\n\n## The rooms\n\n| room | w |\n|---|---|\n| `x` | 1 |\n| `y` | 2 |\n\n## End\n",
        "src/x/a.rs": "use crate::x::b;\n",
        "src/y/a.rs": "use crate::x::a;\n",
    }
    bad = {
        "leads nowhere": ("README.md", "[b](docs/c.md)\n"),
        "no such heading": ("README.md", "[b](docs/b.md#three)\n"),
        "no such target": ("README.md", "`make biuld`\n"),
        "is not there": ("README.md", "`src/x/gone.rs`\n"),
        "no such option": ("README.md", "`run --jsno`\n"),
        "answers 'Hi'": ("README.md", "Text\n\n    $ qwen-edge run m.gguf\n    Ho\n"),
        "no such command": ("README.md", "`qwen-edge rnu m.gguf`\n"),
        "is below it": ("src/x/a.rs", "use crate::{x::b, y::c};\n"),
        "not in both": ("src/z/a.rs", "\n"),
        "not needed": (
            "docs/architecture.md",
            good["docs/architecture.md"].replace("## End", "`src/x/a.rs` uses `y`\n\n## End"),
        ),
    }
    for what, change in [(None, None), *bad.items()]:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder).resolve()
            for name, text in ({**good, change[0]: change[1]} if change else good).items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding="utf-8")
            fake = root / "prog"
            fake.write_text(
                "#!/bin/sh\nif [ $# = 1 ]; then printf 'Commands:\\n  run   Run\\n\\n'\n"
                "elif [ \"$3\" = --greedy ]; then echo Hi; else echo '  --json x'; fi\n"
            )
            fake.chmod(0o755)
            faults = [sentence for _, _, sentence in check(root, str(fake))[0]]
            if what is None and faults or what and not any(what in sentence for sentence in faults):
                sys.exit(f"check_docs: {what or 'a sound repository'}: found {faults}")
    print(f"check_docs: {len(bad)} kinds of fault are found, and none in a sound repository")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", help="the program, for its commands and options")
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--prove", action="store_true")
    args = parser.parse_args()
    if args.prove:
        return prove()
    faults, files = check(args.root.resolve(), args.program)
    for path, line, what in faults:
        print(f"{path.relative_to(args.root.resolve())}:{line}: {what}", file=sys.stderr)
    if faults:
        sys.exit(f"check_docs: {len(faults)} faults in {files} files")
    print(
        f"check_docs: {files} files, nothing wrong"
        + ("" if args.program else " (commands and options not looked at: no program)")
    )


if __name__ == "__main__":
    main()
