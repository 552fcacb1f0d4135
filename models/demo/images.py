"""Scenes of coloured shapes, digits and words, their pictures, and questions about them.

All pictures are 256 x 256 (the smallest size the published preprocessing leaves alone): 16 x 16 patches, 8 x 8 tokens.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from data import Turn

SIDE = 256
GRID = SIDE // 16
CELLS = SIDE // 32
COLORS = {"red": (220, 30, 30), "green": (30, 150, 50), "blue": (40, 70, 220), "yellow": (240, 210, 30),
          "black": (20, 20, 20), "orange": (250, 130, 20)}
SHAPES = ["circle", "square", "triangle"]
WORDS = "time year work play line item game top day table code page book map ear leg turn stop air mark".split()
NUMBER = "one two three four five".split()


@dataclass
class Scene:
    """Either shapes [(row, col, color, shape, x, y, radius)] or a text with the centres of its characters."""

    shapes: list
    text: str = ""
    ink: tuple = (0, 0, 0)
    paper: tuple = (255, 255, 255)
    size: int = 64
    spots: tuple = ()

    def key(self) -> str:
        """What the picture shows (two pictures of one key differ only in exact place and size)."""
        return self.text or "|".join(f"{r}{c}{col}{s}" for r, c, col, s, *_ in self.shapes)

    def labels(self) -> tuple[list[int], list[int]]:
        """Per 8 x 8 token, row-major: index of color (0 none) and of kind (0 none) at whose centre it lies."""
        col, kind = [0] * CELLS**2, [0] * CELLS**2
        for _, _, k, s, x, y, _ in self.shapes:
            i = int(y) // 32 * CELLS + int(x) // 32
            col[i], kind[i] = 1 + list(COLORS).index(k), 1 + SHAPES.index(s)
        for ch, (x, y) in zip(self.text, self.spots):
            kind[int(y) // 32 * CELLS + int(x) // 32] = 1 + KINDS.index(ch)
        return col, kind


KINDS = SHAPES + list("0123456789abcdefghijklmnopqrstuvwxyz")
_FONTS: dict[int, ImageFont.FreeTypeFont] = {}


def scene(r: random.Random) -> Scene:
    """A random scene: mostly shapes, else a number or a word."""
    paper = tuple(r.randint(225, 255) for _ in range(3)) if r.random() < 0.5 else (255, 255, 255)
    if r.random() < 0.6:
        out = []
        for cell in sorted(r.sample(range(16), r.choice([1, 1, 2, 2, 3, 3, 4, 5]))):
            row, col = divmod(cell, 4)
            x, y = (64 * k + r.choice([24, 40]) + r.randint(-4, 4) for k in (col, row))
            out.append((row, col, r.choice(list(COLORS)), r.choice(SHAPES), x, y, r.randint(17, 25)))
        return Scene(out, paper=paper)
    ink = r.choice([(0, 0, 0), (0, 0, 0), (120, 0, 0), (0, 0, 120), (0, 80, 0)])
    t = str(r.randint(0, 10 ** r.choice([1, 2, 3, 3]) - 1)) if r.random() < 0.6 else r.choice(WORDS)
    adv = r.randint(42, 50)
    width = adv * (len(t) - 1)
    x0, y0 = r.uniform(28, max(29, 228 - width)), r.uniform(36, 220)
    return Scene([], t, ink, paper, r.randint(56, 66), tuple((x0 + adv * i, y0) for i in range(len(t))))


def letters(r: random.Random) -> Scene:
    """Three lines of random digits and letters: a dense lesson for the tower alone."""
    adv, step, x0, y0 = r.randint(42, 50), r.randint(66, 74), r.uniform(26, 36), r.uniform(34, 74)
    ink = r.choice([(0, 0, 0), (120, 0, 0), (0, 0, 120), (0, 80, 0)])
    text = "".join(r.choice(r.choice(["0123456789", KINDS[-26:]])) for _ in range(15))
    spots = tuple((x0 + adv * (i % 5), y0 + step * (i // 5)) for i in range(15))
    paper = tuple(r.randint(225, 255) for _ in range(3)) if r.random() < 0.5 else (255, 255, 255)
    return Scene([], text, ink, paper, r.randint(56, 66), spots)


def picture(s: Scene) -> Image.Image:
    """The picture of a scene."""
    im = Image.new("RGB", (SIDE, SIDE), s.paper)
    d = ImageDraw.Draw(im)
    for _, _, color, shape, x, y, rad in s.shapes:
        box, f = (x - rad, y - rad, x + rad, y + rad), COLORS[color]
        if shape == "circle":
            d.ellipse(box, fill=f)
        elif shape == "square":
            d.rectangle((x - 0.85 * rad, y - 0.85 * rad, x + 0.85 * rad, y + 0.85 * rad), fill=f)
        else:
            d.polygon([(x, y - rad), (x + rad, y + 0.8 * rad), (x - rad, y + 0.8 * rad)], fill=f)
    if s.text:
        font = _FONTS.setdefault(s.size, ImageFont.load_default(s.size))
        for ch, p in zip(s.text, s.spots):
            d.text(p, ch, fill=s.ink, font=font, anchor="mm")
    return im


def draw(s: Scene) -> torch.Tensor:
    """The picture as bytes [256, 256, 3]."""
    return torch.from_numpy(np.asarray(picture(s)).copy())


def thing(s) -> str:
    """'red circle'."""
    return f"{s[2]} {s[3]}"


def ask(r: random.Random, s: Scene) -> tuple[str, str]:
    """A question about a scene and its answer."""
    if s.text:
        if s.text.isdigit():
            return r.choice(["What number is shown?", "Read the number.", "Which number is in the image?",
                             "What is written here?", "Read the text."]), s.text
        return r.choice(["What word is shown?", "Read the word.", "Which word is in the image?",
                         "What is written here?", "Read the text."]), s.text
    sh = s.shapes
    k = r.random()
    if k < 0.35:
        return r.choice(["Describe the image.", "What do you see?", "What is in the image?", "Describe the picture.",
                         "List the shapes."]), ", ".join("a " + thing(x) if x[2] != "orange" else "an " + thing(x) for x in sh)
    if k < 0.5:
        return r.choice(["How many shapes are there?", "How many shapes are in the image?", "Count the shapes."]), str(len(sh))
    if k < 0.6:
        c = r.choice(sh)[2] if r.random() < 0.75 else r.choice(list(COLORS))
        return f"How many {c} shapes are there?", str(sum(x[2] == c for x in sh))
    if k < 0.7:
        c = r.choice(sh)[3] if r.random() < 0.75 else r.choice(SHAPES)
        return f"How many {c}s are there?", str(sum(x[3] == c for x in sh))
    if k < 0.8:
        c = thing(r.choice(sh)) if r.random() < 0.5 else f"{r.choice(list(COLORS))} {r.choice(SHAPES)}"
        return f"Is there a {c}?" if c[0] != "o" else f"Is there an {c}?", "Yes" if any(thing(x) == c for x in sh) else "No"
    x = r.choice(sh)
    if k < 0.9 and sum(y[3] == x[3] for y in sh) == 1:
        return r.choice([f"What color is the {x[3]}?", f"Which color has the {x[3]}?"]), x[2]
    if sum(y[2] == x[2] for y in sh) == 1:
        return r.choice([f"What shape is {x[2]}?", f"Which shape is {x[2]}?"]), x[3]
    return "How many shapes are there?", str(len(sh))


def talk(r: random.Random, turns: int = 12) -> list[Turn]:
    """Questions about one picture, shown before the first."""
    s = scene(r)
    if s.text:
        turns = 2
    out, seen = [], set()
    for _ in range(turns):
        q, a = ask(r, s)
        if q not in seen:
            seen.add(q)
            out.append(Turn("image", q, a))
    out[0].image = s
    return out


def positions(ids: torch.Tensor, pad: int) -> torch.Tensor:
    """M-RoPE positions [3, T] of a row with at most one 8 x 8 image."""
    t = len(ids)
    at = (ids == pad).nonzero().flatten()
    if not len(at):
        return torch.arange(t).expand(3, t)
    a, n = int(at[0]), len(at)
    side = int(n**0.5)
    pos = torch.arange(t).expand(3, t).clone()
    k = torch.arange(n)
    pos[:, a : a + n] = a
    pos[1, a : a + n] += k // side
    pos[2, a : a + n] += k % side
    pos[:, a + n :] = a + side + torch.arange(t - a - n)
    return pos
