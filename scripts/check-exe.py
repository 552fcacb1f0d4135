#!/usr/bin/env python3
"""Checks what is promised of the program for Windows: check-exe.py FILE [--timed] [PATH-THAT-MUST-NOT-BE-IN-IT...]

One 64-bit executable for the console, which asks for libraries of the system alone, says no time (unless --timed), and holds none of the
paths that Linux has its facts in: an emulator of Windows finds those, so that tests there would pass on them.
"""
import struct
import sys

# Every Windows since 10 has them.
SYSTEM = {
    "kernel32.dll", "ntdll.dll", "msvcrt.dll", "user32.dll", "shell32.dll", "gdi32.dll", "userenv.dll", "ws2_32.dll",
    "advapi32.dll", "bcryptprimitives.dll", "api-ms-win-core-synch-l1-2-0.dll", "ole32.dll",
}


def fail(what):
    sys.exit(f"{sys.argv[1]}: {what}")


data = open(sys.argv[1], "rb").read()
header = struct.unpack_from("<I", data, 0x3C)[0]
if data[:2] != b"MZ" or data[header:header + 4] != b"PE\0\0":
    fail("no Windows program")
machine, n_sections, time = struct.unpack_from("<HHI", data, header + 4)
optional = header + 24
magic, subsystem = struct.unpack_from("<H", data, optional)[0], struct.unpack_from("<H", data, optional + 68)[0]
if (machine, magic, subsystem) != (0x8664, 0x20B, 3):
    fail(f"expected x86-64, 64 bits, console; found {machine:#x}, {magic:#x}, subsystem {subsystem}")
if time != 0 and "--timed" not in sys.argv:
    fail(f"it says when it was linked: {time}")

sizes = struct.unpack_from("<H", data, header + 20)[0]
sections = [struct.unpack_from("<IIII", data, optional + sizes + 40 * i + 8) for i in range(n_sections)]


def at(address):
    """The offset in the file of an address in memory."""
    for size, start, in_file, offset in sections:
        if start <= address < start + max(size, in_file):
            return address - start + offset
    fail(f"no section has the address {address:#x}")


imports = at(struct.unpack_from("<I", data, optional + 112 + 8)[0])
libraries = set()
while name := struct.unpack_from("<I", data, imports + 12)[0]:
    begin = at(name)
    libraries.add(data[begin:data.index(b"\0", begin)].decode().lower())
    imports += 20
if strange := libraries - SYSTEM:
    fail(f"asks for libraries that not every Windows has: {', '.join(sorted(strange))}")

# Places in the source of the standard library are no paths of a system.
text = data.replace(b"src/sys/", b"")
for path in [b"/proc/", b"/sys/", b"proc/self", b"proc/meminfo"] + [path.encode() for path in sys.argv[2:] if path != "--timed"]:
    if path in text:
        fail(f"holds {path.decode()}: {text[max(0, text.index(path) - 40):][:120]!r}")
print(f"{sys.argv[1]}: for the console of 64-bit Windows; asks for {len(libraries)} libraries of the system alone")
