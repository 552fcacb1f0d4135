#!/usr/bin/env python3
"""The table of all files of this version: sums.py build|test

dist/SHA256SUMS, as sha256sum reads it. The manifests take their hashes from it.
"""

import house


def files():
    """Every file in dist/ that bears the version, and is to be released."""
    found = (p for p in house.DIST.iterdir() if p.is_file() and house.VERSION in p.name)
    return sorted((p for p in found if p.suffix in (".gz", ".zip", ".deb", ".whl", ".tgz")), key=lambda p: p.name)


def build():
    lines = [f"{house.sha256(path.read_bytes())}  {path.name}\n" for path in files()]
    house.write("SHA256SUMS", "".join(lines).encode())


def table():
    """Name of a file to its hash."""
    text = (house.DIST / "SHA256SUMS").read_text(encoding="utf-8")
    return {name: digest for digest, name in (line.split("  ") for line in text.splitlines())}


def test():
    print("sums: every file, and no other", flush=True)
    house.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=house.DIST)
    if sorted(table()) != [path.name for path in files()]:
        house.fail("SHA256SUMS names other files than there are")
    house.say(f"{len(table())} files")


if __name__ == "__main__":
    house.door(build, test)
