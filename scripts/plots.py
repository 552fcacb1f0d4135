#!/usr/bin/env python3
"""Draws the figures of the documentation from measured data: plots.py [--check] | --prove

docs/data/NAME.json becomes docs/plots/NAME.svg. Every series of a file must name the commit whose figures they are, the
CPU and the command; nothing is drawn of a file in which one lacks them. --check draws nothing, and sees that what is
drawn is what the data say. --prove takes each of the three from each series in turn, and sees that it is missed.

Needs nothing but Python. The figures are light or dark as the reader's system is.
"""

import argparse
import copy
import json
import math
import pathlib
import re
import subprocess
import sys
from xml.sax.saxutils import escape

ROOT = pathlib.Path(__file__).resolve().parent.parent
WIDTH = 760
LEFT = 168
# No variables of CSS: viewers other than browsers do not know them.
COLOURS = {  # surface, ink, soft ink, lines, and the series
    "light": ("#fcfcfb", "#1d1d1b", "#5c5b57", "#e1e0da", "#1f6fb5", "#9a9890", "#b8602a"),
    "dark": ("#1a1a19", "#f2f1ed", "#b0aea6", "#383835", "#5ba3e6", "#85837b", "#d98a57"),
}


def colours(surface, ink, soft, line, *series):
    rules = [f".p{{fill:{surface}}}text{{fill:{ink}}}.s,.f{{fill:{soft}}}.l{{stroke:{line}}}"]
    rules += [f".{name}{{fill:{colour}}}.s{name}{{stroke:{colour}}}" for name, colour in zip("abc", series)]
    return "".join(rules) + f"text.p{{fill:{surface}}}"


STYLE = (
    "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}.t{font-size:15px;font-weight:600}"
    ".f{font-size:10.5px}"
    ".e{text-anchor:end}.m{text-anchor:middle}.k{stroke-width:2}.d{stroke-dasharray:5 4}"
    + colours(*COLOURS["light"])
    + ".k{fill:none}"
    + "@media(prefers-color-scheme:dark){"
    + colours(*COLOURS["dark"])
    + ".k{fill:none}}"
)


class Wrong(Exception):
    """Data of which nothing is drawn."""


def text(x, y, words, style=""):
    return f'<text x="{x:g}" y="{y:g}"{f" class={chr(34)}{style}{chr(34)}" if style else ""}>{escape(words)}</text>'


def bar(x, y, width, height, style, title):
    """A bar from the axis: square there, round at its end. `title` is what a browser shows."""
    round_ = min(3, width / 2)
    path = (
        f"M{x:g} {y:g}h{width - round_:.1f}q{round_:g} 0 {round_:g} {round_:g}v{height - 2 * round_:g}"
        f"q0 {round_:g} {-round_:g} {round_:g}h{-(width - round_):.1f}z"
    )
    return f'<path class="{style}" d="{path}"><title>{escape(title)}</title></path>'


def number(value):
    """As it was measured: no digit more, no digit less."""
    return f"{value:,}"


def legend(y, entries):
    """Colours and what they stand for, in a row."""
    out, x = [], 16
    for style, name in entries:
        out += [
            f'<rect class="{style}" x="{x:g}" y="{y - 9}" width="10" height="10" rx="2"/>',
            text(x + 15, y, name, "s"),
        ]
        x += 15 + 6.6 * len(name) + 22
    return out


def wrap(words, length):
    lines = [""]
    for word in words.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > length:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def source(series):
    """What stands under a figure: CPU, commits and commands of what is drawn."""

    def all_of(key):
        return ", ".join(dict.fromkeys(s[key] for s in series))

    plain = dict.fromkeys(re.sub(r" ARGS=.*", "", s["command"]) for s in series)
    return f"{all_of('cpu')}. Commit {all_of('commit')}. {', '.join(plain)}."


def figure(data, series, body, height):
    """The frame around a figure's body: title, sources, colours."""
    foot = wrap(f"{data['about']} {source(series)}", 122)
    total = height + 14 * len(foot) + 12
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total:g}" width="{WIDTH}" height="{total:g}"'
        ' role="img">',
        f"<title>{escape(data['title'])}</title><style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{total:g}" rx="8" class="p"/>',
        text(16, 28, data["title"], "t"),
        text(16, 46, data["subtitle"], "s"),
        *body,
        *(text(16, height + 14 * i, line, "f") for i, line in enumerate(foot)),
        "</svg>",
    ]
    return "\n".join(out) + "\n"


def speed(data):
    """Two panels of pairs of bars: reading and writing, llama.cpp and qwen-edge."""
    series = [s for s in data["series"] if s["drawn"]]
    out = legend(
        70,
        [
            ("a", "qwen-edge"),
            ("b", "llama.cpp"),
        ],
    )
    panels = [("reading", "reading a prompt", LEFT + 4, 268), ("writing", "writing", LEFT + 322, 208)]
    top, step = 112, 42
    for key, name, x, width in panels:
        most = max(s[key]["qwen-edge"] for s in series)
        out.append(text(x, 94, name, "s"))
        for i, s in enumerate(series):
            y = top + step * i
            for j, (style, who) in enumerate((("a", "qwen-edge"), ("b", "llama.cpp"))):
                value = s[key][who]
                long = (width - 78) * value / most
                out.append(
                    bar(x, y + 15 * j, long, 13, style, f"{s['label']}, {name}: {who} {number(value)} tokens a second")
                )
                label = number(value) + (f" ({s[key]['ratio']:.2f} x)" if j == 0 else "")
                out.append(text(x + long + 5, y + 15 * j + 11, label, "" if j == 0 else "s"))
        out.append(f'<line class="l" x1="{x:g}" x2="{x:g}" y1="{top - 6}" y2="{top + step * len(series) - 8}"/>')
    for i, s in enumerate(series):
        file, level = s["label"].split(", ")
        out.append(text(LEFT - 6, top + step * i + 11, file, "e"))
        out.append(text(LEFT - 6, top + step * i + 26, f"{level}, {s['prompt_tokens']} tokens", "e s"))
    return figure(data, series, out, top + step * len(series) + 14)


def memory(data):
    """A group of bars for each size."""
    series = data["series"]
    out = legend(70, list(zip("abc", (s["label"] for s in series))))
    sizes = [p["size"] for p in series[0]["points"]]
    most = max(p["peak_gb"] for s in series for p in s["points"])
    top, step, width = 88, 62, WIDTH - 60 - 80
    for i, size in enumerate(sizes):
        out.append(text(50, top + step * i + 30, size, "e"))
        for j, (style, s) in enumerate(zip("abc", series)):
            point = next(p for p in s["points"] if p["size"] == size)
            y, long = top + step * i + 17 * j, width * point["peak_gb"] / most
            ceiling = f"   --mem {point['mem']}" if point["mem"] else ""
            out.append(
                bar(
                    60,
                    y,
                    long,
                    14,
                    style,
                    f"{size}, {s['label']}: {point['peak_gb']} GB of {point['planned_gb']} planned",
                )
            )
            room = long < width - 90
            out.append(text(60 + long + 5, y + 12, f"{point['peak_gb']:.2f}{ceiling if room else ''}"))
            if ceiling and not room:
                out.append(f'<text x="{60 + long - 6:.1f}" y="{y + 12}" class="e p">{ceiling.strip()}</text>')
    out.append(f'<line class="l" x1="60" x2="60" y1="{top - 4}" y2="{top + step * len(sizes) - 6}"/>')
    return figure(data, series, out, top + step * len(sizes) + 14)


def rows(data):
    """Lines over the number of rows, both axes in powers of two, the spread of two series as a stroke at each point."""
    series = data["series"]
    x0, y0, width, height = 60, 366, 420, 270
    steps = math.log2(16)

    def at(n, value):
        return x0 + width * math.log2(n) / steps, y0 - height * math.log2(value) / steps

    out = []
    for n in (1, 2, 4, 8, 16):
        (x, _), (_, y) = at(n, 1), at(1, n)
        out.append(f'<line class="l" x1="{x0}" x2="{x0 + width}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out += [text(x0 - 8, y + 4, str(n), "e s"), text(x, y0 + 18, str(n), "m s")]
    out.append(text(x0 + width / 2, y0 + 36, "rows in a pass", "m s"))
    (x1, y1), (x2, y2) = at(1, 1), at(16, 16)
    out.append(f'<path class="k sb d" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>')
    ends = [(y2, "b", "a pass for each row")]
    for s in series:
        conversations = s["label"].startswith("one row of each")
        style = "a" if s["level"] == "avx512vnni" else "c"
        middle = [math.sqrt(a * b) for a, b in s["times"]]
        path = "L".join("{:.1f} {:.1f}".format(*at(n, v)) for n, v in [(1, 1), *zip(s["rows"], middle)])
        out.append(f'<path class="k s{style}{" d" if conversations else ""}" d="M{path}"/>')
        for n, (a, b) in zip(s["rows"], s["times"]):
            (x, low), (_, high) = at(n, min(a, b)), at(n, max(a, b))
            tip = f"{s['label']}, {n}: {a} and {b}"
            out.append(
                f'<line class="k s{style}" x1="{x:.1f}" x2="{x:.1f}" y1="{low + 2:.1f}" y2="{high - 2:.1f}"'
                ' style="stroke-width:5">'
                f"<title>{escape(tip)}</title></line>"
            )
        if not conversations:
            ends.append((at(16, middle[-1])[1], style, f"{s['level']}, rows of one conversation"))
    out += [text(x0 + width + 10, y + 4, name, "s") for y, _, name in ends]
    out.append(text(x0 + width + 10, y0 - 44, "dashed, as far as 8: one row of each", "s"))
    out.append(text(x0 + width + 10, y0 - 29, "of so many conversations", "s"))
    return figure(data, series, out, y0 + 62)


def vision(data):
    """Two pieces of a bar: the tower, and the reading of what it gives."""
    series = data["series"]
    out = legend(70, [("a", "tower"), ("c", "reading its rows")])
    most = max(s["tower_ms"] + s["prefill_ms"] for s in series)
    top, step, width = 90, 34, WIDTH - LEFT - 104
    for i, s in enumerate(series):
        y, first, second = top + step * i, width * s["tower_ms"] / most, width * s["prefill_ms"] / most
        out.append(text(LEFT - 6, y + 15, s["label"], "e"))
        out.append(
            f'<rect class="a" x="{LEFT}" y="{y}" width="{first - 1:.1f}" height="20">'
            f"<title>{s['tower_ms']} ms</title></rect>"
        )
        out.append(bar(LEFT + first + 1, y, second - 1, 20, "c", f"{s['prefill_ms']} ms"))
        out.append(text(LEFT + first + second + 6, y + 15, f"{number(s['tower_ms'])} + {number(s['prefill_ms'])}"))
    out.append(f'<line class="l" x1="{LEFT}" x2="{LEFT}" y1="{top - 5}" y2="{top + step * len(series) - 8}"/>')
    return figure(data, series, out, top + step * len(series) + 14)


FIGURES = {"speed": speed, "memory": memory, "rows": rows, "vision": vision}


def known(commit):
    """Whether the repository has the commit; true where there is no history to look at."""
    git = ["git", "-C", str(ROOT)]
    try:
        shallow = subprocess.run([*git, "rev-parse", "--is-shallow-repository"], capture_output=True, text=True)
        if shallow.returncode or shallow.stdout.strip() != "false":
            return True
        return subprocess.run([*git, "cat-file", "-e", f"{commit}^{{commit}}"], capture_output=True).returncode == 0
    except OSError:
        return True


def sound(name, data):
    """The data, if every series says where it comes from."""
    for s in data["series"]:
        where = f"docs/data/{name}.json: the series {s.get('label', '?')!r}"
        for key in ("commit", "cpu", "command"):
            if not str(s.get(key) or "").strip():
                raise Wrong(f"{where} names no {key}: nothing is drawn")
        if not re.fullmatch(r"[0-9a-f]{7,40}", s["commit"]) or not known(s["commit"]):
            raise Wrong(f"{where}: {s['commit']} is no commit of this repository")
    return data


def load(name):
    return json.loads((ROOT / f"docs/data/{name}.json").read_text(encoding="utf-8"))


def prove():
    count = 0
    for name in FIGURES:
        data = sound(name, load(name))
        for i, s in enumerate(data["series"]):
            for key, value in [(k, v) for k in ("commit", "cpu", "command") for v in (None, " ")] + [
                ("commit", "0123abc")
            ]:
                broken = copy.deepcopy(data)
                if value is None:
                    del broken["series"][i][key]
                else:
                    broken["series"][i][key] = value
                try:
                    sound(name, broken)
                except Wrong as wrong:
                    count += 1
                    if s is data["series"][0]:
                        print(f"  {wrong}")
                    continue
                sys.exit(f"plots: {name}: a series without {key} would be drawn")
    print(f"plots: {count} series without commit, CPU or command, none drawn")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--prove", action="store_true")
    args = parser.parse_args()
    try:
        if args.prove:
            return prove()
        files = {path.stem for path in (ROOT / "docs/data").glob("*.json")}
        if files != set(FIGURES):
            raise Wrong(
                f"docs/data: {', '.join(sorted(files ^ set(FIGURES)))}: a figure without data, or data without a figure"
            )
        drawn = {name: draw(sound(name, load(name))) for name, draw in FIGURES.items()}
    except Wrong as wrong:
        sys.exit(f"plots: {wrong}")
    for name, svg in drawn.items():
        path = ROOT / f"docs/plots/{name}.svg"
        if args.check:
            if not path.exists() or path.read_text(encoding="utf-8") != svg:
                sys.exit(f"plots: docs/plots/{name}.svg is not what docs/data/{name}.json says: make plots")
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(svg, encoding="utf-8")
            print(f"docs/plots/{name}.svg: {len(svg)} bytes")
    if args.check:
        print(f"plots: {len(drawn)} figures are what their data say")


if __name__ == "__main__":
    main()
