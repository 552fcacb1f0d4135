#!/usr/bin/env python3
"""Checks what is promised of a program for macOS: check-macho.py FILE [PATH-THAT-MUST-NOT-BE-IN-IT...]

A 64-bit executable at an address of its own choice that asks for the system's library alone. One for Apple silicon is
signed ad hoc, and the signature has the right hash of every page; Intel's Macs ask for none.
"""
import hashlib
import struct
import sys

EXECUTABLE, PIE = 2, 0x200000
CPUS = {0x0100000C: "arm64", 0x01000007: "x86_64"}
LOAD_DYLIB, LOAD_WEAK_DYLIB, REEXPORT_DYLIB, CODE_SIGNATURE = 0xC, 0x80000018, 0x8000001F, 0x1D
# Where each says the oldest system that it is for: behind so many bytes, two of them for the number before the point.
VERSIONS = {0x32: 12, 0x24: 8}


def fail(what):
    sys.exit(f"{sys.argv[1]}: {what}")


data = open(sys.argv[1], "rb").read()
magic, cpu, _, kind, n_commands, _, flags, _ = struct.unpack_from("<8I", data)
if magic != 0xFEEDFACF or kind != EXECUTABLE or not flags & PIE or cpu not in CPUS:
    fail(f"no executable for a Mac: magic {magic:#x}, kind {kind}, flags {flags:#x}, CPU {cpu:#x}")

libraries, signature, oldest, at = [], None, None, 32
for _ in range(n_commands):
    command, size = struct.unpack_from("<2I", data, at)
    if command in (LOAD_DYLIB, LOAD_WEAK_DYLIB, REEXPORT_DYLIB):
        name = at + struct.unpack_from("<I", data, at + 8)[0]
        libraries.append(data[name:data.index(b"\0", name)].decode())
    elif command == CODE_SIGNATURE:
        signature = struct.unpack_from("<2I", data, at + 8)
    elif command in VERSIONS:
        version = struct.unpack_from("<I", data, at + VERSIONS[command])[0]
        oldest = f"{version >> 16}.{version >> 8 & 255}"
    at += size
if oldest is None:
    fail("it does not say which macOS it is for")
if libraries != ["/usr/lib/libSystem.B.dylib"]:
    fail(f"asks for {', '.join(libraries)}; expected the system's library alone")


def check_signature(begin):
    """The number of pages whose hashes are right: all of them."""
    magic, _, count = struct.unpack_from(">3I", data, begin)
    if magic != 0xFADE0CC0:
        fail(f"its signature begins with {magic:#x}")
    for i in range(count):
        slot, offset = struct.unpack_from(">2I", data, begin + 12 + 8 * i)
        if slot == 0:
            return check_directory(begin + offset)
    fail("its signature has no directory of pages")


def check_directory(at):
    magic, _, _, flags, hashes, _, _, n_pages, limit = struct.unpack_from(">9I", data, at)
    size, kind, _, shift = struct.unpack_from(">4B", data, at + 36)
    if (magic, size, kind) != (0xFADE0C02, 32, 2) or not flags & 2:
        fail(f"its signature is no ad-hoc one with SHA-256: {magic:#x}, hashes {kind} of {size} bytes, flags {flags:#x}")
    page = 1 << shift
    if n_pages != -(-limit // page):
        fail(f"its signature has {n_pages} pages for {limit} bytes")
    for i in range(n_pages):
        wanted = data[at + hashes + 32 * i:][:32]
        if hashlib.sha256(data[i * page:min((i + 1) * page, limit)]).digest() != wanted:
            fail(f"page {i} of {n_pages} is not as it was signed")
    return n_pages


signed = "unsigned"
if signature:
    signed = f"signed ad hoc, {check_signature(signature[0])} pages as they were signed"
elif CPUS[cpu] == "arm64":
    fail("it is not signed, and Apple silicon runs nothing that is not")
for path in sys.argv[2:]:
    if path.encode() in data:
        fail(f"holds {path}")
print(f"{sys.argv[1]}: {CPUS[cpu]}, macOS {oldest} or newer, {libraries[0]} alone, {signed}")
