"""Makes the small pictures beside it, of 61 x 45 pixels: python3 make.py. Needs Pillow (13.0 was used) and NumPy.

They are whole; the tests cut them.  scans.jpg is baseline.jpg with a scan for each component, interlaced.png is Adam7:
neither can be written by Pillow, and both are written here.  no-end.jpg and no-iend.png are as somebody had them: the end
marker of the one and the IEND chunk of the other are missing.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image

W, H = 61, 45
y, x = np.mgrid[0:H, 0:W]
noise = np.random.default_rng(1).normal(0, 9, (H, W, 3))
rgb = (np.stack([x * 4, y * 5, (x + y) * 2], -1) + noise).clip(0, 255).astype("uint8")
image = Image.fromarray(rgb)


def save(name, image, **options):
    image.save(name, **options)


save("baseline.jpg", image, quality=80)
save("grey.jpg", image.convert("L"), quality=80)
save("restarts.jpg", image, quality=80, subsampling=1, restart_marker_blocks=3)
save("cmyk.jpg", image.convert("CMYK"), quality=80)
save("progressive.jpg", image, quality=80, progressive=True)
save("progressive-restarts.jpg", image, quality=80, progressive=True, restart_marker_rows=1)


def png(interlace, data):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", W, H, 8, 2, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


def rows(pixels):
    return b"".join(b"\0" + row.tobytes() for row in pixels)


passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
flat = rgb // 32 * 32
open("rows.png", "wb").write(png(0, rows(flat)))
open("interlaced.png", "wb").write(png(1, b"".join(rows(flat[y0::dy, x0::dx]) for x0, y0, dx, dy in passes)))


def separate_scans():
    """A JPEG picture of one scan for each component: grey pictures of the three, their scans under one header."""
    parts = []
    for channel in image.convert("YCbCr").split():
        out = io.BytesIO()
        channel.save(out, "JPEG", quality=80)
        parts.append(out.getvalue())
    first = parts[0]
    frame = first.index(b"\xff\xc0")
    # One table of quantisation and one pair of Huffman tables serve all: grey pictures of one quality share them.
    body = struct.pack(">BHHB", 8, H, W, 3) + b"".join(bytes([i, 0x11, 0]) for i in (1, 2, 3))
    out = first[:frame] + b"\xff\xc0" + struct.pack(">H", len(body) + 2) + body
    tables = first[frame + 2 + 11 : first.index(b"\xff\xda")]
    out += tables
    for i, part in enumerate(parts, 1):
        start = part.index(b"\xff\xda") + 2 + 8
        out += b"\xff\xda\0\x08\x01" + bytes([i, 0]) + b"\0\x3f\0" + part[start:-2]
    return out + b"\xff\xd9"


open("scans.jpg", "wb").write(separate_scans())
